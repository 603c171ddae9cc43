"""When a gripper closes and opens: a Schmitt trigger on its position over the whole episode."""

from dataclasses import dataclass

import numpy as np

UP, DOWN = 0.65, 0.35
"""Shares of the episode's range that the position must pass to count as switched: in between nothing changes, so noise and slow creep do not."""


@dataclass(frozen=True)
class Grasp:
    """What one gripper does in one clip."""

    starts_high: bool
    """On which side of its range it is when the clip begins."""
    switches: tuple[tuple[float, bool], ...]
    """(seconds from the clip's first frame, whether it goes high), in order."""
    range: float
    """How far its position reaches in the episode, in the log's unit."""
    largest: float
    """Largest of its values in the episode, without sign."""


@dataclass(frozen=True, eq=False)
class Trace:
    """A gripper over an episode."""

    times_s: np.ndarray
    high: np.ndarray
    """[T] bool."""
    range: float
    largest: float

    def within(self, start_s: float, stop_s: float) -> Grasp:
        """The part from `start_s` to `stop_s`, times counted from `start_s`."""
        at_start = max(0, int(np.searchsorted(self.times_s, start_s, side="right")) - 1)
        changes = np.flatnonzero(self.high[1:] != self.high[:-1]) + 1
        inside = [row for row in changes if row > at_start and self.times_s[row] <= stop_s]
        switches = tuple((float(self.times_s[row] - start_s), bool(self.high[row])) for row in inside)
        return Grasp(bool(self.high[at_start]), switches, self.range, self.largest)


def trace(times_s: np.ndarray, values: np.ndarray) -> Trace | None:
    """The trace of a gripper told by [T, N] numbers; None where they are not finite. Two fingers of opposite sign count by their distance."""
    if not len(values) or not np.isfinite(values).all():
        return None
    values = values.astype(np.float64)
    if values.shape[1] == 2 and (values[:, 0] * values[:, 1]).max() <= 0:
        position = np.abs(values[:, 0] - values[:, 1])
    else:
        position = values.mean(axis=1)
    low, high = float(position.min()), float(position.max())
    share = (position - low) / (high - low) if high > low else np.zeros(len(position))
    firm = np.where(share >= UP, 1, np.where(share <= DOWN, 0, -1))
    rows = np.maximum.accumulate(np.where(firm >= 0, np.arange(len(firm)), -1))
    first = firm[firm >= 0][0] if (firm >= 0).any() else 0
    side = np.where(rows >= 0, firm[np.maximum(rows, 0)], first)
    return Trace(times_s, side.astype(bool), high - low, max(abs(low), abs(high)))
