"""How a camera's clock compares with the telemetry's: measured, and what was done about it."""

from dataclasses import dataclass

import numpy as np

from cosmos_ops.logs.base import Camera, Episode, Problem
from cosmos_ops.logs.telemetry import DRIFT_TOLERANCE_S, MAX_GAP_S

_ODD_RATE = 0.05
_ROUNDING_S = 1e-3


@dataclass(frozen=True)
class ClockFacts:
    """One camera against the telemetry of its episode, before correction."""

    offset_s: float | None = None
    """When the first frame was taken after the first row of telemetry."""
    drift_s: float | None = None
    """What the two clocks run apart until the end; positive: the recorded clock is fast."""
    gap_s: float | None = None
    """The longest time between two frames or rows."""
    correction: str = "none"
    """What was done: `offset`, `drift`, `offset and drift`, or `none` where nothing was needed or nothing could be done."""


def measure(episode: Episode, camera: Camera, times_s: np.ndarray | None) -> ClockFacts:
    """`times_s` are those of all frames on the episode's clock, None where only their number is known.

    Nothing is measured of a log that records no clock at all: its rows and frames belong together one by one.
    """
    recorded = episode.clocks.get(camera.name) or episode.clocks.get(None)
    if times_s is None and recorded is None:
        return ClockFacts()
    rows_s = episode.timestamps_s
    offset_s = drift_s = 0.0
    gaps = [float(np.diff(values).max()) for values in (rows_s, times_s) if values is not None and len(values) > 1]
    if times_s is not None and len(times_s) and len(rows_s):
        offset_s = float(times_s[0] - rows_s[0])
    if recorded is not None:
        offset_s += recorded.offset_s
        drift_s = recorded.drift_s
        gaps.append(recorded.gap_s)
    told = {problem.code for problem in episode.problems if problem.camera in (None, camera.name) and not problem.fatal}
    done = [name for name, there in (("offset", abs(offset_s) > _ROUNDING_S), ("drift", "clock_drift" in told)) if there]
    return ClockFacts(round(offset_s, 4), round(drift_s, 4), round(max(gaps, default=0.0), 4), " and ".join(done) or "none")


def clock_problems(episode: Episode, camera: Camera, duration_s: float, times_s: np.ndarray | None) -> list[Problem]:
    """What is wrong with a camera's time that its log does not say itself."""
    problems = []
    if abs(duration_s - episode.duration_s) > DRIFT_TOLERANCE_S:
        message = f"the video lasts {duration_s:.1f} s, the telemetry {episode.duration_s:.1f} s: rows and frames cannot be matched"
        problems.append(Problem("clock_drift", message, camera.name))
    if times_s is None or len(times_s) < 3:
        return problems
    steps = np.diff(times_s)
    known = [problem for problem in episode.problems if problem.code == "clock_gap" and problem.camera in (None, camera.name)]
    for cut in np.flatnonzero(steps > max(MAX_GAP_S, 2.0 / camera.fps)):
        start_s, stop_s = float(times_s[cut]), float(times_s[cut + 1])
        if not any(problem.start_s is not None and problem.start_s < stop_s and problem.stop_s > start_s for problem in known):
            told = f"the camera has no frame for {steps[cut]:.1f} s from {start_s:.1f} s on, the video has a cut there"
            problems.append(Problem("clock_gap", told, camera.name, True, start_s, stop_s))
    rate = 1.0 / float(np.median(steps)) if np.median(steps) > 0 else camera.fps
    if abs(rate - camera.fps) > _ODD_RATE * camera.fps:
        told = f"metadata declare {camera.fps:g} frames a second, most of the video has {rate:.3g}; frames are chosen by their own time"
        problems.append(Problem("frame_rate", told, camera.name, fatal=False))
    return problems
