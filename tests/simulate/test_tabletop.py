"""The tabletop arm: does its tasks, is repeatable, and its telemetry and pictures tell the same story."""

import numpy as np
import pytest

from cosmos_ops.simulate.tabletop import CAMERAS, FPS, FRAMES, ROBOT, record_episode
from cosmos_ops.simulate.tabletop_operator import operate
from cosmos_ops.simulate.tabletop_scene import DIRECTIONS, in_tray, sample_scene, solve_joints, tool_position


@pytest.fixture(scope="module")
def recording():
    return record_episode(0, 0)


def test_recording_has_one_row_a_frame(recording):
    assert FRAMES[0] <= recording.length <= FRAMES[1]
    assert recording.state.shape == (recording.length, len(ROBOT.state_names)) and recording.state.dtype == np.float32
    assert recording.action.shape == (recording.length, len(ROBOT.action_names)) and recording.action.dtype == np.float32
    assert set(recording.frames) == set(CAMERAS)
    for images in recording.frames.values():
        assert images.shape == (recording.length, 160, 256, 3) and images.dtype == np.uint8


def test_equal_seeds_give_equal_recordings_and_others_do_not(recording):
    again, other_seed, other_episode = record_episode(0, 0), record_episode(1, 0), record_episode(0, 1)
    assert np.array_equal(again.state, recording.state) and np.array_equal(again.action, recording.action)
    assert all(np.array_equal(again.frames[camera], recording.frames[camera]) for camera in CAMERAS)
    for other in (other_seed, other_episode):
        assert not np.array_equal(other.frames["front"][0], recording.frames["front"][0])
        assert other.state.shape != recording.state.shape or not np.allclose(other.state, recording.state)


@pytest.mark.parametrize("elbow", [-1, 1])
def test_solved_joints_reach_their_target(elbow):
    for target in np.random.default_rng(0).uniform((-0.2, 0.06, 0.01, -1), (0.2, 0.3, 0.12, 1), (50, 4)):
        joints = solve_joints(target, elbow)
        assert tool_position(joints)[1] == pytest.approx(target[:2], abs=1e-6)
        assert joints[3] == target[2] and joints[:3].sum() + np.pi / 2 == pytest.approx(target[3])


def test_the_operator_does_what_the_task_says():
    kinds, durations = set(), set()
    for episode in range(60):
        rng = np.random.default_rng([5, episode])
        scene = sample_scene(rng)
        motion = operate(scene, rng, 42, FPS)
        moved = motion.things[-1, 0, :2] - motion.things[0, 0, :2]
        assert motion.succeeded and np.isfinite(motion.joints).all()
        assert np.array_equal(motion.things[:, 1:], np.broadcast_to(scene.poses[1:], motion.things[:, 1:].shape)), "only what the task names moves"
        if scene.kind == "push":
            word = scene.task.rsplit(" ", 1)[1]
            assert moved @ np.array(DIRECTIONS[word]) > 0.1
            assert motion.things[:, 0, 2].max() == 0
        else:
            assert in_tray(motion.things[-1, 0, :2], scene.tray_m) and motion.things[:, 0, 2].max() > 0.05
            assert scene.task == f"pick up the {scene.things[0].name} and place it in the tray"
        kinds.add(scene.kind)
        durations.add(int(np.argmax(np.linalg.norm(motion.things[:, 0, :2] - motion.things[0, 0, :2], axis=1) > 0.02)))
    assert kinds == {"push", "place"}
    assert len(durations) > 5, "nobody works at one speed"


def test_actions_explain_the_joints(recording):
    moved = np.diff(recording.state[:, :4], axis=0)
    commanded = recording.action[:-1, :4] / FPS
    error, size = np.abs(moved - commanded).mean(axis=0), np.abs(moved).mean(axis=0)
    assert (error < 0.6 * size).all(), "velocities held for a frame, but for the arm's lag"
    assert recording.state[:, 4].min() >= 0 and recording.state[:, 4].max() <= 1


def test_pictures_move_with_the_arm_and_light_differs_by_episode(recording):
    front, wrist = (recording.frames[camera].astype(np.float32) for camera in CAMERAS)
    speed = np.abs(np.diff(recording.state[:, :4], axis=0)).sum(axis=1)
    for images in (front, wrist):
        change = np.abs(np.diff(images, axis=0)).mean(axis=(1, 2, 3))
        assert np.corrcoef(change, speed)[0, 1] > 0.4
        assert images.std() > 20 and 60 < images.mean() < 200
    corner = [record_episode(0, episode, cameras=("front",), frames=24).frames["front"][0, -20:, :60].mean(axis=(0, 1)) for episode in range(3)]
    assert np.ptp(corner, axis=0).max() > 3


def test_things_show_their_colour_in_both_cameras(recording):
    assert recording.task == "push the green disc to the left", "seed 0 has a green disc; choose another colour below"
    for images in recording.frames.values():
        red, green, blue = np.moveaxis(images.astype(int), -1, 0)
        assert ((green > red + 40) & (green > blue + 20)).sum(axis=(1, 2)).max() > 150


def test_too_few_frames_are_refused():
    with pytest.raises(ValueError, match="at least 24"):
        record_episode(0, 0, frames=10)
