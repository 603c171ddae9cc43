"""What telemetry says of an episode, measured against the other episodes of its drop: units differ from robot to robot, habits do not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosmos_ops.logs.base import Episode, Problem
from cosmos_ops.profiles import QualitySettings
from cosmos_ops.quality.stretches import runs

_FEWEST = 8
"""Other episodes that make a habit; with fewer, of perhaps as many tasks, an episode is held against itself, but for jumps."""
_TURNS = (2 * np.pi, 360.0)
_MANY = 100
_SLIGHT, _REST = 0.05, 0.05
_LONE_RATIO, _UNSURE = 6.0, 1.5
"""How many times a jump exceeds its own episode's brisk motion where no others tell what is usual; and how much further than else it must where only a few
do, or from rest to rest."""


@dataclass(frozen=True, eq=False)
class Habits:
    """[S] per column of the state, over the sound rows of other episodes; [0] where there are none or one."""

    low: np.ndarray
    high: np.ndarray
    """Between them lie all values of nine episodes in ten."""
    span: np.ndarray
    """What a column covers in an episode, usually."""
    jerk: np.ndarray
    """The largest jerk, see `_jerks`, of nine episodes in ten: some tasks open the gripper, others do not."""
    brisk: np.ndarray
    """The third largest jerk of an episode, usually: what brisk motion comes to, a single knock left out."""

    others: int = 0
    """Episodes that they are of: none or at least two."""

    @property
    def known(self) -> bool:
        return self.others >= _FEWEST


_NO_HABITS = Habits(*[np.zeros(0)] * 5)


@dataclass(frozen=True, eq=False)
class _Facts:
    low: np.ndarray
    high: np.ndarray
    jerk: np.ndarray
    brisk: np.ndarray


class DropHabits:
    """Habits of a drop; of each episode are kept four numbers a column."""

    def __init__(self, episodes: Sequence[Episode]):
        self._facts = [_facts(episode.state) for episode in episodes]
        self._shared: dict[int, Habits] = {}

    def beside(self, place: int) -> Habits:
        """The habits of the other episodes than the one at `place`; in a large drop one more does not matter, and all share the same."""
        own = self._facts[place]
        if own is None:
            return _NO_HABITS
        columns = len(own.low)
        if columns in self._shared:
            return self._shared[columns]
        alike = [other for other, facts in enumerate(self._facts) if facts is not None and len(facts.low) == columns]
        if len(alike) > _MANY:
            self._shared[columns] = _habits([self._facts[other] for other in alike])
            return self._shared[columns]
        return _habits([self._facts[other] for other in alike if other != place])


def _habits(others: list[_Facts]) -> Habits:
    """Medians and outer tenths: some tasks open the gripper or use an arm, others do not, and a few bad episodes make no habit."""
    if len(others) < 2:
        return _NO_HABITS
    low, high, jerk, brisk = (np.stack([getattr(facts, name) for facts in others]) for name in ("low", "high", "jerk", "brisk"))
    covered = np.median(high - low, axis=0)
    return Habits(
        np.percentile(low, 10, axis=0), np.percentile(high, 90, axis=0), covered, np.percentile(jerk, 90, axis=0), np.median(brisk, axis=0), len(others)
    )


def telemetry_problems(episode: Episode, habits: Habits, settings: QualitySettings) -> list[Problem]:
    """`robot_static`, `state_jump`, `out_of_range` and `not_finite`; each is about a stretch of the episode unless the robot never moves."""
    state, clock_s = episode.state.astype(np.float64), episode.timestamps_s
    if state.shape[1] == 0 or len(state) < 3 or len(clock_s) != len(state):
        return []
    problems = _not_finite(episode)
    columns = np.isfinite(state).all(axis=0)
    state = state[:, columns]
    if habits.others:
        habits = Habits(*(values[columns] for values in (habits.low, habits.high, habits.span, habits.jerk, habits.brisk)), habits.others)
    if state.shape[1] == 0:
        return problems
    if _static(state, habits, settings):
        return [*problems, Problem("robot_static", f"the robot does not move: no column of the state changes in {episode.duration_s:.1f} s")]
    outside = _outside(state, habits, settings)
    problems += _stretched("out_of_range", outside, clock_s, lambda row: f"the state is far outside what it usually is at {clock_s[row]:.1f} s")
    # A value that is out of range gets there by a jump, and one that was not recorded for a while has moved meanwhile: that is said already.
    near = outside | np.roll(outside, 1) | np.roll(outside, -1)
    for problem in episode.problems:
        if problem.code == "clock_gap" and problem.camera is None and problem.start_s is not None:
            near |= (clock_s >= problem.start_s) & (clock_s <= problem.stop_s)
    for row in _jumps(state, habits, settings):
        if not near[row] and not near[row + 1]:
            told = f"the state jumps at {clock_s[row + 1]:.1f} s, further than the robot moves in one row"
            problems.append(Problem("state_jump", told, None, True, float(clock_s[row]), float(clock_s[row + 1])))
    problems += _pauses(state, clock_s, habits, settings)
    return problems


def travel(episode: Episode, start_s: float, stop_s: float, habits: Habits) -> float:
    """How far the state goes between two moments, as a fraction of what its best column usually covers; 0 without telemetry."""
    if episode.state.shape[1] == 0:
        return 0.0
    rows = (episode.timestamps_s >= start_s) & (episode.timestamps_s <= stop_s)
    if rows.sum() < 2:
        return 0.0
    covered = np.ptp(episode.state[rows].astype(np.float64), axis=0)
    span = habits.span if habits.known else np.ptp(episode.state.astype(np.float64), axis=0)
    moving = (span > 0) & np.isfinite(covered)
    return float((covered[moving] / span[moving]).max()) if moving.any() else 0.0


def _facts(state: np.ndarray) -> _Facts | None:
    if state.shape[1] == 0 or len(state) < 3:
        return None
    values = np.where(np.isfinite(state), state, 0.0).astype(np.float64)
    jerks = _jerks(values)
    return _Facts(values.min(axis=0), values.max(axis=0), jerks.max(axis=0), _brisk(jerks))


def _steps(state: np.ndarray) -> np.ndarray:
    """[T - 1, S] size of each step."""
    return np.abs(_moves(state))


def _moves(state: np.ndarray) -> np.ndarray:
    """[T - 1, S] steps; an angle that goes round by a whole turn has not moved."""
    moves = np.diff(state, axis=0)
    for turn in _TURNS:
        moves = np.where(np.abs(np.abs(moves) - turn) < 0.1 * turn, moves - np.sign(moves) * turn, moves)
    return moves


def _not_finite(episode: Episode) -> list[Problem]:
    """Rows that hold no number in a column that has numbers elsewhere; a column without any says nothing about a moment."""
    bad = np.zeros(len(episode.timestamps_s), bool)
    for values in (episode.state, episode.action):
        if values.shape[1] and len(values) == len(bad):
            missing = ~np.isfinite(values)
            bad |= missing[:, ~missing.all(axis=0)].any(axis=1)
    return _stretched("not_finite", bad, episode.timestamps_s, lambda row: f"state or action is no number at {episode.timestamps_s[row]:.1f} s")


def _static(state: np.ndarray, habits: Habits, settings: QualitySettings) -> bool:
    covered = np.ptp(state, axis=0)
    if habits.known and (habits.span > 0).any():
        moving = habits.span > 0
        return bool((covered[moving] <= settings.static_span * habits.span[moving]).all() and (covered[~moving] == 0).all())
    return bool((covered <= 1e-5 * np.maximum(1.0, np.abs(state).max(axis=0))).all())


def _outside(state: np.ndarray, habits: Habits, settings: QualitySettings) -> np.ndarray:
    """[T] bool."""
    low, high = (habits.low, habits.high) if habits.known else np.percentile(state, (10, 90), axis=0)
    span = high - low
    # A column that hardly ever moves may do so once; no column goes further than the widest ones by whole ranges.
    room = settings.range_margin * np.maximum(span, np.percentile(span, 75) if habits.known else 1.5 * span.max())
    found = (state < low - room) | (state > high + room)
    found[:, room <= 0] = False
    return found.any(axis=1)


def _jumps(state: np.ndarray, habits: Habits, settings: QualitySettings) -> np.ndarray:
    """Rows after which the state jumps."""
    jerks, steps, span = _jerks(state), _steps(state), np.ptp(state, axis=0)
    own = _brisk(jerks)

    def beyond(most: np.ndarray, span: np.ndarray) -> np.ndarray:
        # What a column that hardly moves does is no jump of the robot.
        return (jerks > most) & (steps > np.maximum(settings.jump_span * span, _SLIGHT * span.max())) & (span > 0)

    def resting(row: int, column: int, span: np.ndarray) -> bool:
        """Whether a step leads from rest to rest, as a gripper's does."""
        sides = state[max(0, row - 4) : row, column], state[row + 2 : row + 6, column]
        return not any(len(side) > 1 and np.ptp(side) > _REST * span[column] for side in sides)

    found = np.zeros(jerks.shape, bool)
    if habits.others:
        # A gripper snaps in some episodes and not in others: more than any usually does, and far more than brisk motion.
        most = np.maximum(settings.jump_ratio * np.maximum(own, habits.jerk), settings.jump_brisk * np.maximum(own, habits.brisk))
        found |= beyond(_UNSURE * most, habits.span)
        if habits.known:
            for row, column in zip(*np.nonzero(beyond(most, habits.span)), strict=True):
                found[row, column] |= not resting(row, column, habits.span)
    if not habits.known:
        for row, column in zip(*np.nonzero(beyond(_LONE_RATIO * own, span)), strict=True):
            found[row, column] |= not resting(row, column, span)
    return np.flatnonzero(found.any(axis=1))


