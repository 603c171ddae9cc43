"""Two real processes, started by torchrun: they train what one trains, save, end on SIGTERM and go on."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from cosmos_ops.base_models.latent_store import DROPPED, LATENTS_SCHEMA, TEXT_SCHEMA, save_tensors, text_sha256
from cosmos_ops.lake import Lake, Output, build_folder
from cosmos_ops.profiles import BaseModelSpec, ClipGeometry, load_profile
from cosmos_ops.training.checkpoint import FOLDER
from cosmos_ops.training.journal import read_log
from cosmos_ops.training.run import TrainingJob, finished_adapter, prepare_training, train_inline
from tests.training.tiny_world import MemoryLatents, tiny_recipe

ROOT = Path(__file__).parents[2]
STEPS = 150


def tiny_job(root: Path, **settings) -> TrainingJob:
    """A job on the tiny world's latents, in a lake of its own."""
    lake, latents = Lake(root), MemoryLatents()
    base = BaseModelSpec(family="tiny", source="tiny", dtype="float32")
    profile = dataclasses.replace(load_profile("nano"), base_model=base, clip=ClipGeometry(9, 32, 48, 8.0))
    samples = latents.samples()
    rows = [
        {"clip_id": sample.clip_id, "caption": sample.caption, "split": split}
        for split, chosen in (("train", samples.train), ("validation", samples.validation))
        for sample in chosen
    ]

    def write_dataset(folder: Path) -> Output:
        pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
        return Output("v1", len(rows))

    store = lake.latents("tiny")
    clips = save_tensors(store, "shard", latents.clips, torch.float32)
    texts = {text_sha256(caption): text for caption, text in latents.texts.items()} | {DROPPED: latents.dropped_text()}
    stored = {name: save_tensors(store, f"text/{name}", {"text": tensor}, torch.float32) for name, tensor in texts.items()}

    def write_latents(folder: Path) -> Output:
        clip_rows = [{"clip_id": clip_id, "file": clips.file, "sha256": clips.sha256} for clip_id in latents.clips]
        text_rows = [{"text_sha256": name, "file": file.file, "sha256": file.sha256} for name, file in stored.items()]
        pq.write_table(pa.Table.from_pylist(clip_rows, LATENTS_SCHEMA), folder / "latents.parquet")
        pq.write_table(pa.Table.from_pylist(text_rows, TEXT_SCHEMA), folder / "text.parquet")
        return Output("v1", len(clip_rows))

    build_folder(lake.dataset("v1"), "dataset", "v1", write_dataset)
    manifest = build_folder(store / "v1", "latents", "v1", write_latents)
    recipe = tiny_recipe(**settings)
    return prepare_training(lake, profile, recipe, "v1", manifest, "tiny-1", "cpu", threads=1)


@pytest.fixture
def torchrun():
    """Starts two processes of the program on a job; what is left of them when the test ends is killed."""
    running = []

    def start(job: TrainingJob) -> subprocess.Popen:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.training.two_processes"]
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
def test_two_processes_train_stop_and_go_on_as_one_would(tmp_path, torchrun):
    settings = {"steps": STEPS, "validate_every": 100, "checkpoint_minutes": 0.0}
    # One process that accumulates two batches sees the same samples with the same noise in the same updates.
    alone = tiny_job(tmp_path / "alone", gradient_accumulation=2, **settings)
    train_inline(alone)
    wanted = finished_adapter(Lake(tmp_path / "alone"), alone.key)

    job = tiny_job(tmp_path / "together", **settings)
    first = torchrun(job)
    while not any(row["step"] >= 3 for row in read_log(job.output)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            first.wait(0.02)
            raise AssertionError(first.communicate()[1])
    first.send_signal(signal.SIGTERM)
    messages = first.communicate(timeout=120)[1]
    assert first.returncode != 0
    assert "saved; the same command continues" in messages
    assert finished_adapter(Lake(tmp_path / "together"), job.key) is None
    assert (job.output / FOLDER / "state.safetensors").is_file()
    stopped_at = max(row["step"] for row in read_log(job.output))
    assert 3 <= stopped_at < STEPS

    second = torchrun(job)
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
