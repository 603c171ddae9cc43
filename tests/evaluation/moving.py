"""Small real videos made of numbers: textured scenes in which a patch moves a known way."""

import cv2
import numpy as np


def texture(height: int, width: int, seed: int, grain_px: float = 2.0) -> np.ndarray:
    """Smooth noise, uint8 RGB [height, width, 3] over the whole range."""
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), grain_px)
    return ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).astype(np.uint8)


def moving_patch(frames: int = 9, height: int = 80, width: int = 128, step_px: tuple[float, float] = (2.0, 1.0), seed: int = 0) -> np.ndarray:
    """A textured square that moves by `step_px` (right, down) a frame over a still textured background: uint8 [T, H, W, 3]."""
    ground, patch = texture(height, width, seed), texture(height, width, seed + 1000)
    mask = np.zeros((height, width, 1), np.float32)
    mask[height // 4 : height // 4 + 28, width // 4 : width // 4 + 28] = 1
    video = []
    for index in range(frames):
        shift = np.float32([[1, 0, step_px[0] * index], [0, 1, step_px[1] * index]])
        moved = cv2.warpAffine(patch, shift, (width, height)).astype(np.float32)
        where = cv2.warpAffine(mask, shift, (width, height))[..., None]
        video.append((ground * (1 - where) + moved * where).round().astype(np.uint8))
    return np.stack(video)


def noisy(video: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """The video with Gaussian noise of `sigma` grey levels."""
    return np.clip(video + np.random.default_rng(seed).normal(0, sigma, video.shape), 0, 255).astype(np.uint8)


def frozen(video: np.ndarray, first: int) -> np.ndarray:
    """The last conditioning frame for ever."""
    return np.concatenate([video[:first], np.repeat(video[first - 1 : first], len(video) - first, axis=0)])


def shuffled(video: np.ndarray, first: int, seed: int = 0) -> np.ndarray:
    """The generated frames in another order."""
    order = np.random.default_rng(seed).permutation(len(video) - first) + first
    return np.concatenate([video[:first], video[order]])
