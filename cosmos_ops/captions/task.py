"""Captions from the task text that the operator was given; no model."""

from collections.abc import Mapping

from cosmos_ops.captions.template import CLIP_FIELDS, fill, template_fields

VERSION = "1"


def task_captions(template: str, clips: list[Mapping]) -> list[str]:
    """One caption a clip: `template` filled from the clip's `task`, `robot` and `camera`, white space collapsed to single spaces.

    A clip that lacks a value the template names gets the empty caption (`write` puts telemetry's sentence in a missing task's place before). That is a
    failure, not a caption: the captions table's check names the clip and stops the drop, and no shard is written from it. Raises `UserError` for a
    template that is not usable.
    """
    named = template_fields(template, CLIP_FIELDS)
    return [fill(template, named, clip) for clip in clips]
