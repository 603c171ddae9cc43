"""Signals on frames whose answer is known."""

import cv2
import numpy as np
import pytest

from cosmos_ops.profiles import QualitySettings
from cosmos_ops.quality.signals import (
    BLACK,
    BLUR,
    CONSTANT,
    EXPOSURE,
    FINE,
    black_bars,
    black_fraction,
    blur,
    classify,
    found_again,
    frozen_fraction,
    mean_luma,
    scene_cuts,
)

SETTINGS = QualitySettings()
DIFFERENCE = SETTINGS.frozen_difference


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


def test_a_frame_is_what_explains_it_best():
    sharp = np.zeros(6)
    luma = np.concatenate([scene(1), np.zeros((1, 48, 64)), np.full((1, 48, 64), 90), np.full((1, 48, 64), 255), scene(1) * 0.15, scene(1)]).astype(np.uint8)
    sharp[5] = 0.9
    assert classify(luma, sharp, SETTINGS).tolist() == [FINE, BLACK, CONSTANT, EXPOSURE, EXPOSURE, BLUR]


def test_a_picture_that_is_far_too_bright_is_overexposed_before_most_of_it_is_white():
    luma = np.minimum(scene(1) * 1.2 + 80, 255).astype(np.uint8)
    assert (luma >= 245).mean() < SETTINGS.max_white_area and classify(luma, np.zeros(1), SETTINGS).tolist() == [EXPOSURE]
    luma[:, :10], luma[:, -10:] = 0, 0
    assert classify(luma, np.zeros(1), SETTINGS).tolist() == [EXPOSURE], "bars do not make it darker"


def test_bars_do_not_make_a_picture_dark_and_a_white_table_is_no_overexposure():
    luma = scene(2)
    luma[0, :14], luma[0, -14:] = 0, 0
    luma[1, :20] = 255
    assert classify(luma, np.zeros(2), SETTINGS).tolist() == [FINE, FINE]


def test_blur_grows_with_blurring_and_not_with_contrast():
    picture = cv2.resize(np.random.default_rng(2).integers(0, 255, (20, 30)).astype(np.uint8), (240, 160), interpolation=cv2.INTER_NEAREST)
    values = [blur(cv2.GaussianBlur(picture, (0, 0), sigma)) for sigma in (0.5, 1.5, 3, 6)]
    assert values == sorted(values) and values[0] < 0.5 < SETTINGS.max_blur < values[-1]
    assert blur(picture // 3) == pytest.approx(blur(picture), abs=0.05)
    assert blur(np.full((20, 20), 7, np.uint8)) == 1.0


def test_a_cut_is_where_everything_changes_at_once():
    rng = np.random.default_rng(3)
    luma = np.repeat(cv2.resize(rng.integers(0, 255, (1, 6, 8)).astype(np.uint8)[0], (64, 48))[None], 20, axis=0)
    for place in range(20):
        luma[place, 10:16, 2 + 2 * place : 8 + 2 * place] = 255
    assert scene_cuts(luma, np.arange(20) / 8, np.zeros(20, int), SETTINGS) == []
    luma[12:] = 255 - luma[12:]
    assert scene_cuts(luma, np.arange(20) / 8, np.zeros(20, int), SETTINGS) == [11]


def test_something_that_jumps_into_view_is_no_cut():
    luma = np.repeat(cv2.resize(scene(1)[0, ::4, ::4], (64, 48), interpolation=cv2.INTER_CUBIC)[None], 20, axis=0)
    for place in range(20):
        luma[place] = np.roll(luma[place], 2 * (place % 3), axis=0)
    luma[10:, :, 24:] = 120
    assert found_again(luma[9], luma[10]) < 0.6 < 0.95 < found_again(luma[10], luma[9]), "what is left of the picture is where it was"
    assert scene_cuts(luma, np.arange(20) / 8, np.zeros(20, int), SETTINGS) == []


def _room(seed: int, width: int = 96) -> np.ndarray:
    """[48, width] a smooth wall above a floor on which a few things stand."""
    rng = np.random.default_rng(seed)
    room = np.repeat(np.linspace(200, 120, 48)[:, None], width, axis=1)
    for _ in range(width // 10):
        top, left, shade = rng.integers(14, 36), rng.integers(0, width - 12), rng.integers(0, 255)
        room[top : top + rng.integers(6, 14), left : left + rng.integers(5, 14)] = shade
    return cv2.GaussianBlur(room.astype(np.uint8), (0, 0), 1)


def test_another_view_of_the_same_room_is_a_cut_though_the_wall_stays():
    one, other = _room(1)[:, 16:80], _room(2)[:, 16:80]
    luma = np.stack([one] * 10 + [other] * 10)
    for place in range(20):
        luma[place, 20:30, 2 * place : 2 * place + 10] = 40  # the robot
    assert scene_cuts(luma, np.arange(20) / 8, np.zeros(20, int), SETTINGS) == [9]


def test_a_camera_that_is_jerked_is_no_cut():
    """Half a second of rest, a jerk by a fifth of the picture within one step, rest: what a wrist does when it sets off."""
    places = [0] * 8 + [1, 3, 15, 17] + [18] * 8
    luma = np.stack([_room(3)[:, place : place + 64] for place in places])
    steps = np.abs(np.diff(luma.astype(int), axis=0)).mean(axis=(1, 2))
    assert steps.max() > 1.4 * np.sort(steps)[-2] and steps.max() > 11, "by its size alone it could be one"
    assert scene_cuts(luma, np.arange(20) / 8, np.zeros(20, int), SETTINGS) == []
    assert found_again(luma[9], luma[10]) > 0.88 > SETTINGS.cut_kept


def test_a_camera_that_is_quick_all_the_time_and_quicker_once_is_no_cut():
    places = np.cumsum([0] * 4 + [6] * 6 + [16] + [6] * 6)
    luma = np.stack([_room(25, 260)[:, place : place + 64] for place in places])
    kept = sorted((found_again(luma[9], luma[10]), found_again(luma[10], luma[9])))
    assert kept[0] < SETTINGS.cut_kept - 0.075 and kept[1] < 0.92, "by what is found again it could be one"
    assert scene_cuts(luma, np.arange(len(luma)) / 8, np.zeros(len(luma), int), SETTINGS) == []


def test_bars_come_in_pairs():
    gray = np.random.default_rng(4).integers(60, 200, (3, 120, 160)).astype(np.uint8)
    assert black_bars(gray, 0.04) == (0, 0, 0, 0)
    gray[:, :15], gray[:, -16:] = 3, 3
    assert black_bars(gray, 0.04) == (15, 16, 0, 0)
    gray[:, :, :20], gray[:, :, -20:] = 0, 0
    assert black_bars(gray, 0.04) == (15, 16, 20, 20)
    floor = np.random.default_rng(4).integers(60, 200, (1, 120, 160)).astype(np.uint8)
    floor[:, -30:] = 0
    assert black_bars(floor, 0.04) == (0, 0, 0, 0), "a dark floor belongs to the scene"
    assert black_bars(np.zeros((1, 120, 160), np.uint8), 0.04) == (0, 0, 0, 0)
