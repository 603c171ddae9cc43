"""How a person's hand moves: an even start and stop, and a tremor on top."""

import numpy as np


def minimum_jerk(part: float) -> float:
    """Progress from 0 to 1 of a reaching movement (Flash and Hogan 1985): 10 u^3 - 15 u^4 + 6 u^5, `part` clipped to 0..1."""
    u = min(max(part, 0.0), 1.0)
    return 10 * u**3 - 15 * u**4 + 6 * u**5


class Tremor:
    """Slow sway and faster shake of `len(sway)` numbers, sums of three sines each, frequencies and phases drawn from `rng`.

    `shake` is the size of the two faster parts as shares of the slow one; `unrest` the range of a factor drawn for the whole hand.
    """

    def __init__(self, rng: np.random.Generator, sway: np.ndarray, shake: tuple[float, float], unrest: tuple[float, float] | None = None):
        count = len(sway)
        self._hz = rng.uniform((0.3, 0.7, 1.5), (0.6, 1.2, 2.5), (count, 3))
        self._phase = rng.uniform(0, 2 * np.pi, (count, 3))
        self._size = np.asarray(sway)[:, None] * np.array([1.0, *shake])
        if unrest is not None:
            self._size *= float(rng.uniform(*unrest))

    def at(self, time_s: float) -> np.ndarray:
        """[len(sway)] displacement, in `sway`'s units."""
        return (self._size * np.sin(2 * np.pi * self._hz * time_s + self._phase)).sum(axis=1)
