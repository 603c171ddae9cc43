"""Temporal Sampson error with SIFT matches: how well what moves between neighbouring frames agrees with one epipolar geometry.

For each pair of neighbouring frames: SIFT keypoints (Lowe, IJCV 2004) are matched both ways with a ratio test, F is estimated anew by RANSAC, and
the Sampson error of the inliers (`sampson`) is averaged, in px of the clip. Published values use SuperPoint and LightGlue and cannot be compared
with these. A frozen or featureless video scores well: read it beside `motion_ratio`, `tse_sift_matches` and the
value of the real video, which is given as the floor.
"""

import cv2
import numpy as np

from cosmos_ops.evaluation.metrics.base import Column, SampleMetric, register
from cosmos_ops.evaluation.metrics.sampson import inlier_errors, mean_over_pairs

MAX_KEYPOINTS = 2048
RATIO = 0.8


def temporal_sampson(frames: np.ndarray) -> dict[str, float | None]:
    """`tse_sift` in px (None where no pair of frames has enough matches) and `tse_sift_matches`, the mean number of inliers a pair, of uint8 [T, H, W, 3]."""
    sift = cv2.SIFT_create(nfeatures=MAX_KEYPOINTS)
    described = [sift.detectAndCompute(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), None) for frame in frames]
    error, matches = mean_over_pairs([inlier_errors(*_matches(before, after)) for before, after in zip(described, described[1:], strict=False)])
    return {"tse_sift": error, "tse_sift_matches": matches}


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
