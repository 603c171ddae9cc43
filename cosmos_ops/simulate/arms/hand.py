"""A person's hand on the controls: tremor, uneven speed, pauses, overshoot, and mistakes about where things are."""

from dataclasses import dataclass

import numpy as np

from cosmos_ops.simulate.hands import Tremor

_PAUSE_SHARE, _OVERSHOOT_SHARE, _MISS_SHARE = 0.15, 0.3, 0.2
SLIPS = ("grasp", "goal")
"""What goes wrong unnoticed: the thing is missed, or it is brought to the wrong place."""
_SWAY = np.array([0.0022, 0.0022, 0.0012, 0.015, 0.012, 0.015])
"""Size of the slowest part of the tremor: m, then rad."""


@dataclass(frozen=True)
class Segment:
    """One stretch of motion."""

    seconds: float
    poses: dict[int, np.ndarray]
    """Arm -> [6] tool pose to be reached (x, y, z, azimuth, pitch, roll); arms left out stay."""
    grips: dict[int, float]
    """Arm -> gripper opening to be reached, 0 to 1."""


class Hand:
    """The habits of one person in one episode, all drawn from `rng`. `pace` 2 takes twice as long.

    `slip` is one of `SLIPS`, or None for somebody who notices mistakes and mends them.
    """

    def __init__(self, rng: np.random.Generator, pace: float = 1.0, slip: str | None = None):
        self._rng = rng
        self._pace = pace * float(rng.uniform(0.9, 1.1))
        self.slip = slip
        self._tremor = Tremor(rng, _SWAY, shake=(0.6, 0.35), unrest=(0.6, 1.3))

    def tremor(self, time_s: float) -> np.ndarray:
        """[6] displacement of a tool pose, about 3 mm."""
        return self._tremor.at(time_s)

    def seconds(self, usual_s: float) -> float:
        """How long something takes this time."""
        return usual_s * self._pace * float(self._rng.lognormal(0.0, 0.13))

    def reach(self, arm: int, start: np.ndarray, pose: np.ndarray, usual_s: float, grip: float | None) -> list[Segment]:
        """Segments from one pose to another: now and then a moment of thought before, now and then too far and back."""
        grips = {} if grip is None else {arm: grip}
        made = []
        if self._rng.random() < _PAUSE_SHARE:
            made.append(Segment(self.seconds(0.25), {}, {}))
        way = (pose - start)[:2]
        length = float(np.linalg.norm(way))
        if length > 0.08 and self._rng.random() < _OVERSHOOT_SHARE:
            beyond = pose.copy()
            beyond[:2] += way / length * float(self._rng.uniform(0.008, 0.02))
            return [*made, Segment(self.seconds(usual_s), {arm: beyond}, grips), Segment(self.seconds(0.22), {arm: pose}, {})]
        return [*made, Segment(self.seconds(usual_s), {arm: pose}, grips)]

    def misses(self) -> bool:
        """Whether the next grasp closes beside the thing."""
        return bool(self._rng.random() < _MISS_SHARE)

    def off(self, least_m: float, most_m: float) -> np.ndarray:
        """[2] a horizontal error of any direction."""
        angle = self._rng.uniform(0, 2 * np.pi)
        return float(self._rng.uniform(least_m, most_m)) * np.array([np.cos(angle), np.sin(angle)])
