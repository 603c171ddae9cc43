"""Cameras that hold one picture a row, at a constant rate: which rows are meant by times."""

import math
from collections.abc import Sequence

from cosmos_ops.logs.base import Camera
from cosmos_ops.video.decode import TIME_SLACK_S


def rows_between(camera: Camera, start_s: float, stop_s: float) -> range:
    """The rows of `start_s` to `stop_s`, the latter not included, as far as there are any."""
    first, last = (math.ceil((time_s - TIME_SLACK_S) * camera.fps) for time_s in (start_s, min(stop_s, camera.frames / camera.fps)))
    return range(max(0, first), min(last, camera.frames))


def rows_at(camera: Camera, times_s: Sequence[float]) -> list[int]:
    """The rows nearest to some times, ascending, each once."""
    return sorted({max(0, min(round(time_s * camera.fps), camera.frames - 1)) for time_s in times_s})
