"""Stretches of time that no clip may show, and the spans that are left between them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_SLACK_S = 1e-6


@dataclass(frozen=True)
class Stretch:
    """What lies strictly between two moments of an episode must not be shown; the moments themselves may be."""

    start_s: float
    stop_s: float
    code: str
    message: str


@dataclass(frozen=True)
class Span:
    """Moments from the first to the last, both included, that may be shown."""

    start_s: float
    stop_s: float

    def frames(self, fps: float) -> int:
        """How many moments 1/fps apart fit in."""
        return max(0, math.floor((self.stop_s - self.start_s) * fps + 1e-3) + 1)


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last place of each run of true values in [N] bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


def between(times_s: np.ndarray, first: int, last: int) -> tuple[float, float]:
    """The moments beside a run of bad samples: the last good one before it and the first good one after it, or just outside the recording."""
    start_s = float(times_s[first - 1]) if first > 0 else float(times_s[0]) - 1.0
    stop_s = float(times_s[last + 1]) if last + 1 < len(times_s) else float(times_s[last]) + 1.0
    return start_s, stop_s


def good_spans(last_s: float, bad: Iterable[tuple[float, float]]) -> list[Span]:
    """What of 0..`last_s` seconds (the last frame's moment) is left beside the bad (start, stop) stretches, in order."""
    spans, begin_s = [], 0.0
    for start_s, stop_s in sorted(bad):
        if start_s >= last_s - _SLACK_S and start_s > 0:
            break
        if start_s > begin_s - _SLACK_S:
            spans.append(Span(begin_s, min(start_s, last_s)))
        begin_s = max(begin_s, stop_s)
    if begin_s <= last_s + _SLACK_S:
        spans.append(Span(begin_s, last_s))
    return spans


def most_frames(spans: Iterable[Span], fps: float) -> int:
    """Moments 1/fps apart in the longest span."""
    return max((span.frames(fps) for span in spans), default=0)
