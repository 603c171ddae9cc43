"""Sampson error of matched points under a fundamental matrix that is estimated from them (Hartley and Zisserman, "Multiple view geometry", 2nd ed.,
section 11.4.3): e^2 = (x0' F x1)^2 / ((F'x0)_1^2 + (F'x0)_2^2 + (F x1)_1^2 + (F x1)_2^2), e in px."""

import cv2
import numpy as np

RANSAC_PX, RANSAC_CONFIDENCE, RANSAC_ROUNDS = 3.0, 0.999, 2000
MIN_MATCHES = 16
"""Fewer matches fit an F by chance (it takes 8): they are counted and give no error."""


def sampson_errors(first: np.ndarray, second: np.ndarray, fundamental: np.ndarray) -> np.ndarray:
    """Sampson errors in px of matched points [n, 2], [n, 2] under F [3, 3] with x0' F x1 = 0, x0 of `first` and x1 of `second`."""
    x0, x1 = (np.column_stack([points, np.ones(len(points))]) for points in (first, second))
    back, forth = x0 @ fundamental, x1 @ fundamental.T
    below = np.square(back[:, :2]).sum(1) + np.square(forth[:, :2]).sum(1)
    return np.sqrt(np.square((x0 * forth).sum(1)) / np.where(below > 0, below, 1))


def inlier_errors(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """Sampson errors of the inliers of RANSAC among matched points [n, 2], [n, 2]; None where they are too few."""
    if len(first) < MIN_MATCHES:
        return None
    # OpenCV's F is that of x1' F x0 = 0.
    fundamental, inlier = cv2.findFundamentalMat(second, first, cv2.FM_RANSAC, RANSAC_PX, RANSAC_CONFIDENCE, RANSAC_ROUNDS)
    if fundamental is None or fundamental.shape != (3, 3):
        return None
    kept = inlier[:, 0] == 1
    return sampson_errors(first[kept], second[kept], fundamental) if kept.sum() >= MIN_MATCHES else None


def mean_over_pairs(pairs: list[np.ndarray | None]) -> tuple[float | None, float]:
    """Mean error of pairs of frames (None where none has enough matches), and mean number of inliers a pair."""
    errors = [float(found.mean()) for found in pairs if found is not None]
    return float(np.mean(errors)) if errors else None, float(np.mean([0 if found is None else len(found) for found in pairs]))
