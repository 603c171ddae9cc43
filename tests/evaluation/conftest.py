"""A small lake made once: real shards, a nano model, cached latents, one adapter and everything evaluated from them."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_ops.base_models import identify_world_model, load_world_model
from cosmos_ops.base_models.latents import encode_latents
from cosmos_ops.base_models.nano.build import build_nano
from cosmos_ops.evaluation.generate import generate
from cosmos_ops.evaluation.leaderboard import build_leaderboard
from cosmos_ops.evaluation.score import score
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, write_json
from cosmos_ops.profiles import ClipGeometry, EvaluationSettings, GenerationSettings, Profile, load_profile
from cosmos_ops.recipes import resolve_recipe
from cosmos_ops.training.adapters import attach_adapter, save_adapter
from tests.evaluation.moving import moving_patch
from tests.evaluation.toy_lake import DATASET, EVALUATION, evaluation_row, write_dataset, write_evaluation_set, write_shard

EPISODES, CLIPS_EACH, FPS = 4, 2, 8.0
CLIP = ClipGeometry(frames=9, height=32, width=48, max_fps=FPS)


@dataclass(frozen=True)
class World:
    """What one evaluation needs."""

    lake: Lake
    profile: Profile
    latents: Manifest
    adapter: Manifest

    def generate(self, adapter: Manifest | None = None, version: str = EVALUATION, **more) -> Manifest:
        return generate(self.lake, self.profile, version, self.latents, "adapter" if adapter else "base", adapter, "cpu", **more)

    def score(self, generations: Manifest, version: str = EVALUATION) -> Manifest:
        return score(self.lake, self.profile, generations, version, self.latents)


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread):
    """For all of these tests."""


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    root = tmp_path_factory.mktemp("evaluation")
    build_nano(root / "nano", seed=0)
    nano = load_profile("nano")
    profile = replace(
        nano,
        base_model=replace(nano.base_model, source=str(root / "nano")),
        clip=CLIP,
        generation=GenerationSettings(steps=2, guidance=1.0, batch=3),
        evaluation=EvaluationSettings(metrics=("psnr", "ssim", "latent_frechet", "motion", "tse_sift", "lpips")),
    )
    lake = Lake(root / "lake")
    rows = write_shard(lake, EPISODES, CLIPS_EACH, FPS, draw)
    write_dataset(lake, rows)
    write_evaluation_set(lake, EVALUATION, [evaluation_row(row) for row in rows])
    latents = encode_latents(lake, DATASET, profile, "cpu")
    return World(lake, profile, latents, make_adapter(lake, profile, "lora-r8", seed=1))


@pytest.fixture(scope="session")
def generated(world) -> dict[str, Manifest]:
    return {"base": world.generate(), "lora-r8": world.generate(world.adapter)}


@pytest.fixture(scope="session")
def scored(world, generated) -> dict[str, Manifest]:
    return {name: world.score(manifest) for name, manifest in generated.items()}


@pytest.fixture(scope="session")
def leaderboard(world, generated, scored) -> Manifest:
    """With an incumbent that is the recipe's own adapter."""
    return build_leaderboard(
        world.lake,
        world.profile,
        DATASET,
        EVALUATION,
        scores={**scored, "incumbent": scored["lora-r8"]},
        generations={**generated, "incumbent": generated["lora-r8"]},
        adapters={"lora-r8": world.adapter, "incumbent": world.adapter},
    )


def draw(episode: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """A patch that moves the faster the earlier the episode; no telemetry."""
    step_px = (1.5 - 0.4 * episode, 0.5 + window)
    return moving_patch(CLIP.frames, CLIP.height, CLIP.width, step_px, seed=episode * CLIPS_EACH + window), np.zeros((CLIP.frames, 0), np.float32)


def make_adapter(lake: Lake, profile: Profile, recipe_name: str, seed: int) -> Manifest:
    """A real adapter that changes the model: its B is random instead of zero."""
    recipe = resolve_recipe(recipe_name, profile)
    model = load_world_model(profile.base_model, lake.models(), "cpu", parts=("denoiser",))
    parameters = attach_adapter(model.denoiser, recipe, model.lora_targets)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in parameters.items():
        if ".lora_B." in name:
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
    revision = identify_world_model(profile.base_model, lake.models()).revision
    key = digest([recipe_name, seed])

    def write(folder: Path) -> Output:
        version = save_adapter(model.denoiser, folder, profile.base_model.source, revision)
        losses = [{"step": step, "loss": 1.0 / step + 0.1 * (step % 3)} for step in range(1, 41)]
        validation = [{"step": step, "validation_loss": 1.2 / (step + 1)} for step in (0, 20, 40)]
        (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*losses, *validation]))
        write_json(folder / "recipe.json", {"name": recipe_name})
        return Output(version, 1, {"base": {"revision": revision}, "dataset_version": DATASET, "recipe_hash": key})

    return build_folder(lake.adapter(key), "adapter", key, write)
