"""Captions from the task text that the operator was given; no model."""

import string
from collections.abc import Mapping

from cosmos_ops.errors import UserError

NAME = "task"
VERSION = "1"
FIELDS = ("task", "robot", "camera")
"""What a template may name."""


def task_captions(template: str, clips: list[Mapping]) -> list[str]:
    """One caption a clip: `template` filled from the clip's `task`, `robot` and `camera`, white space collapsed to single spaces.

    A clip that lacks a value the template names gets the empty caption. That is a failure, not a caption: the captions table's
    check names the clip and stops the drop, and no shard is written from it. Raises `UserError` for a template that is not usable.
    """
    named = _named_fields(template)
    return [_caption(template, named, clip) for clip in clips]


def _caption(template: str, named: set[str], clip: Mapping) -> str:
    values = {name: " ".join((clip[name] or "").split()) for name in FIELDS}
    if any(not values[name] for name in named):
        return ""
    return " ".join(template.format(**values).split())


def _named_fields(template: str) -> set[str]:
    known = ", ".join(f"{{{name}}}" for name in FIELDS)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"captions.template {template!r} is no template ({error}); it may hold {known} and plain text") from None
    # A format specification or a conversion ({task!r}) would pass through str.format; plain names are all a caption needs.
    fields = {(name, spec, conversion) for _, name, spec, conversion in parts if name is not None}
    wrong = sorted(name for name, spec, conversion in fields if name not in FIELDS or spec or conversion)
    if wrong:
        raise UserError(f"captions.template {template!r} names {{{wrong[0]}}} in a way that is not known; it may hold {known} and plain text")
    if not template.strip():
        raise UserError(f"captions.template is empty; it may hold {known} and plain text")
    return {name for name, _, _ in fields}
