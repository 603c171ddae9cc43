"""Temporal Sampson error with SIFT matches: how well what moves between neighbouring frames agrees with one epipolar geometry.

For each pair of neighbouring frames: SIFT keypoints (Lowe, IJCV 2004) are matched both ways with a ratio test, F is estimated anew by RANSAC, and
the Sampson error of the inliers is averaged (Hartley and Zisserman, "Multiple view geometry", 2nd ed., section 11.4.3),
e^2 = (x0' F x1)^2 / ((F'x0)_1^2 + (F'x0)_2^2 + (F x1)_1^2 + (F x1)_2^2), e in px of the clip. Published values use SuperPoint and LightGlue
and cannot be compared with these. A frozen or featureless video scores well: read it beside `motion_ratio`, `tse_sift_matches` and the
value of the real video, which is given as the floor.
"""

import cv2
import numpy as np

from cosmos_ops.evaluation.metrics.base import Column, SampleMetric, register

MAX_KEYPOINTS = 2048
RATIO = 0.8
RANSAC_PX, RANSAC_CONFIDENCE, RANSAC_ROUNDS = 3.0, 0.999, 2000
MIN_MATCHES = 16
"""Fewer matches fit an F by chance (it takes 8): such a pair of frames counts its matches and gives no error."""


def sampson_errors(first: np.ndarray, second: np.ndarray, fundamental: np.ndarray) -> np.ndarray:
    """Sampson errors in px of matched points [n, 2], [n, 2] under F [3, 3] with x0' F x1 = 0, x0 of `first` and x1 of `second`."""
    x0, x1 = (np.column_stack([points, np.ones(len(points))]) for points in (first, second))
    back, forth = x0 @ fundamental, x1 @ fundamental.T
    below = np.square(back[:, :2]).sum(1) + np.square(forth[:, :2]).sum(1)
    return np.sqrt(np.square((x0 * forth).sum(1)) / np.where(below > 0, below, 1))


def temporal_sampson(frames: np.ndarray) -> dict[str, float | None]:
    """`tse_sift` in px (None where no pair of frames has enough matches) and `tse_sift_matches`, the mean number of inliers a pair, of uint8 [T, H, W, 3]."""
    sift = cv2.SIFT_create(nfeatures=MAX_KEYPOINTS)
    described = [sift.detectAndCompute(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), None) for frame in frames]
    errors, counts = [], []
    for before, after in zip(described, described[1:], strict=False):
        found = _pair(before, after)
        counts.append(0 if found is None else len(found))
        if found is not None:
            errors.append(float(found.mean()))
    return {"tse_sift": float(np.mean(errors)) if errors else None, "tse_sift_matches": float(np.mean(counts))}


def _pair(before: tuple, after: tuple) -> np.ndarray | None:
    """Sampson errors of the inliers between two frames' keypoints; None where they are too few."""
    first, second = _matches(before, after)
    if len(first) < MIN_MATCHES:
        return None
    # OpenCV's F is that of x1' F x0 = 0.
    fundamental, inlier = cv2.findFundamentalMat(second, first, cv2.FM_RANSAC, RANSAC_PX, RANSAC_CONFIDENCE, RANSAC_ROUNDS)
    if fundamental is None or fundamental.shape != (3, 3):
        return None
    kept = inlier[:, 0] == 1
    return sampson_errors(first[kept], second[kept], fundamental) if kept.sum() >= MIN_MATCHES else None


def _matches(before: tuple, after: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Points [n, 2] of both frames that are each other's nearest and clearly nearer than the second nearest."""
    (keys_0, described_0), (keys_1, described_1) = before, after
    if described_0 is None or described_1 is None or min(len(keys_0), len(keys_1)) < 2:
        return np.empty((0, 2)), np.empty((0, 2))
    forth, back = _nearest(described_0, described_1), _nearest(described_1, described_0)
    pairs = [(here, there) for here, there in forth.items() if back.get(there) == here]
    return np.array([keys_0[here].pt for here, _ in pairs]).reshape(-1, 2), np.array([keys_1[there].pt for _, there in pairs]).reshape(-1, 2)


def _nearest(query: np.ndarray, train: np.ndarray) -> dict[int, int]:
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    return {best.queryIdx: best.trainIdx for best, second in matcher.knnMatch(query, train, k=2) if best.distance < RATIO * second.distance}


register(
    SampleMetric(
        name="tse_sift",
        version="1",
        columns=(
            Column("tse_sift", "lower", "px", "Distance of matched points from their epipolar lines. Low, too, when nothing moves.", 3, 0.1, True),
            Column("tse_sift_matches", "higher", "", "Matched points a pair of frames that the error is taken over: few make it worthless.", 1, 5.0),
        ),
        # From the last conditioning frame on: the step into the first generated frame is the model's too.
        reference=lambda real, first: temporal_sampson(real[first - 1 :]),
        measure=lambda reference, generated, first: temporal_sampson(generated[first - 1 :]),
        floor=lambda reference: reference,
    )
)
