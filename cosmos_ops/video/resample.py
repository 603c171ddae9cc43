"""Choosing frames by time: which moments a clip shows and which recorded frame is nearest to each."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cosmos_ops.video.frames import TimedFrame, UnreadableVideo

_TIE_S = 1e-6


def clip_rate(native_fps: float, max_fps: float) -> float:
    """Frames a second of a clip: the source's own rate, at most `max_fps`. A slow source is never padded with duplicates."""
    return min(float(native_fps), float(max_fps))


def frames_at_rate(duration_s: float, native_fps: float, fps: float) -> int:
    """How many moments 1/fps apart fit between the first and the last frame of a recording of `duration_s` (last frame included)."""
    span_s = duration_s - 1.0 / native_fps
    return max(0, math.floor(span_s * fps + 1e-3) + 1) if duration_s > 0 else 0


def sample_times(start_s: float, count: int, fps: float) -> np.ndarray:
    """[count] float64 moments in seconds, 1/fps apart, the first at `start_s`."""
    return start_s + np.arange(count, dtype=np.float64) / fps


def nearest_frames(frames: Iterable[TimedFrame], times_s: Sequence[float], tolerance_s: float = 0.5) -> Iterator[TimedFrame]:
    """For each of the ascending `times_s` the frame nearest in time, an earlier one on a tie; holds two frames at a time.

    Each frame keeps its own recorded time. Raises `UnreadableVideo` where no frame lies within `tolerance_s`.
    """
    source = iter(frames)
    before: TimedFrame | None = None
    after = next(source, None)
    for time_s in times_s:
        while after is not None and after.time_s <= time_s:
            before, after = after, next(source, None)
        chosen = _nearer(before, after, time_s)
        if chosen is None or abs(chosen.time_s - time_s) > tolerance_s:
            raise UnreadableVideo(f"there is no frame within {tolerance_s} s of {time_s:.2f} s")
        yield chosen


def _nearer(before: TimedFrame | None, after: TimedFrame | None, time_s: float) -> TimedFrame | None:
    if before is None or after is None:
        return before or after
    return after if after.time_s - time_s < time_s - before.time_s - _TIE_S else before
