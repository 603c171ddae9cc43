"""Simulated arms: they do their tasks, repeat themselves to the byte, and the cameras see it. About 15 s on one core."""

import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cosmos_ops.simulate.arms.aloha import ALOHA
from cosmos_ops.simulate.arms.episode import SECONDS, simulate
from cosmos_ops.simulate.arms.fetch import FETCH
from cosmos_ops.simulate.arms.franka import FRANKA
from cosmos_ops.simulate.robots import simulator

ROBOTS = {"aloha": ALOHA, "fetch": FETCH, "franka": FRANKA}
EPISODES = range(10)
FILMED_FRAMES = 36
pytestmark = pytest.mark.usefixtures("mujoco")
every_robot = pytest.mark.parametrize("name", ROBOTS)


@cache
def motion(name: str, episode: int, seed: int = 0):
    return simulate(ROBOTS[name], seed, episode)


@cache
def film(name: str):
    robot = simulator(name)
    return robot.record(0, 0, robot.cameras, 48, 80, FILMED_FRAMES)


def digest(recording, camera: str) -> str:
    return hashlib.sha256(recording.state.tobytes() + recording.action.tobytes() + recording.frames[camera].tobytes()).hexdigest()


def travel(task, model, moved) -> float:
    """How far, m, the thing that the task names got from where it was."""
    start = model.joint("thing0").qposadr[0]
    return float(np.linalg.norm(moved.positions[-1][start : start + 3] - moved.positions[0][start : start + 3]))


@every_robot
def test_a_recording_has_one_row_a_frame_and_a_name_a_column(name):
    robot, recording = simulator(name), film(name)
    assert recording.fps == robot.fps == 10 and recording.length == FILMED_FRAMES and robot.renderer
    assert recording.state.shape == (FILMED_FRAMES, len(robot.spec.state_names)) and recording.state.dtype == np.float32
    assert recording.action.shape == (FILMED_FRAMES, len(robot.spec.action_names)) and recording.action.dtype == np.float32
    assert len(set(robot.spec.state_names)) == len(robot.spec.state_names)
    assert tuple(recording.frames) == robot.cameras
    assert all(images.shape == (FILMED_FRAMES, 48, 80, 3) and images.dtype == np.uint8 for images in recording.frames.values())


def test_another_process_records_the_same_bytes_and_says_nothing():
    program = f"""
from cosmos_ops.simulate.robots import simulator
from tests.simulate.test_mujoco_robots import digest
for name in {list(ROBOTS)}:
    camera = simulator(name).cameras[0]
    print(digest(simulator(name).record(0, 0, (camera,), 48, 80, {FILMED_FRAMES}), camera))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest(film(name), simulator(name).cameras[0]) for name in ROBOTS]
    assert done.stderr == "", "contexts left open print tracebacks on exit"


@every_robot
def test_other_seeds_and_episodes_are_other_episodes(name):
    first = motion(name, 0)
    for other in (motion(name, 1), motion(name, 0, seed=1)):
        assert other[2].state.shape != first[2].state.shape or not np.allclose(other[2].state, first[2].state, atol=0.02)
        assert other[0].things != first[0].things


@every_robot
def test_most_episodes_succeed_and_move_what_the_task_names(name):
    made = [motion(name, episode) for episode in EPISODES]
    assert 0.7 <= np.mean([moved.succeeded for _, _, moved in made]) < 1.0, "one in ten is botched"
    for task, model, moved in made:
        assert SECONDS[0] * 10 <= len(moved.state) <= SECONDS[1] * 10
        if moved.succeeded:
            assert travel(task, model, moved) > 0.06, task.text
    assert len({task.text for task, _, _ in made}) > 8 and len({task.kind for task, _, _ in made}) > 2


@every_robot
def test_joints_stay_within_their_limits_and_follow_their_commands(name):
    for episode in EPISODES:
        _, model, moved = motion(name, episode)
        column = 0
        for arm in ROBOTS[name].arms:
            for joint in (model.joint(joint) for joint in arm.joints):
                state, action = moved.state[:, column], moved.action[:, column]
                if model.jnt_limited[joint.id]:
                    assert joint.range[0] <= action.min() and action.max() <= joint.range[1], joint.name
                assert np.abs(np.diff(action)).max() <= 0.31, "3 rad/s at 10 Hz"
                assert np.median(np.abs(state[1:] - action[:-1])) < 0.06, f"{joint.name} is far from where it was sent"
                column += 1
            opening, command = moved.state[:, column], moved.action[:, column]
            assert 0 <= opening.min() and opening.max() <= 1 and 0 <= command.min() and command.max() <= 1
            column += 1
        assert column == moved.state.shape[1]


@every_robot
def test_a_gripper_that_holds_something_cannot_close(name):
    placed = [(task, moved) for task, _, moved in (motion(name, episode) for episode in EPISODES) if task.kind == "place" and moved.succeeded]
    assert placed
    for task, moved in placed:
        gripper = (len(ROBOTS[name].arms[0].joints) + 1) * (task.arms[0] + 1) - 1
        closed = moved.action[:, gripper] < 0.01
        assert np.median(moved.state[closed, gripper]) > 0.3, "the thing is between the fingers"


def test_handing_over_takes_both_arms():
    task, model, moved = next(made for made in (motion("aloha", episode) for episode in EPISODES) if made[0].kind == "hand" and made[2].succeeded)
    joints = len(ALOHA.arms[0].joints) + 1
    for arm in range(2):
        assert np.ptp(moved.state[:, arm * joints : (arm + 1) * joints], axis=0).max() > 0.3
    at = model.joint("thing0").qposadr[0]
    assert moved.positions[-1][at + 2] > moved.positions[0][at + 2] + 0.05, "it is in the air"
    assert task.text.endswith(f"from the {ALOHA.arms[task.arms[0]].name} arm to the {ALOHA.arms[task.arms[1]].name} arm")


@every_robot
def test_every_camera_sees_a_lit_scene_that_moves_with_the_robot(name):
    recording = film(name)
    speed = np.abs(np.diff(recording.state, axis=0)).sum(axis=1)
    for camera, images in recording.frames.items():
        assert 40 < images.mean() < 215 and images.std() > 20, camera
        change = np.abs(np.diff(images.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
        assert (change > 0).any() and (camera not in list(recording.frames)[:2] or np.corrcoef(change, speed)[0, 1] > 0.3), camera


@every_robot
def test_a_given_length_is_kept(name):
    assert len(simulate(ROBOTS[name], 0, 1, frames=90)[2].state) == 90
    with pytest.raises(ValueError, match="at least 30"):
        simulator(name).record(0, 1, (), 80, 128, 20)
    with pytest.raises(ValueError, match="no camera 'nose'"):
        simulator(name).record(0, 1, ("nose",), 80, 128, None)
