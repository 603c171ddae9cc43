"""Signals on frames whose answer is known."""

import numpy as np
import pytest

from cosmos_ops.profiles import QualitySettings
from cosmos_ops.quality.signals import black_fraction, frozen_fraction, mean_luma

DIFFERENCE = QualitySettings().frozen_difference


def scene(count: int = 20) -> np.ndarray:
    """[T, 48, 64] of one textured picture, repeated."""
    return np.repeat(np.random.default_rng(0).integers(60, 180, (1, 48, 64)).astype(np.uint8), count, axis=0)


def test_black_frames_are_counted():
    luma = scene(10)
    luma[:3] = 5
    assert black_fraction(luma, 16.0) == pytest.approx(0.3)
    assert mean_luma(np.full((2, 4, 4), 7, np.uint8)) == 7


def test_a_dark_letterbox_is_not_black():
    luma = scene(4)
    luma[:, :12], luma[:, -12:] = 0, 0
    assert black_fraction(luma, 16.0) == 0


def test_a_picture_that_never_changes_is_frozen():
    assert frozen_fraction(scene(), DIFFERENCE) == 1.0


def test_compression_noise_is_not_motion():
    noise = np.random.default_rng(1).random((20, 48, 64)) < 0.05
    assert frozen_fraction((scene() + noise).astype(np.uint8), DIFFERENCE) == 1.0


def test_a_small_far_robot_before_a_static_camera_is_motion():
    luma = scene()
    for place, frame in enumerate(luma):
        frame[30:33, place : place + 3] = 255  # 9 of 3072 pixels
    assert np.abs(np.diff(luma.astype(int), axis=0)).mean() < DIFFERENCE, "too little to be seen in the whole picture"
    assert frozen_fraction(luma, DIFFERENCE) == 0


def test_a_camera_that_stops_halfway_is_half_frozen():
    luma = scene(21)
    luma[:10] += np.arange(10, dtype=np.uint8)[:, None, None]
    assert frozen_fraction(luma, DIFFERENCE) == pytest.approx(0.5, abs=0.06)


def test_one_frame_says_nothing_about_motion():
    assert frozen_fraction(scene(1), DIFFERENCE) == 0
