"""The training program in real processes: killed, interrupted, told nonsense, and run by Dagster Pipes."""

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from safetensors.torch import load_file

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.training.__main__ import main
from cosmos_ops.training.checkpoint import FOLDER
from cosmos_ops.training.journal import read_log
from cosmos_ops.training.run import TrainingJob, finished_adapter, prepare_training, train_inline
from tests.training.conftest import ROOT, NanoLake

STEPS = 24
ANY_STEP = random.Random(20261123).randint(7, 12)


def wait_for_step(process: subprocess.Popen, job: TrainingJob, step: int) -> None:
    """Return as soon as the log says that `step` updates are done, the process still running."""
    while not any(row["step"] >= step for row in read_log(job.output)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            raise AssertionError(f"ended before step {step}: {process.communicate()[1]}")


@pytest.fixture
def kept_handlers():
    """The program takes over signals; a test that calls it in this process gives them back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def weights(job: TrainingJob) -> dict:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(job.output / "adapter_model.safetensors").items()}


@pytest.mark.slow
def test_killed_then_stopped_then_finished_it_has_the_same_bits(nano_lake: NanoLake, tmp_path, start_program):
    recipe = nano_lake.recipe("dora-r8", steps=STEPS, validate_every=5)  # checkpoints at validations that improve, no others
    straight = nano_lake.job(recipe, tmp_path / "straight")
    train_inline(straight)
    job = nano_lake.job(recipe, tmp_path / "broken")
    assert job.key == straight.key

    killed = start_program(job)
    wait_for_step(killed, job, ANY_STEP)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert finished_adapter(Lake(tmp_path / "broken"), job.key) is None
    assert not (job.output / "adapter_model.safetensors").exists()
    reached = max(row["step"] for row in read_log(job.output))

    stopped = start_program(job)
    wait_for_step(stopped, job, reached + 1)
    stopped.send_signal(signal.SIGTERM)
    _, shown = stopped.communicate(timeout=120)
    assert stopped.returncode == 75, shown
    last = shown.strip().splitlines()[-1]
    assert last.endswith(f"of {STEPS}, saved; the same command continues")
    stopped_at = int(last.split("step ")[1].split(" ")[0])
    assert reached < stopped_at < STEPS
    assert stopped_at == max(row["step"] for row in read_log(job.output))

    manifest = train_inline(job)
    assert [row["step"] for row in read_log(job.output) if "loss" in row] == list(range(1, STEPS + 1))
    assert weights(job) == weights(straight)
    assert manifest.data_version == finished_adapter(Lake(tmp_path / "straight"), straight.key).data_version
    assert not (job.output / FOLDER).exists()


@pytest.mark.slow
def test_under_pipes_progress_reaches_dagster(nano_lake: NanoLake, tmp_path):
    job = nano_lake.job(nano_lake.recipe(steps=3), tmp_path / "lake")
    received = []

    @dg.asset
    def adapter(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
        received.extend(pipes.run(context=context, command=list(job.command), cwd=str(ROOT), env={"PYTHONPATH": str(ROOT)}).get_custom_messages())
        return dg.MaterializeResult()

    assert dg.materialize([adapter], resources={"pipes": dg.PipesSubprocessClient()}).success
    assert received[0]["step"] == 1
    assert all(set(message) == {"step", "steps", "loss", "validation_loss", "samples_per_s", "eta_s"} for message in received)
    meta = finished_adapter(Lake(tmp_path / "lake"), job.key).meta
    last = received[-1]
    assert (last["step"], last["steps"], last["eta_s"]) == (3, 3, 0.0)
    assert last["validation_loss"] == meta["validation_loss"]["final"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recipe": {"name": "x", "method": "lora", "rank": 8, "steps": 0}}, "steps is 0; use 1 or more"),
        ({"precison": "float32"}, "unknown setting 'precison'"),
        ({"precision": "int4"}, "use float32 or bfloat16"),
        ({"dataset_version": "v9"}, "dataset version v9 is not in the lake"),
        ({"latents_version": "old"}, "changed since this job was prepared; prepare the training again"),
        ("not json", "not readable as JSON"),
        (None, "not readable as JSON"),
    ],
)
def test_a_bad_config_is_one_line_and_exit_2(nano_lake: NanoLake, tmp_path, change, says, capfd, kept_handlers):
    path = tmp_path / "job.json"
    if isinstance(change, dict):
        job = nano_lake.job(nano_lake.recipe())
        path.write_text(json.dumps({**json.loads(job.config_path.read_text()), "output": str(tmp_path / "out"), **change}))
    elif change is not None:
        path.write_text(change)
    assert main(["--config", str(path)]) == 2
    shown = capfd.readouterr().err.strip().splitlines()
    assert says in shown[-1]
    assert len(shown) <= 2, "at most what is loaded, then the reason"


def test_without_its_parent_it_saves_and_ends(nano_lake: NanoLake, tmp_path, capfd, kept_handlers):
    job = nano_lake.job(nano_lake.recipe(), tmp_path / "lake")
    no_parent = os.getpid()  # nothing is its own parent
    assert main(["--config", str(job.config_path), "--parent-pid", str(no_parent)]) == 75
    assert "stopped at step 0 of 12, saved" in capfd.readouterr().err
    assert main(["--config", str(job.config_path), "--parent-pid", str(os.getppid())]) == 0


def test_a_missing_config_ends_the_process_with_2(tmp_path):
    done = subprocess.run([sys.executable, "-m", "cosmos_ops.training", "--config", str(tmp_path / "none.json")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "none.json" in done.stderr


def test_preparing_is_repeatable_and_keys_cover_the_inputs(nano_lake: NanoLake):
    job = nano_lake.job(nano_lake.recipe())
    written = job.config_path.stat().st_mtime_ns
    assert nano_lake.job(nano_lake.recipe()) == job
    assert job.config_path.stat().st_mtime_ns == written

    def key(**changes) -> str:
        values = {"recipe": nano_lake.recipe(), "latents": nano_lake.latents, "base_revision": nano_lake.revision, **changes}
        return prepare_training(nano_lake.lake, nano_lake.profile, dataset_version="v1", device="cpu", **values).key

    others = {
        key(recipe=nano_lake.recipe(seed=1)),
        key(latents=dataclasses.replace(nano_lake.latents, data_version="other")),
        key(base_revision="other"),
    }
    assert len(others | {job.key}) == 4
    assert key(recipe=nano_lake.recipe(checkpoint_minutes=1.0)) == job.key


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset_version": "v9"}, "build the dataset first"),
        ({"precision": "bfloat16"}, "use float32 or auto"),
        ({"precision": "int4"}, "use float32 or bfloat16"),
    ],
)
def test_a_job_that_cannot_work_is_not_prepared(nano_lake: NanoLake, changes, says):
    values = {"dataset_version": "v1", "precision": "auto", "device": "cpu", "base_revision": nano_lake.revision, **changes}
    with pytest.raises(UserError, match=says):
        prepare_training(nano_lake.lake, nano_lake.profile, nano_lake.recipe(), latents=nano_lake.latents, **values)


def test_a_terminal_gets_a_bar_that_is_drawn_in_place(nano_lake: NanoLake, tmp_path):
    job = nano_lake.job(nano_lake.recipe(steps=2), tmp_path / "lake")
    ours, theirs = os.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, *job.command[1:]], cwd=ROOT, env=environment, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the last end of a terminal that closes is an error
        while chunk := os.read(ours, 4096):
            shown += chunk
    os.close(ours)
    assert process.wait() == 0
    assert b"\r\x1b[K[........................] step 0/2" in shown
    assert b"\r\x1b[K[########################] step 2/2, loss " in shown


def test_latents_of_another_base_model_are_refused(nano_lake: NanoLake, tmp_path):
    job = nano_lake.job(nano_lake.recipe(), tmp_path / "lake")
    other = tmp_path / "lake" / "latents" / "0000-of-another-model"
    shutil.copytree(nano_lake.latents.path.parent, other)
    values = json.loads(job.config_path.read_text())
    Path(job.config_path).write_text(json.dumps({**values, "latents": str(other / nano_lake.latents.path.name)}))
    with pytest.raises(UserError, match="encoded under fingerprint 0000-of-another-model and this base model's is .*; encode the latents with this profile"):
        train_inline(job)


def test_another_base_model_than_prepared_for_is_refused(nano_lake: NanoLake, tmp_path):
    job = nano_lake.job(nano_lake.recipe(), tmp_path / "lake")
    values = json.loads(job.config_path.read_text())
    Path(job.config_path).write_text(json.dumps({**values, "base_revision": "0" * 40}))
    with pytest.raises(UserError, match="prepare the training again"):
        train_inline(job)
