"""A lake with a dataset and its latents, made by the real nano model, and jobs prepared on it."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cosmos_ops.base_models import load_world_model
from cosmos_ops.base_models.base import identify_world_model
from cosmos_ops.base_models.latent_store import DROPPED, LATENTS_SCHEMA, TEXT_SCHEMA, save_tensors, text_sha256
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder
from cosmos_ops.profiles import ClipGeometry, Profile, load_profile
from cosmos_ops.recipes import Recipe, resolve_recipe
from cosmos_ops.training.run import TrainingJob, prepare_training

ROOT = Path(__file__).parents[2]
CLIP = ClipGeometry(frames=9, height=32, width=48, max_fps=8.0)
CAPTIONS = ("Pick up the red block.", "Open the drawer.")


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread):
    """For all of these tests."""


@dataclass(frozen=True)
class NanoLake:
    """Seven small clips, six of them to train on, encoded by nano."""

    lake: Lake
    profile: Profile
    version: str
    latents: Manifest
    revision: str

    def recipe(self, name: str = "lora-r8", **settings) -> Recipe:
        base = dataclasses.replace(resolve_recipe(name, self.profile), steps=12, batch_size=2, warmup_steps=2, validate_every=5)
        return dataclasses.replace(base, **settings)

    def job(self, recipe: Recipe, root: Path | None = None) -> TrainingJob:
        """Prepared in this lake, or in an empty copy of it at `root` so that two tests can train the same thing.

        On one thread: equal bits need an equal number, and small matrices are no faster on two.
        """
        lake = self.lake
        if root is not None:
            lake = Lake(root)
            for name in ("datasets", "models"):
                root.mkdir(parents=True, exist_ok=True)
                (root / name).symlink_to(self.lake.root / name)
        return prepare_training(lake, self.profile, recipe, self.version, self.latents, self.revision, "cpu", threads=1)


@pytest.fixture(scope="session")
def nano_lake(tmp_path_factory) -> NanoLake:
    lake = Lake(tmp_path_factory.mktemp("nano-lake"))
    profile = dataclasses.replace(load_profile("nano"), clip=CLIP)
    model = load_world_model(profile.base_model, lake.models(), "cpu", ("vae", "text"))
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (7, CLIP.frames, CLIP.height // 8, CLIP.width // 8, 3), generator=generator, dtype=torch.uint8)
    frames = frames.repeat_interleave(8, 2).repeat_interleave(8, 3)
    rows = [{"clip_id": f"clip{number}", "caption": CAPTIONS[number % 2], "split": "validation" if number == 3 else "train"} for number in range(7)]

    def write_dataset(folder: Path) -> Output:
        pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
        return Output(digest(rows), len(rows))

    store = lake.latents(f"{model.fingerprint}-small")
    clips = save_tensors(store, "shard", {row["clip_id"]: model.encode_video(frames[number : number + 1])[0] for number, row in enumerate(rows)}, torch.float32)
    texts = {text_sha256(caption): model.encode_text([caption])[0] for caption in CAPTIONS} | {DROPPED: model.dropped_text()[0]}
    stored = {name: save_tensors(store, f"text/{name}", {"text": tensor}, torch.float32) for name, tensor in texts.items()}

    def write_latents(folder: Path) -> Output:
        clip_rows = [{"clip_id": row["clip_id"], "file": clips.file, "sha256": clips.sha256} for row in rows]
        text_rows = [{"text_sha256": name, "file": file.file, "sha256": file.sha256} for name, file in stored.items()]
        pq.write_table(pa.Table.from_pylist(clip_rows, LATENTS_SCHEMA), folder / "latents.parquet")
        pq.write_table(pa.Table.from_pylist(text_rows, TEXT_SCHEMA), folder / "text.parquet")
        return Output(digest([clip_rows, text_rows]), len(clip_rows))

    build_folder(lake.dataset("v1"), "dataset", "v1", write_dataset)
    latents = build_folder(store / "v1", "latents", "v1", write_latents)
    return NanoLake(lake, profile, "v1", latents, identify_world_model(profile.base_model, lake.models()).revision)


@pytest.fixture
def start_program() -> Callable[[TrainingJob], subprocess.Popen]:
    """Starts the training program as a shell would; what is left of it when the test ends is killed."""
    running = []

    def start(job: TrainingJob) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, *job.command[1:]], cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()
