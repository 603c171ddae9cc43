"""Templates of captions: plain text with {fields}."""

import string
from collections.abc import Iterable, Mapping

from cosmos_ops.errors import UserError

CLIP_FIELDS = ("task", "robot", "camera")
"""What the log says."""
FIELDS = (*CLIP_FIELDS, "telemetry", "vlm")


def template_fields(template: str, known: Iterable[str] = FIELDS) -> set[str]:
    """The fields a template names. Raises `UserError` for one that is not usable or names what is not `known`."""
    known = tuple(known)
    listed = ", ".join(f"{{{name}}}" for name in known)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"captions.template {template!r} is no template ({error}); it may hold {listed} and plain text") from None
    # A format specification or a conversion ({task!r}) would pass through str.format; plain names are all a caption needs.
    fields = {(name, spec, conversion) for _, name, spec, conversion in parts if name is not None}
    wrong = sorted(name for name, spec, conversion in fields if name not in known or spec or conversion)
    if wrong:
        raise UserError(f"captions.template {template!r} names {{{wrong[0]}}} in a way that is not known; it may hold {listed} and plain text")
    if not template.strip():
        raise UserError(f"captions.template is empty; it may hold {listed} and plain text")
    return {name for name, _, _ in fields}


def fill(template: str, named: set[str], values: Mapping[str, str | None]) -> str:
    """The template with its fields, white space collapsed to single spaces; empty where a value that it names is."""
    told = {name: " ".join((values[name] or "").split()) for name in named}
    if not all(told.values()):
        return ""
    return " ".join(template.format(**told).split())
