"""Videos known to be worse: a real clip whose continuation was spoiled in one way; the given first frames stay."""

import io
from collections.abc import Callable

import cv2
import numpy as np

from cosmos_ops.evaluation.sampling import VIDEO_CRF, VIDEO_GOP, VIDEO_PRESET
from cosmos_ops.shards.decode import decode_clip
from cosmos_ops.video.encode import encode_mp4

Spoil = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
"""Real clip, another episode's clip, first generated frame, seed -> the spoiled clip; all uint8 [T, H, W, 3]."""


def stored(clip: np.ndarray, crf: int = VIDEO_CRF) -> np.ndarray:
    """The clip as it comes back from being stored as generated videos are."""
    target = io.BytesIO()
    encode_mp4(clip, 8.0, target, crf=crf, preset=VIDEO_PRESET, gop=VIDEO_GOP)
    return decode_clip(target.getvalue())


def compressed(real: np.ndarray, other: np.ndarray, first: int, seed: int) -> np.ndarray:
    """Encoded far too hard."""
    return _continue(real, stored(real, crf=40), first)


def blurred(real: np.ndarray, other: np.ndarray, first: int, seed: int) -> np.ndarray:
    """Out of focus."""
    return _continue(real, np.stack([cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in real]), first)


def noisy(real: np.ndarray, other: np.ndarray, first: int, seed: int) -> np.ndarray:
    """Noise of its own on every frame."""
    noise = np.random.default_rng(seed).normal(0, 20, real.shape)
    return _continue(real, np.clip(real + noise, 0, 255).astype(np.uint8), first)


def warped(real: np.ndarray, other: np.ndarray, first: int, seed: int) -> np.ndarray:
    """Space itself wobbles: a smooth displacement of a few px that is another one in every frame."""
    rng, (height, width) = np.random.default_rng(seed), real.shape[1:3]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    bent = []
    for frame in real:
        shift = cv2.resize(rng.normal(0, 2.5, (5, 8, 2)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        bent.append(cv2.remap(frame, columns + shift[..., 0], rows + shift[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))
    return _continue(real, np.stack(bent), first)


def frozen(real: np.ndarray, other: np.ndarray, first: int, seed: int) -> np.ndarray:
    """The last given frame for ever."""
    return _continue(real, np.repeat(real[first - 1 : first], len(real), axis=0), first)


def slowed(real: np.ndarray, other: np.ndarray, first: int, seed: int) -> np.ndarray:
    """Everything happens at half its speed."""
    places = first - 1 + (np.arange(len(real)) - first + 1) // 2
    return _continue(real, real[np.clip(places, 0, None)], first)


def shuffled(real: np.ndarray, other: np.ndarray, first: int, seed: int) -> np.ndarray:
    """The right frames in a wrong order."""
    order = first + np.random.default_rng(seed).permutation(len(real) - first)
    return np.concatenate([real[:first], real[order]])


def other_episode(real: np.ndarray, other: np.ndarray, first: int, seed: int) -> np.ndarray:
    """What really happened, somewhere else."""
    return _continue(real, other, first)


SPOILED: dict[str, Spoil] = {
    "compressed": compressed,
    "blurred": blurred,
    "noisy": noisy,
    "warped": warped,
    "frozen": frozen,
    "slowed": slowed,
    "shuffled": shuffled,
    "other episode": other_episode,
}


def _continue(real: np.ndarray, spoiled: np.ndarray, first: int) -> np.ndarray:
    return np.concatenate([real[:first], spoiled[first:]])
