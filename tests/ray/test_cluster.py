"""On a real cluster of two nodes: the same bytes as here, whatever dies."""

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

from assets.resources.ray_cluster import client_of
from assets.resources.ray_workers import RayWorkers, RayWorkersResource
from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake
from cosmos_ops.quality.assess import assess_drop
from cosmos_ops.shards.write import write_shards
from pipelines.environments import PROJECT
from tests.fixtures.lerobot_factory import write_lerobot
from tests.pipelines.conftest import one_recipe_profile, tiny_profile  # noqa: F401  fixtures
from tests.ray.nodes import die, gated, refuse, wait_for
from tests.shards.lakes import ready_for_shards, small_profile

pytestmark = pytest.mark.slow
PROFILE = small_profile()


class Gated(RayWorkers):
    """Tasks wait for a file."""

    def __init__(self, folder):
        self.folder = folder

    def map(self, function, shared, parts, device="cpu"):
        return super().map(gated, (self.folder, function, shared), parts, device)


@pytest.fixture(scope="module")
def workers(cluster):
    return RayWorkersResource(address=cluster.address).open()


@pytest.fixture(scope="module")
def made_here(tmp_path_factory):
    """A lake with the quality and shards of a toy log as this machine alone makes them."""
    folder = tmp_path_factory.mktemp("local")
    log = write_lerobot(folder / "toy", cameras=("front", "wrist"))
    lake = ready_for_shards(folder / "lake", log, PROFILE)
    write_shards(lake, "toy", PROFILE)
    return lake


@pytest.fixture
def lake(made_here, tmp_path):
    """A copy without quality and shards."""
    shutil.copytree(made_here.root, tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    for stage in ("quality", "shards"):
        shutil.rmtree(lake.drop_stage("toy", stage))
    return lake


def files(lake, stage):
    folder = lake.drop_stage("toy", stage, PROFILE.data_fingerprint)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".tar", ".parquet", ".png")}


def test_quality_and_shards_are_those_of_one_machine(workers, made_here, lake):
    assess_drop(lake, "toy", PROFILE, workers=workers)
    write_shards(lake, "toy", PROFILE, workers=workers)
    for stage in ("quality", "shards"):
        assert files(lake, stage) == files(made_here, stage)


def test_a_node_that_dies_in_mid_drop_costs_only_time(cluster, workers, made_here, lake, tmp_path):
    import ray

    before = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    name = cluster.add_node()
    wait_for(lambda: sum(node["Alive"] for node in ray.nodes()) == 3)
    (lost,) = {node["NodeID"] for node in ray.nodes() if node["Alive"]} - before
    folder = tmp_path / "notes"
    folder.mkdir()
    killed = threading.Event()

    def kill():
        wait_for((folder / lost).exists)  # it is at work on a part of the drop
        cluster.kill_node(name)
        killed.set()
        (folder / "open").touch()

    thread = threading.Thread(target=kill)
    thread.start()
    write_shards(lake, "toy", PROFILE, workers=Gated(folder))
    thread.join()
    assert killed.is_set()
    assert files(lake, "shards") == files(made_here, "shards")


def test_an_expected_failure_on_a_node_is_the_same_line_here(workers):
    results = workers.map(refuse, "too dark", [1, 2, 3])
    assert next(results) == 1
    with pytest.raises(UserError, match="^part 2 is too dark$"):
        next(results)


def test_a_part_that_kills_its_worker_is_given_up_with_one_line(workers, tmp_path):
    with pytest.raises(WorkFailed, match="lost on the Ray cluster 4 times"):
        list(workers.map(die, tmp_path, [1]))
    assert len(list(tmp_path.iterdir())) == 4
    assert os.getpid() not in {int(path.name) for path in tmp_path.iterdir()}


@pytest.mark.timeout(1200)
def test_the_command_line_does_the_main_job_with_the_cluster(cluster, workers, one_recipe_profile, tmp_path):  # noqa: F811
    log = write_lerobot(tmp_path / "toy", episodes=6, frames=24)
    variables = {"COSMOS_ENV": "ray", "COSMOS_HOME": str(tmp_path / "home"), "COSMOS_PROFILE": str(one_recipe_profile), "PYTHONPATH": str(PROJECT)}
    before, submitted = drivers(cluster), trainings(cluster)

    def call(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", *arguments, "--json"], cwd=PROJECT, env={**os.environ, **variables}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    made = call("ingest", str(log), "--drop", "toy")
    assert made["clips"] > 0 and made["shards"] == 1 and not made["unchanged"]
    assert drivers(cluster) == before + 2, "quality and shards each joined the cluster"
    findings = {finding["name"]: finding for finding in call("doctor")["findings"]}
    assert findings["ray cluster"]["ok"] and "2 nodes, 2 CPUs, 0 GPUs" in findings["ray cluster"]["detail"]
    assert findings["ray token"]["ok"] and findings["ray jobs"]["ok"] and findings["ray nodes"]["ok"]

    ran = call("run")
    assert set(ran["scores"]) == {"base", "lora-r8"} and ran["reason"]
    assert trainings(cluster) == sorted([*submitted, "SUCCEEDED"])
    assert call("promote", "1", "--force", "--reason", "to have one")["champion"]
    assert call("lineage", "champion")["dataset_version"] == ran["dataset_version"]


def drivers(cluster) -> int:
    """Programs that have ever joined the cluster to hand out tasks."""
    return sum(job.submission_id is None for job in client_of(cluster.address).list_jobs())


def trainings(cluster) -> list[str]:
    """How the jobs that were ever submitted to the cluster ended."""
    return sorted(str(job.status.value) for job in client_of(cluster.address).list_jobs() if job.submission_id)
