"""Two real processes, started by torchrun: they train what one trains, save, end on SIGTERM and go on."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cosmos_ops.lake import Lake
from cosmos_ops.training.checkpoint import FOLDER
from cosmos_ops.training.journal import read_log
from cosmos_ops.training.run import TrainingJob, finished_adapter, train_inline
from tests.training.tiny_job import tiny_job

ROOT = Path(__file__).parents[2]
STEPS = 150
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = ("accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")


@pytest.fixture
def launch():
    """Starts two processes of the program on a job; what is left of them when the test ends is killed."""
    running = []

    def start(job: TrainingJob, launcher: tuple[str, ...] = TORCHRUN) -> subprocess.Popen:
        command = [sys.executable, "-m", *launcher, "-m", "tests.training.two_processes"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*command, "--config", str(job.config_path)], cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_two_processes_train_stop_and_go_on_as_one_would(tmp_path, launch):
    settings = {"steps": STEPS, "validate_every": 100, "checkpoint_minutes": 0.0}
    # One process that accumulates two batches sees the same samples with the same noise in the same updates.
    alone = tiny_job(tmp_path / "alone", gradient_accumulation=2, **settings)
    train_inline(alone)
    wanted = finished_adapter(Lake(tmp_path / "alone"), alone.key)

    job = tiny_job(tmp_path / "together", **settings)
    first = launch(job)
    while not any(row["step"] >= 3 for row in read_log(job.output)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            first.wait(0.02)
            raise AssertionError(first.communicate()[1])
    first.send_signal(signal.SIGTERM)
    messages = first.communicate(timeout=120)[1]
    assert first.returncode != 0
    assert "saved; the same command continues" in messages
    assert finished_adapter(Lake(tmp_path / "together"), job.key) is None
    assert list((job.output / FOLDER).glob("state-*.safetensors"))
    stopped_at = max(row["step"] for row in read_log(job.output))
    assert 3 <= stopped_at < STEPS

    second = launch(job)
    messages = second.communicate(timeout=300)[1]
    assert second.returncode == 0, messages
    made = finished_adapter(Lake(tmp_path / "together"), job.key)
    assert (made.meta["processes"], made.meta["steps"], made.meta["samples"]) == (2, STEPS, wanted.meta["samples"])
    losses = [[row["loss"] for row in read_log(folder) if "loss" in row] for folder in (alone.output, job.output)]
    assert len(losses[1]) == STEPS
    # Sums in another order drift apart under Adam; another sample or another noise would show at once.
    assert losses[1][:40] == pytest.approx(losses[0][:40], rel=1e-3)
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert made.meta["validation_loss"]["best"] == pytest.approx(wanted.meta["validation_loss"]["best"], rel=0.02)
    assert load_file(job.output / "adapter_model.safetensors").keys() == load_file(alone.output / "adapter_model.safetensors").keys()


@pytest.mark.slow
def test_accelerate_launch_starts_it_like_any_program(tmp_path, launch):
    settings = {"steps": 30, "validate_every": 10}
    alone = tiny_job(tmp_path / "alone", **settings)
    train_inline(alone)
    cpu = tiny_job(tmp_path / "cpu", **settings)
    # On a CPU accelerate starts one process, whatever number is asked for (without mpirun); what it trains is to the bit what a shell's does.
    started = launch(cpu, (*ACCELERATE, "--cpu", "--num_processes", "1"))
    two = tiny_job(tmp_path / "two", **settings)
    both = launch(two, (*ACCELERATE, "--multi_gpu", "--num_processes", "2"))  # the launcher for several GPUs; the job says that it runs on CPUs
    for process in (started, both):
        messages = process.communicate(timeout=300)[1]
        assert process.returncode == 0, messages
    made = [load_file(job.output / "adapter_model.safetensors") for job in (alone, cpu)]
    assert all((made[0][name] == made[1][name]).all() for name in made[0])
    meta = finished_adapter(Lake(tmp_path / "two"), two.key).meta
    assert (meta["processes"], meta["steps"], meta["samples"]) == (2, 30, 2 * 2 * 30)