def _brisk(jerks: np.ndarray) -> np.ndarray:
    """[S] third largest jerk of each column; the largest may be a jump, and one makes two of them where the robot moves on."""
    return np.sort(jerks, axis=0)[-min(3, len(jerks))]


def _jerks(state: np.ndarray) -> np.ndarray:
    """[T - 1, S] how far each step is from both the one before and the one after it: a robot that sets off moves on."""
    change = np.abs(np.diff(_moves(state), axis=0))
    before, after = np.concatenate([change[:1], change]), np.concatenate([change, change[-1:]])
    return np.minimum(before, after)


def _pauses(state: np.ndarray, clock_s: np.ndarray, habits: Habits, settings: QualitySettings) -> list[Problem]:
    """Stretches in which the robot stands still for longer than `max_static_s`."""
    span = habits.span if habits.known else np.ptp(state, axis=0)
    rows = int(np.searchsorted(clock_s, clock_s[0] + settings.max_static_s))
    still = np.zeros(len(state), bool)
    for first in range(0, len(state) - rows, max(1, rows // 8)):
        part = slice(first, first + rows + 1)
        if (np.ptp(state[part], axis=0) <= settings.static_span * span).all():
            still[part] = True
    return _stretched("robot_static", still, clock_s, lambda row: f"the robot stands still for over {settings.max_static_s:g} s from {clock_s[row]:.1f} s")


def _stretched(code: str, bad: np.ndarray, clock_s: np.ndarray, told) -> list[Problem]:
    """One problem a run of bad rows, from the last good row to the next good one."""
    found = []
    for first, last in runs(bad):
        start_s = float(clock_s[first - 1]) if first else float(clock_s[0]) - 1.0
        stop_s = float(clock_s[last + 1]) if last + 1 < len(clock_s) else float(clock_s[-1]) + 1.0
        found.append(Problem(code, told(first), None, True, start_s, stop_s))
    return found
