"""Training as a job of a real cluster, under Dagster."""

import os
import signal
import threading

import dagster as dg
import pytest
from safetensors.torch import load_file

from assets.resources.ray_cluster import client_of
from assets.resources.ray_launcher import RayTrainingLauncher
from cosmos_ops.lake import Lake
from cosmos_ops.training.checkpoint import FOLDER
from cosmos_ops.training.journal import read_log
from cosmos_ops.training.run import finished_adapter, train_inline
from tests.ray.nodes import wait_for

pytestmark = pytest.mark.slow


def train(job, launcher, instance=None, retries=0):
    """One run of an asset that trains `job`."""

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=retries))
    def adapter(context: dg.AssetExecutionContext, launcher: dg.ResourceParam[RayTrainingLauncher]) -> dg.MaterializeResult:
        launcher.run(context, job.command)
        return dg.MaterializeResult()

    return dg.materialize([adapter], resources={"launcher": launcher}, instance=instance or dg.DagsterInstance.ephemeral(), raise_on_error=False)


def weights(job) -> dict:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(job.output / "adapter_model.safetensors").items()}


def reached(job, step: int) -> bool:
    return any(row["step"] >= step for row in read_log(job.output))


def jobs(cluster) -> list:
    """Those that were submitted; programs that joined the cluster by themselves are listed beside them."""
    return [job for job in client_of(cluster.address).list_jobs() if job.submission_id]


@pytest.fixture
def launcher(cluster):
    return RayTrainingLauncher(address=cluster.address, poll_s=0.2, grace_s=30)


def test_a_job_trains_the_adapter_of_one_machine_and_tells_its_progress(cluster, launcher, nano_lake, tmp_path):
    here = nano_lake.job(nano_lake.recipe(), tmp_path / "here")
    train_inline(here)
    there = nano_lake.job(nano_lake.recipe(), tmp_path / "there")
    instance = dg.DagsterInstance.ephemeral()
    run = train(there, launcher, instance)
    assert run.success, [event.message for event in run.all_events if event.is_failure]
    assert weights(there) == weights(here)
    assert finished_adapter(Lake(tmp_path / "there"), there.key).data_version == finished_adapter(Lake(tmp_path / "here"), here.key).data_version
    seen = instance.fetch_observations(dg.AssetKey("adapter"), limit=100).records
    assert seen and seen[0].asset_observation.metadata["step"].value == 12


def test_a_cancelled_run_leaves_no_job_and_a_state_to_continue_from(cluster, launcher, nano_lake, tmp_path):
    job = nano_lake.job(nano_lake.recipe(steps=2000), tmp_path / "lake")

    def cancel():
        wait_for(lambda: reached(job, 3))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=cancel)
    thread.start()
    run = train(job, launcher)
    thread.join()
    assert not run.success
    assert all(found.status.is_terminal() for found in jobs(cluster))
    assert not any(str(job.config_path) in command for command in commands())
    assert finished_adapter(Lake(tmp_path / "lake"), job.key) is None
    assert any((job.output / FOLDER).iterdir())


def test_a_job_left_by_a_dead_step_is_taken_over_and_one_that_is_stopped_is_continued(cluster, launcher, nano_lake, tmp_path):
    job = nano_lake.job(nano_lake.recipe(steps=100), tmp_path / "lake")
    client = client_of(cluster.address)
    left = launcher._submit(client, job.command, {})

    def stop():
        wait_for(lambda: reached(job, 3))
        client.stop_job(left)

    thread = threading.Thread(target=stop)
    thread.start()
    run = train(job, launcher, retries=1)
    thread.join()
    assert run.success, [event.message for event in run.all_events if event.is_failure]
    ours = {found.submission_id: found.status for found in jobs(cluster) if str(job.config_path) in found.entrypoint}
    assert len(ours) == 2 and ours[left] == "STOPPED", "the one that was left, and the one that continued it"
    assert [row["step"] for row in read_log(job.output) if "loss" in row] == list(range(1, 101))


def test_training_over_two_nodes_finishes(cluster, nano_lake, tmp_path):
    job = nano_lake.job(nano_lake.recipe(), tmp_path / "lake")
    run = train(job, RayTrainingLauncher(address=cluster.address, poll_s=0.2, grace_s=30, nodes=2))
    assert run.success, [event.message for event in run.all_events if event.is_failure]
    manifest = finished_adapter(Lake(tmp_path / "lake"), job.key)
    assert manifest.meta["steps"] == 12


def commands() -> list[str]:
    """Command lines of all processes."""
    import psutil

    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
