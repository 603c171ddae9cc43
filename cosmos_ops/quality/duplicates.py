"""Recordings that are in a drop more than once: to the pixel, or as it looks."""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

_MOMENTS, _SIZE_PX = 8, (12, 16)
_LAGS = (-3, -2, -1, 0, 1, 2, 3)
_CHUNK = 512
_WORTH = 4
"""Recordings whose root mean square difference is this many times the limit are too far apart for a shift to make them equal."""
_LEAST_MOTION = 0.01
"""What a compressor makes of a still picture is no motion to compare by."""
_STEPS = 32
"""Whole numbers that a standard deviation of a picture is kept in."""


@dataclass(frozen=True, eq=False)
class Print:
    """What a camera's recording looks like at a few moments, and how much happens in it."""

    look: np.ndarray
    """[8, 12, 16] float32 luma, each picture less its mean and over its standard deviation: brightness and contrast are the exposure's."""
    motion: float
    """Mean absolute difference of these pictures from their mean over time."""
    content: str
    """Hash of all frames that were looked at."""
    around: np.ndarray
    """[7, 8, 12, 16] int8: `look` shifted in time by -3 to 3 samples, in 32nds."""


def fingerprint(luma: np.ndarray) -> Print:
    """Of [N, 48, 64] uint8 frames at a constant rate, in order."""
    small = np.stack([cv2.resize(frame, _SIZE_PX[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) for frame in luma])
    small -= small.mean(axis=(1, 2), keepdims=True)
    small /= np.maximum(1.0, small.std(axis=(1, 2), keepdims=True))
    places = np.linspace(0.08, 0.92, _MOMENTS) * (len(small) - 1)
    around = np.stack([small[np.clip(np.rint(places + lag).astype(int), 0, len(small) - 1)] for lag in _LAGS])
    look = around[len(_LAGS) // 2]
    motion, content = float(np.abs(look - look.mean(axis=0)).mean()), hashlib.sha256(luma.tobytes()).hexdigest()
    return Print(look, motion, content, np.clip(np.rint(around * _STEPS), -128, 127).astype(np.int8))


def copies(prints: list[Print], most: float, episodes: list[int] | None = None) -> dict[int, tuple[int, bool]]:
    """Place of a copy -> (place of the earliest recording that it repeats, whether it is the same to the pixel).

    `episodes` tells which episode each recording is of: two cameras of one episode may look alike, as a stereo pair does; only the very same
    pixels make one of them a copy.

    Two recordings look the same where they differ by less than `most` of what moves in them. A scene that is the same in all of them therefore does
    not make copies, the way the robot moves does. A shift of three samples is allowed for.
    """
    found: dict[int, tuple[int, bool]] = {}
    seen: dict[str, int] = {}
    for place, item in enumerate(prints):
        first = seen.setdefault(item.content, place)
        if first != place:
            found[place] = (first, True)
    flat = np.stack([item.look.ravel() for item in prints]) if prints else np.zeros((0, 1), np.float32)
    squares = (flat**2).sum(axis=1)
    # One matrix product for all pairs leaves the few that are worth shifting in time.
    reach = np.array([(_WORTH * most * max(item.motion, _LEAST_MOTION)) ** 2 * flat.shape[1] for item in prints])
    for start in range(0, len(prints), _CHUNK):
        rows = slice(start, start + _CHUNK)
        distance = squares[rows, None] + squares[None] - 2 * flat[rows] @ flat.T
        for row, column in zip(*np.nonzero(distance < reach[rows, None]), strict=True):
            later, earlier = int(row) + start, int(column)
            together = episodes is not None and episodes[earlier] == episodes[later]
            if earlier < later and not together and later not in found and earlier not in found and _alike(prints[earlier], prints[later], most):
                found[later] = (earlier, False)
    return found


def _alike(one: Print, other: Print, most: float) -> bool:
    motion = min(one.motion, other.motion)
    if motion < _LEAST_MOTION:
        return False
    apart = np.abs(other.around.astype(np.float32) / _STEPS - one.look).mean(axis=(2, 3))
    return float(apart.min(axis=0).mean()) < most * motion  # each moment by itself: where the ends were cut the shift is not the same throughout
