from collections.abc import Iterator
from pathlib import Path

import pytest

from cosmos_ops.lake import Lake, Manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.shards.write import write_shards
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import ready_for_shards, small_profile


@pytest.fixture(scope="session")
def toy_log(tmp_path_factory) -> Path:
    """6 episodes of 40 frames at 10 a second, two cameras."""
    return write_lerobot(tmp_path_factory.mktemp("log") / "toy", cameras=("front", "wrist"))


@pytest.fixture(scope="session")
def profile() -> Profile:
    return small_profile()


@pytest.fixture(scope="session")
def planned(tmp_path_factory, toy_log, profile) -> Lake:
    """Everything before shards. Tests read it and copy it, none writes into it."""
    return ready_for_shards(tmp_path_factory.mktemp("planned"), toy_log, profile)


@pytest.fixture(scope="session")
def sharded(tmp_path_factory, toy_log, profile) -> Iterator[tuple[Lake, Manifest]]:
    """A lake with finished shards of the toy log. Tests only read it."""
    lake = ready_for_shards(tmp_path_factory.mktemp("sharded"), toy_log, profile)
    yield lake, write_shards(lake, "toy", profile)
