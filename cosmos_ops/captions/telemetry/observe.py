"""What the telemetry of one clip's window shows, in numbers; memory of a few rows a clip, however long the episode."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cosmos_ops.captions.telemetry.grasp import Grasp, trace
from cosmos_ops.captions.telemetry.parts import Robot, robot_parts
from cosmos_ops.logs.base import Episode

_SLACK_S = 1e-6


@dataclass(frozen=True, eq=False)
class Observation:
    """One clip. Arrays are [S] float64 over the columns of state, NaN where a column holds what is no number."""

    robot: Robot
    first: np.ndarray
    last: np.ndarray
    low: np.ndarray
    high: np.ndarray
    farthest: tuple[np.ndarray, ...]
    """For each limb with a position: the row where the tool is farthest from where it starts."""
    grasps: tuple[Grasp | None, ...]
    """For each limb."""

    @property
    def reach(self) -> np.ndarray:
        """[S] highest minus lowest value."""
        return self.high - self.low


@dataclass(frozen=True, eq=False)
class Scale:
    """How far everything moves in a whole drop: what is small is judged by that where a unit does not tell."""

    reach: np.ndarray
    """[S]"""
    grasp: float
    """Largest range of any gripper in any episode."""


def observe(episode: Episode, windows: Iterable[tuple[float, float]], gripper_closed: str | None) -> list[Observation | None]:
    """One observation for each (first, last frame's time in seconds) of an episode; None where no telemetry lies in it."""
    times_s = episode.timestamps_s
    rows = min(len(times_s), len(episode.state))
    times_s, state = times_s[:rows], episode.state[:rows].astype(np.float64)
    if state.size == 0:
        return [None for _ in windows]
    state[~np.isfinite(state)] = np.nan
    state_names = episode.state_names if len(episode.state_names) == state.shape[1] else ()
    action_names = episode.action_names if len(episode.action_names) == episode.action.shape[1] else ()
    robot = robot_parts(state_names, action_names, state.shape[1], gripper_closed)
    traces = []
    for limb in robot.limbs:
        source = None if limb.gripper is None else episode.action if limb.gripper.commanded else episode.state
        count = 0 if source is None else min(rows, len(source))  # some logs hold one action less than states
        traces.append(trace(times_s[:count], source[:count, list(limb.gripper.columns)]) if count else None)
    made: list[Observation | None] = []
    for start_s, stop_s in windows:
        first, stop = (int(np.searchsorted(times_s, bound, side=side)) for bound, side in ((start_s - _SLACK_S, "left"), (stop_s + _SLACK_S, "right")))
        if stop - first < 2:
            made.append(None)
            continue
        window = state[first:stop]
        farthest = tuple(_farthest(window, limb.position) for limb in robot.limbs)
        grasps = tuple(found.within(start_s, stop_s) if found else None for found in traces)
        made.append(Observation(robot, window[0], window[-1], window.min(axis=0), window.max(axis=0), farthest, grasps))
    return made


def scale_of(observations: Iterable[Observation | None]) -> Scale:
    """The scale of a drop. Columns that are no numbers in some clip count in the others."""
    seen = [observation for observation in observations if observation is not None]
    width = max((len(observation.low) for observation in seen), default=0)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for observation in seen:
        own = slice(0, len(observation.low))
        low[own], high[own] = np.fmin(low[own], observation.low), np.fmax(high[own], observation.high)
    grasp = max((found.range for observation in seen for found in observation.grasps if found), default=0.0)
    return Scale(np.where(high >= low, high - low, 0.0), grasp)


def _farthest(window: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    if not columns:
        return window[0]
    distance = np.linalg.norm(window[:, columns] - window[0, columns], axis=1)
    return window[int(np.nanargmax(distance))] if np.isfinite(distance).any() else window[0]
