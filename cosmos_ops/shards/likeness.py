"""What a clip shows, in 256 bits that survive another encoder: to find the same recording under other bytes.

Random-projection signs (Charikar 2002, https://doi.org/10.1145/509907.509965): the expected share of bits that differ between two clips is
the angle between what they show, divided by pi. A quarter of the bits is about the scene, the mean picture; three quarters are about the
motion, each part of the picture less its mean over the clip. So two windows of one static scene, or two episodes in it, differ, while a copy
at another crf, size or codec does not. Whole numbers only: equal frames give equal bits on every machine.
"""

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np

BITS, SCENE_BITS = 256, 64
_ROWS, _COLUMNS, _MOMENTS = 8, 16, 16
_STILL = 2
"""Change of a part's mean luma (0-255) up to which it is noise of the encoder and counts as none."""
_LEAST_MOTION = 24
"""Sum over parts of their mean change above `_STILL`, in luma levels, below which too little moves to tell a clip by."""
_COMPARED_AT_ONCE = 1 << 20
"""Pairs, 32 bytes each."""
_LEVELS, _TELEMETRY_BITS = 1000, 64
_TELEMETRY_SLACK_BITS = 6
"""Converting telemetry to another type or clock changes a bit or two of 64; another motion changes half of them."""


class Likeness:
    """Collects a clip's frames as they go to the encoder."""

    def __init__(self, frames: int):
        self._wanted = {place * (frames - 1) // (_MOMENTS - 1) if frames > _MOMENTS else place for place in range(min(frames, _MOMENTS))}
        self._place = 0
        self._parts: list[np.ndarray] = []

    def add(self, i420: np.ndarray) -> None:
        """The next frame, [H * 3/2, W] uint8 as `FrameFitter.i420` gives it; H and W multiples of 16."""
        if self._place in self._wanted:
            self._parts.append(_parts(i420[: i420.shape[0] * 2 // 3]))
        self._place += 1

    def bits(self) -> str | None:
        """64 hex digits; None where too little moves for a clip to be told from another of the same scene."""
        parts = np.stack(self._parts)  # [t, parts] sums of luma, scaled to 256 * mean
        moments = len(parts)
        total = parts.sum(axis=0)
        motion = parts * moments - total  # [t, parts] 256 * t * (luma - mean over the clip)
        unit = 256 * moments
        motion = np.sign(motion) * np.maximum(np.abs(motion) - _STILL * unit, 0)
        if int(np.abs(motion).sum()) < _LEAST_MOTION * unit * moments:
            return None
        scene = total * total.size - total.sum()
        signs = [
            _signs("scene", SCENE_BITS, scene.size) @ scene.astype(np.float64),
            _signs("motion", BITS - SCENE_BITS, motion.size) @ motion.ravel().astype(np.float64),
        ]
        return np.packbits(np.concatenate(signs) > 0).tobytes().hex()


def telemetry_likeness(series: np.ndarray) -> str | None:
    """The same for [T, D] numbers, each column scaled to its own range: `D` and 16 hex digits. None where nothing changes or a value is not finite."""
    if series.size == 0 or not np.isfinite(series).all():
        return None
    low, span = series.min(axis=0).astype(np.float64), np.ptp(series.astype(np.float64), axis=0)
    if not span.any():
        return None
    levels = np.rint((series - low) / np.where(span > 0, span, 1.0) * _LEVELS).astype(np.int64)
    motion = levels * len(levels) - levels.sum(axis=0)
    signs = _signs("telemetry", _TELEMETRY_BITS, motion.size) @ motion.ravel().astype(np.float64)
    return f"{series.shape[1]}-{np.packbits(signs > 0).tobytes().hex()}"


def differing_bits(one: str, other: str) -> int:
    """Hamming distance of two likenesses."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


@dataclass(frozen=True)
class Copy:
    """The clip that another copies."""

    of: dict
    """Its index row."""
    bits: int
    """How many bits of their likenesses differ."""


def nearest_copies(rows: list[dict], earlier: list[dict], most_bits: int) -> dict[int, Copy]:
    """Place in `rows` -> the clip of `earlier` whose likeness is nearest, where at most `most_bits` differ and no telemetry tells otherwise.

    Both are index rows; every pair is compared, 64 bits at a time. Of equally near ones the first in `earlier` is taken.
    """
    mine = [place for place, row in enumerate(rows) if row["likeness"]]
    theirs = [row for row in earlier if row["likeness"]]
    found: dict[int, Copy] = {}
    if not mine or not theirs:
        return found
    known = _words(theirs)
    step = max(1, _COMPARED_AT_ONCE // len(theirs))
    for start in range(0, len(mine), step):
        block = mine[start : start + step]
        differing = np.bitwise_count(_words([rows[place] for place in block])[:, None] ^ known).sum(axis=2, dtype=np.int16)
        for at, there in zip(*np.nonzero(differing <= most_bits), strict=True):
            place, bits = block[at], int(differing[at, there])
            if (place not in found or bits < found[place].bits) and not tells_otherwise(rows[place]["telemetry_likeness"], theirs[there]["telemetry_likeness"]):
                found[place] = Copy(theirs[there], bits)
    return found


def tells_otherwise(one: str | None, other: str | None) -> bool:
    """True when two clips' telemetry, where both have it in the same dimensions, is of different motions."""
    if one is None or other is None or one.split("-")[0] != other.split("-")[0]:
        return False
    return differing_bits(one.split("-")[1], other.split("-")[1]) > _TELEMETRY_SLACK_BITS


def _words(rows: list[dict]) -> np.ndarray:
    """[rows, 4] uint64."""
    return np.frombuffer(bytes.fromhex("".join(row["likeness"] for row in rows)), np.uint64).reshape(len(rows), -1)


def _parts(luma: np.ndarray) -> np.ndarray:
    """[parts] int64: 256 times the mean luma of each part of an 8 x 16 grid, rounded down."""
    height, width = luma.shape
    rows, columns = height // _ROWS, width // _COLUMNS
    # Rows first: whole lines are added at once.
    bands = luma[: rows * _ROWS, : columns * _COLUMNS].reshape(_ROWS, rows, -1).sum(axis=1, dtype=np.uint32)
    return bands.reshape(_ROWS, _COLUMNS, columns).sum(axis=2, dtype=np.int64).ravel() * 256 // (rows * columns)


@cache
def _signs(name: str, rows: int, columns: int) -> np.ndarray:
    """[rows, columns] of +-1.0, the same for ever."""
    drawn = hashlib.shake_256(f"{name} {rows} {columns}".encode()).digest(-(-rows * columns // 8))
    return np.unpackbits(np.frombuffer(drawn, np.uint8), count=rows * columns).reshape(rows, columns) * 2.0 - 1.0
