"""On a real cluster of two nodes: the same bytes as here, whatever dies."""

import shutil
import time

import pytest

from assets.resources.ray_workers import RayWorkersResource
from cosmos_ops.lake import Lake
from cosmos_ops.quality.assess import assess_drop
from cosmos_ops.shards.write import write_shards
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import ready_for_shards, small_profile

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workers(cluster):
    return RayWorkersResource(address=cluster.address).open()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A lake with the quality and shards of a toy log as this machine alone makes them."""
    folder = tmp_path_factory.mktemp("local")
    log = write_lerobot(folder / "toy", cameras=("front", "wrist"))
    lake = ready_for_shards(folder / "lake", log, small_profile())
    shutil.copytree(lake.root, folder / "planned")
    return lake, write_shards(lake, "toy", small_profile()), folder / "planned"


def seconds(number: float, sleep_s: float) -> float:
    time.sleep(sleep_s)
    return number


def test_quality_and_shards_are_those_of_one_machine(cluster, workers, local, tmp_path):
    lake, made, planned = local
    shutil.copytree(planned, tmp_path / "lake")
    there = Lake(tmp_path / "lake")
    profile = small_profile()
    here = assess_drop(lake, "toy", profile)
    assert here.unchanged
    shutil.rmtree(there.drop_stage("toy", "quality"))
    assert assess_drop(there, "toy", profile, workers=workers).data_version == here.data_version
    assert write_shards(there, "toy", profile, workers=workers).files == made.files
