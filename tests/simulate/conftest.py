"""Recordings that more than one writer's test writes, and what the tests with physics need of the machine."""

from dataclasses import replace

import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.simulate.rendering import package_folder, use_backend
from cosmos_ops.simulate.tabletop import record_episode


@pytest.fixture(scope="session")
def two_recordings():
    """24 and 26 frames of 64 x 96; the second one's task failed."""
    made = [record_episode(3, episode, height_px=64, width_px=96, frames=24 + 2 * episode) for episode in range(2)]
    return [made[0], replace(made[1], succeeded=False)]


@pytest.fixture
def mujoco():
    """MuJoCo's module, with robot models and a renderer at hand; where they are not, the test is skipped with the line a user would read."""
    try:
        for package in ("gym_aloha", "gymnasium_robotics"):
            package_folder(package)
        use_backend()
    except UserError as reason:
        pytest.skip(str(reason))
    import mujoco

    return mujoco
