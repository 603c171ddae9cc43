"""The parts of the simulated arms: tasks, judging, inverse kinematics, the operator's mistakes, OpenGL. About 10 s on one core."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.simulate.arms.aloha import ALOHA
from cosmos_ops.simulate.arms.embodiment import Embodiment
from cosmos_ops.simulate.arms.episode import perform
from cosmos_ops.simulate.arms.fetch import FETCH
from cosmos_ops.simulate.arms.franka import FRANKA
from cosmos_ops.simulate.arms.hand import Hand
from cosmos_ops.simulate.arms.kinematics import Solver, tool_rotation
from cosmos_ops.simulate.arms.props import Container, Thing
from cosmos_ops.simulate.arms.scene import compose, sample_surroundings
from cosmos_ops.simulate.arms.tasks import Outcome, Task, achieved, sample_task
from cosmos_ops.simulate.rendering import package_folder
from cosmos_ops.simulate.robots import ROBOTS, simulator

GREY = (0.5, 0.5, 0.5)
BLOCK = Thing("block", "red", (0.025, 0.025, 0.025), (0.1, 0.0, 0.0))
OTHER = Thing("block", "blue", (0.025, 0.025, 0.025), (-0.1, 0.0, 0.0))
every_robot = pytest.mark.parametrize("robot", [ALOHA, FETCH, FRANKA], ids=lambda robot: robot.name)


def scene(robot: Embodiment, kind: str, episode: int = 0):
    """A task of one kind and its model."""
    rng = np.random.default_rng([9, episode])
    room = sample_surroundings(robot, rng)
    task = sample_task(replace(robot, kinds={kind: 1}), rng, room.table_rgb)
    return task, compose(robot, task, room, 80, 128)


@every_robot
def test_tasks_vary_and_things_keep_apart(robot):
    tasks = [sample_task(robot, np.random.default_rng([1, episode]), GREY) for episode in range(200)]
    assert {task.kind for task in tasks} == set(robot.kinds)
    assert len({task.text for task in tasks}) > 100
    assert {len(task.things) for task in tasks} == {2, 3, 4}
    assert {task.container.kind for task in tasks if task.container} == {"tray", "bowl", "plate"}
    for task in tasks:
        colours = [thing.colour for thing in task.things]
        assert len(set(colours)) == len(colours), "a colour names one thing"
        assert task.things[0].name in task.text
        places = np.array([thing.pose[:2] for thing in task.things])
        gaps = np.linalg.norm(places[:, None] - places, axis=-1) + np.eye(len(places))
        assert gaps.min() > 0.09, task
        x0, x1, y0, y1 = robot.places_m
        assert (places >= (x0, y0)).all() and (places <= (x1, y1)).all()


@every_robot
def test_inverse_kinematics_reaches_the_table_within_joint_limits(robot, mujoco):
    _, model = scene(robot, "place")
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    for arm in robot.arms:
        solver = Solver(model, arm)
        adr = [model.joint(joint).qposadr[0] for joint in arm.joints]
        x0, x1, y0, y1 = robot.places_m
        for _ in range(12):
            at = rng.uniform((x0, y0), (x1, y1))
            if len(robot.arms) == 2:  # each works on its side
                at[0] = np.copysign(at[0], arm.base_m[0])
            pose = np.array([*at, rng.uniform(0.03, 0.15), np.arctan2(at[1] - arm.base_m[1], at[0] - arm.base_m[0]), robot.pitch_rad, rng.uniform(-0.5, 0.5)])
            data.qpos[adr] = joints = solver.settle(pose)
            mujoco.mj_kinematics(model, data)
            assert np.linalg.norm(data.site(arm.tool).xpos - pose[:3]) < 0.002
            assert np.abs(data.site(arm.tool).xmat.reshape(3, 3) - tool_rotation(*pose[3:])).max() < 0.03
            assert (solver.low <= joints).all() and (joints <= solver.high).all()
        beyond = solver.settle(np.array([*(np.array(arm.base_m) - 3.0), 0.1, 0.0, 1.0, 0.0]))
        assert (solver.low <= beyond).all() and (beyond <= solver.high).all() and np.isfinite(beyond).all()


@every_robot
def test_a_missed_grasp_is_noticed_and_repeated(robot, mujoco, monkeypatch):
    task, model = scene(robot, "place", 1)
    gripper = (len(robot.arms[0].joints) + 1) * (task.arms[0] + 1) - 1

    def closings(misses: bool) -> tuple[int, bool]:
        monkeypatch.setattr(Hand, "misses", lambda self: misses)
        moved = perform(robot, task, model, Hand(np.random.default_rng(0)), 120)
        return int((np.diff((moved.action[:, gripper] < 0.1).astype(int)) == 1).sum()), moved.succeeded

    assert closings(False) == (1, True)
    assert closings(True) == (2, True)


@every_robot
def test_a_botched_task_is_judged_a_failure(robot, mujoco):
    for slip in ("grasp", "goal"):
        task, model = scene(robot, "place", 2)
        assert not perform(robot, task, model, Hand(np.random.default_rng(1), slip=slip), 120).succeeded


def end(*positions, tool=(0.0, 0.3, 0.3), opening=0.9, uprights=None) -> Outcome:
    return Outcome(np.array(positions, float), np.array(uprights or [1.0] * len(positions)), np.array([tool], float), np.array([opening]))


def test_what_counts_as_done():
    tray = Container("tray", "white", (0.0, 0.1))
    place = Task("place", "", (BLOCK,), tray, (0,), tray.at_m)
    assert achieved(place, end((0.03, 0.12, 0.03)))
    assert not achieved(place, end((0.1, 0.0, 0.025))), "never moved"
    assert not achieved(place, end((0.0, 0.1, 0.12))), "above the tray"
    assert not achieved(place, end((0.0, 0.1, 0.03), tool=(0, 0.1, 0.03), opening=0.5)), "still in the gripper"

    stack = Task("stack", "", (BLOCK, OTHER), None, (0,), (-0.1, 0.0))
    assert achieved(stack, end((-0.1, 0.005, 0.075), (-0.1, 0.0, 0.025)))
    assert not achieved(stack, end((-0.06, 0.0, 0.025), (-0.1, 0.0, 0.025))), "beside it"
    assert not achieved(stack, end((-0.1, 0.0, 0.075), (-0.1, 0.0, 0.025), uprights=[1.0, 0.3])), "it fell over"

    push = Task("push", "", (BLOCK,), None, (0,), (-0.03, 0.0))
    assert achieved(push, end((-0.02, 0.02, 0.025)))
    assert not achieved(push, end((0.05, 0.0, 0.025))), "not far enough"
    assert not achieved(push, end((0.0, 0.1, 0.025))), "off to the side"

    beside = Task("beside", "", (BLOCK, OTHER), None, (0,), (-0.005, 0.0))
    assert achieved(beside, end((0.01, 0.01, 0.025), (-0.1, 0.0, 0.025)))
    assert not achieved(beside, end((-0.2, 0.0, 0.025), (-0.1, 0.0, 0.025))), "the other side"

    hand = Task("hand", "", (replace(BLOCK, shape="bar", half_m=(0.06, 0.02, 0.02)),), None, (0, 1), (0.0, 0.0))
    tools, openings = np.array([[-0.2, 0, 0.2], [0.03, 0, 0.17]]), np.array([0.9, 0.4])
    assert achieved(hand, Outcome(np.array([[0, 0, 0.17]]), np.ones(1), tools, openings))
    assert not achieved(hand, Outcome(np.array([[0, 0, 0.02]]), np.ones(1), tools, openings)), "dropped"
    assert not achieved(hand, Outcome(np.array([[0, 0, 0.17]]), np.ones(1), tools[::-1], openings[::-1])), "not handed over"


def test_directions_are_those_of_the_first_camera(mujoco):
    for robot in (ALOHA, FETCH, FRANKA):
        _, model = scene(robot, "push")
        camera = model.cam_mat0[model.camera(robot.cameras[0]).id].reshape(3, 3)
        assert camera[0, 0] > 0.95, "its right is +x"
        assert camera[1, 2] < 0, "it looks along +y"


def test_names_are_listed_without_importing_mujoco():
    program = (
        "import sys; from cosmos_ops.simulate.robots import ROBOTS, simulator; "
        "print(*(camera for name in ROBOTS for camera in simulator(name).cameras)); assert 'mujoco' not in sys.modules"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert all(camera in told for camera in ("front", "cam_high", "cam_left_wrist", "external_camera", "exterior_1", "wrist"))
    with pytest.raises(UserError, match=f"choose from {', '.join(ROBOTS)}"):
        simulator("hal")


def test_a_missing_package_names_the_extra():
    with pytest.raises(UserError, match=r'no_such_robot.*pip install "cosmos-ops\[sim\]"'):
        package_folder("no_such_robot")


@pytest.mark.skipif(sys.platform != "linux", reason="OpenGL is chosen on Linux only")
def test_without_opengl_the_packages_to_install_are_named(mujoco):
    # PyOpenGL is told to use a platform that neither backend can work with.
    program = "from cosmos_ops.simulate.rendering import use_backend\nuse_backend()"
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYOPENGL_PLATFORM": "glx"}, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "UserError: no OpenGL" in last and "libegl1 libegl-mesa0" in last and "libosmesa6" in last and "egl: " in last


def test_a_backend_that_cannot_draw_is_passed_over(mujoco):
    program = "from cosmos_ops.simulate.rendering import use_backend\nprint(use_backend())"
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "MUJOCO_GL": "nonsense"}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("egl", "osmesa", "native")
