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

    begins_high: bool
    switches: tuple[tuple[float, bool], ...]
    """(seconds on the episode's clock, whether it goes high), in order."""
    range: float
    largest: float

    def within(self, start_s: float, stop_s: float) -> Grasp:
        """The part from `start_s` to `stop_s`, times counted from `start_s`."""
        before = [high for time_s, high in self.switches if time_s <= start_s]
        inside = tuple((time_s - start_s, high) for time_s, high in self.switches if start_s < time_s <= stop_s)
        return Grasp(before[-1] if before else self.begins_high, inside, self.range, self.largest)


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
    firm = np.flatnonzero((share >= UP) | (share <= DOWN))
    sides = share[firm] >= UP
    turns = np.flatnonzero(sides[1:] != sides[:-1]) + 1
    switches = tuple((_halfway_s(times_s, share, firm[turn - 1], firm[turn]), bool(sides[turn])) for turn in turns)
    return Trace(bool(sides[0]), switches, high - low, max(abs(low), abs(high)))


def _halfway_s(times_s: np.ndarray, share: np.ndarray, before: int, after: int) -> float:
    """When the position last passes the middle of its range between two rows on either side of it, between rows by a straight line."""
    rising = share[after] > share[before]
    beyond = (share[before : after + 1] >= 0.5) == rising
    row = before + int(np.flatnonzero(~beyond)[-1])
    part = (0.5 - share[row]) / (share[row + 1] - share[row])
    return float(times_s[row] + part * (times_s[row + 1] - times_s[row]))
