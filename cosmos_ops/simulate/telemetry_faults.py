"""Known faults of a recording's telemetry. Rows and clocks stay as they were."""

from dataclasses import replace

import numpy as np

from cosmos_ops.simulate.recording import Recording

JUMP_SPANS, WILD_SPANS, WILD_S = 1.0, 40.0, 0.5
"""How far the state jumps and how wild it gets, in units of what its column covers in the episode; how long it stays wild."""


def robot_static(recording: Recording) -> Recording:
    """A robot that nobody moves: state, command and pictures stay what they were at first."""
    frames = {camera: np.repeat(images[:1], len(images), axis=0) for camera, images in recording.frames.items()}
    return replace(recording, state=_held(recording.state), action=_held(recording.action), frames=frames)


def state_jump(recording: Recording) -> Recording:
    """From the middle on one joint reads an offset: an encoder that slipped. The joint is the one that moves most smoothly."""
    state = recording.state.copy()
    column = _smooth_column(state)
    state[len(state) // 2 :, column] += JUMP_SPANS * np.ptp(state[:, column])
    return replace(recording, state=state)


def out_of_range(recording: Recording) -> Recording:
    """For half a second one joint reads what no joint can reach."""
    state = recording.state.copy()
    column = _smooth_column(state)
    middle = len(state) // 2
    state[middle : middle + max(1, round(WILD_S * recording.fps)), column] += WILD_SPANS * np.ptp(state[:, column])
    return replace(recording, state=state)


def _held(rows: np.ndarray) -> np.ndarray:
    return np.repeat(rows[:1], len(rows), axis=0)


def _smooth_column(state: np.ndarray) -> int:
    """The column whose largest step is the smallest part of what it covers, of those that cover a fair part of what any does."""
    covered, steps = np.ptp(state, axis=0), np.abs(np.diff(state, axis=0)).max(axis=0)
    share = np.where(covered > 0.3 * covered.max(), steps / np.maximum(covered, 1e-9), np.inf)
    return int(share.argmin())
