"""Temporal Sampson error: the formula by hand, known geometry, and what makes it worthless."""

import cv2
import numpy as np
import pytest

from cosmos_ops.evaluation import metrics
from cosmos_ops.evaluation.metrics.sampson import MIN_MATCHES, sampson_errors
from cosmos_ops.evaluation.metrics.tse_sift import temporal_sampson
from tests.evaluation.moving import texture

SIDEWAYS = np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]], float)
"""F of a camera that moves sideways: a point stays on its row, (x0' F x1) = y1 - y0."""


def panning(frames: int = 5, wobble_px: float = 0.0) -> np.ndarray:
    """A textured scene that slides by; `wobble_px` moves its parts by themselves, another way in every frame.

    In one direction alone they could: points that keep their distance in x agree with one geometry however they move in y.
    """
    ground, rng = texture(150, 320, 11, grain_px=1.5), np.random.default_rng(0)
    rows, columns = np.mgrid[:128, :256].astype(np.float32)
    video = []
    for index in range(frames):
        shift = cv2.resize(rng.normal(0, wobble_px, (4, 8, 2)).astype(np.float32), (256, 128), interpolation=cv2.INTER_CUBIC)
        video.append(cv2.remap(ground, columns + 8 + 4 * index + shift[..., 0], rows + 10 + shift[..., 1], cv2.INTER_LINEAR))
    return np.stack(video)


def test_the_formula_by_hand():
    first, second = np.array([[10.0, 20.0], [5.0, 5.0]]), np.array([[30.0, 23.0], [50.0, 5.0]])
    # (y1 - y0)^2 / (1 + 1): each point is moved by half of the way.
    assert sampson_errors(first, second, SIDEWAYS) == pytest.approx([3 / np.sqrt(2), 0])
    assert sampson_errors(first, second, 7 * SIDEWAYS) == pytest.approx([3 / np.sqrt(2), 0]), "F has no scale"


def test_transposing_the_roles_gives_the_same_error():
    rng = np.random.default_rng(1)
    first, second, fundamental = rng.random((6, 2)), rng.random((6, 2)), rng.normal(size=(3, 3))
    assert sampson_errors(first, second, fundamental) == pytest.approx(sampson_errors(second, first, fundamental.T))


def test_a_rigid_pan_has_a_small_error_and_a_wobbling_one_a_larger():
    rigid, wobbling = temporal_sampson(panning()), temporal_sampson(panning(wobble_px=1.5))
    assert rigid["tse_sift"] < 0.05 < 0.5 < wobbling["tse_sift"]
    assert rigid["tse_sift_matches"] > 1.5 * wobbling["tse_sift_matches"] > 1.5 * MIN_MATCHES
    assert temporal_sampson(panning()) == rigid, "RANSAC draws the same samples every time"


def test_a_frozen_video_is_perfect_and_a_featureless_one_has_no_value():
    still = np.repeat(panning(1), 4, axis=0)
    assert temporal_sampson(still)["tse_sift"] == pytest.approx(0, abs=1e-3)
    flat = np.full((4, 64, 64, 3), 90, np.uint8)
    assert temporal_sampson(flat) == {"tse_sift": None, "tse_sift_matches": 0.0}
    black_out = np.concatenate([panning(2), flat[:1].repeat(2, 0).repeat(2, 1).repeat(4, 2)])
    assert temporal_sampson(black_out)["tse_sift_matches"] == pytest.approx(temporal_sampson(panning(2))["tse_sift_matches"] / 3)


def test_the_floor_is_the_real_videos_own_value():
    metric = metrics.all_metrics()["tse_sift"]
    real = panning()
    reference = metric.reference(real, 2)
    assert metric.floor(reference) == temporal_sampson(real[1:]) == metric.measure(reference, real, 2)
