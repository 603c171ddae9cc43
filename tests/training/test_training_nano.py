"""The real nano pipeline: a whole job, its manifest, and the adapter in the hands of diffusers."""

import dataclasses
import json
import shutil

import pytest
import torch
import yaml
from PIL import Image

from cosmos_ops.base_models import load_world_model
from cosmos_ops.base_models.cosmos import load_pipeline
from cosmos_ops.base_models.latent_store import LatentStore
from cosmos_ops.errors import UserError
from cosmos_ops.evaluation.single import generate_one
from cosmos_ops.training.adapters import check_base, load_adapter, save_adapter, weights_hash
from cosmos_ops.training.export import export_for_diffusers
from cosmos_ops.training.objective import draw
from cosmos_ops.training.run import finished_adapter, train_inline
from tests.training.conftest import CAPTIONS, NanoLake


def denoise(nano_lake: NanoLake, model) -> torch.Tensor:
    """The model's velocity for two clips of the lake."""
    latents = LatentStore(nano_lake.lake, nano_lake.latents)
    clean = torch.stack([latents.clip("clip0"), latents.clip("clip1")])
    text = torch.stack([latents.text(caption) for caption in CAPTIONS])
    drawn = draw(nano_lake.recipe(), [0, 1], clean.shape[1:])
    with torch.no_grad():
        return model.velocity(drawn.noise, drawn.sigma, text, clean, drawn.conditioning_frames)


def nano(nano_lake: NanoLake):
    return load_world_model(nano_lake.profile.base_model, nano_lake.lake.models(), "cpu", ("denoiser",))


@pytest.fixture(scope="module", params=["lora-r8", "dora-r8"])
def job(request, nano_lake: NanoLake):
    """Trained with an alpha that is not the rank, quickly enough to move the outputs."""
    recipe = nano_lake.recipe(request.param, alpha=16, steps=20, learning_rate=1e-2, gradient_checkpointing=request.param == "dora-r8")
    made = nano_lake.job(recipe)
    train_inline(made)
    return made


def test_the_folder_says_what_it_is(nano_lake: NanoLake, job):
    manifest = finished_adapter(nano_lake.lake, job.key)
    assert set(manifest.files) == {"adapter_model.safetensors", "adapter_config.json", "recipe.json", "log.jsonl", "loss.png", "README.md"}
    assert sorted(path.name for path in job.output.iterdir() if not path.name.startswith(".")) == sorted([*manifest.files, "manifest.json"])
    meta = manifest.meta
    assert (meta["dataset_version"], meta["steps"], meta["train_clips"], meta["validation_clips"]) == ("v1", 20, 6, 1)
    assert meta["base"] == {"family": "cosmos-predict2.5", "source": "builtin:nano", "revision": nano_lake.revision, "licence": "Apache-2.0"}
    assert meta["recipe"] == json.loads((job.output / "recipe.json").read_text())
    assert meta["validation_loss"]["best"] < meta["validation_loss"]["start"]
    assert meta["peak_memory_bytes"]["host"] > 50e6
    assert meta["samples_per_s"] > 0 and meta["seconds"] > 0
    cost = meta["cost"]
    assert cost["gpu_seconds"] == 0 and cost["wall_seconds"] == meta["seconds"] and cost["watts"] == 10, "one thread of a CPU"
    assert cost["energy_kwh"] == pytest.approx(10 * meta["seconds"] / 3.6e6, abs=1e-6)
    assert (job.output / "loss.png").read_bytes().startswith(b"\x89PNG")
    _, head, body = (job.output / "README.md").read_text().split("---\n")
    head = yaml.safe_load(head)
    assert (head["library_name"], head["license"], head["tags"][0]) == ("peft", "apache-2.0", meta["recipe"]["method"])
    assert "rank 8, alpha 16" in body and nano_lake.revision in body and "9 frames, 32 x 48 pixels" in body
    assert meta["memory"]["activation_checkpointing"] == ("full" if meta["recipe"]["gradient_checkpointing"] else "none")


def test_a_finished_job_is_found_and_not_run_again(job):
    before = {path: path.stat().st_mtime_ns for path in job.output.rglob("*")}
    assert train_inline(job).unchanged
    assert {path: path.stat().st_mtime_ns for path in job.output.rglob("*")} == before


def test_the_adapter_changes_the_model_and_its_hash_is_its_version(nano_lake: NanoLake, job, tmp_path):
    model = nano(nano_lake)
    base = denoise(nano_lake, model)
    load_adapter(model.denoiser, job.output)
    adapted = denoise(nano_lake, model)
    assert (adapted - base).norm() > 0.01 * base.norm()
    manifest = finished_adapter(nano_lake.lake, job.key)
    assert save_adapter(model.denoiser, tmp_path, "builtin:nano", nano_lake.revision) == manifest.data_version


def test_diffusers_loads_it_with_scale_and_magnitudes(nano_lake: NanoLake, job, tmp_path):
    ours = nano(nano_lake)
    load_adapter(ours.denoiser, job.output)
    wanted = denoise(nano_lake, ours)

    export_for_diffusers(job.output, tmp_path / "lora.safetensors")
    pipeline = load_pipeline(nano_lake.profile.base_model, nano_lake.lake.models())
    pipeline.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    theirs = nano(nano_lake)
    pipeline.transformer.crossattn_proj = torch.nn.Identity()
    theirs.denoiser = pipeline.transformer
    torch.testing.assert_close(denoise(nano_lake, theirs), wanted)

    direct = nano(nano_lake)
    direct.denoiser.load_lora_adapter(job.output, weight_name="adapter_model.safetensors", prefix="base_model.model")
    torch.testing.assert_close(denoise(nano_lake, direct), wanted)


def test_an_adapter_of_another_base_of_the_same_shape_is_refused(nano_lake: NanoLake, job, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(job.output, folder)
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "revision": "0" * 40}))
    Image.new("RGB", (96, 64)).save(tmp_path / "first.png")
    with pytest.raises(UserError, match="was trained on base revision 0000.*; use the profile it was trained under"):
        generate_one(nano_lake.profile, nano_lake.lake.models(), tmp_path / "first.png", "go", folder, 0, tmp_path / "out.mp4", "cpu")
    check_base(job.output, nano_lake.revision)


def test_weights_are_told_apart_by_value_name_and_shape():
    one = {"a": torch.zeros(2, 3)}
    changed = [{"a": torch.zeros(3, 2)}, {"b": torch.zeros(2, 3)}, {"a": torch.zeros(2, 3, dtype=torch.bfloat16)}, {"a": torch.eye(2, 3)}]
    assert len({weights_hash(tensors) for tensors in [one, *changed]}) == 5
    assert weights_hash(one) == weights_hash({"a": torch.zeros(3, 2).T.contiguous()})


def test_training_on_fewer_clips_is_another_adapter(nano_lake: NanoLake, job):
    training = dataclasses.replace(nano_lake.profile.training, max_train_clips=3)
    fewer = dataclasses.replace(nano_lake, profile=dataclasses.replace(nano_lake.profile, training=training))
    assert fewer.job(nano_lake.recipe()).key != nano_lake.job(nano_lake.recipe()).key
