"""Where weights come from, what they hash to, and what is said when they are not there."""

import json
import shutil
from dataclasses import replace

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from cosmos_ops.base_models import identify_world_model, load_world_model
from cosmos_ops.base_models.cosmos_weights import snapshot
from cosmos_ops.base_models.guardrail import guardrail
from cosmos_ops.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(nano_folder, tmp_path):
    return shutil.copytree(nano_folder, tmp_path / "model")


@pytest.fixture
def offline_hub(tmp_path, monkeypatch):
    """The Hub library without a network and with a cache of its own."""
    hub = tmp_path / "hub"
    hub.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    snapshot.cache_clear()
    yield hub
    snapshot.cache_clear()


def change(path, name):
    tensors = load_file(path)
    tensors[name] = tensors[name] + 1
    save_file(tensors, path)


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_fingerprint_follows_vae_text_and_projection_only(spec, folder, cache):
    spec = replace(spec, source=str(folder))
    first = identify_world_model(spec, cache)
    assert identify_world_model(spec, cache) == first
    change(folder / TRANSFORMER, "proj_out.weight")
    other_denoiser = identify_world_model(spec, cache)
    assert other_denoiser.revision != first.revision
    assert other_denoiser.fingerprint == first.fingerprint
    change(folder / TRANSFORMER, "crossattn_proj.0.bias")
    other_projection = identify_world_model(spec, cache)
    change(folder / "vae/diffusion_pytorch_model.safetensors", "quant_conv.bias")
    other_vae = identify_world_model(spec, cache)
    assert len({first.fingerprint, other_projection.fingerprint, other_vae.fingerprint}) == 3


def test_a_hub_revision_becomes_its_commit(spec, nano_folder, cache, offline_hub):
    repository = offline_hub / "models--acme--world"
    shutil.copytree(nano_folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "post-trained").write_text(COMMIT)
    spec = replace(spec, source="acme/world", revision="post-trained")
    assert identify_world_model(spec, cache).revision == COMMIT
    model = load_world_model(spec, cache, "cpu", parts=("vae",))
    assert model.revision == COMMIT
    assert model.encode_video(torch.zeros(1, 1, 16, 16, 3, dtype=torch.uint8)).shape == (1, 16, 1, 2, 2)


def test_hub_weights_that_cannot_be_had(spec, cache, offline_hub):
    with pytest.raises(UserError) as error:
        load_world_model(replace(spec, source="acme/absent", revision="main"), cache, "cpu")
    assert "acme/absent at revision main" in one_line(error)
    assert "local folder" in one_line(error)


def test_a_source_that_is_neither_folder_nor_hub_id(spec, cache, tmp_path):
    with pytest.raises(UserError) as error:
        load_world_model(replace(spec, source=str(tmp_path / "nowhere")), cache, "cpu")
    assert "no folder that exists and no Hub id" in one_line(error)


def test_pickled_weights_are_not_loaded(spec, folder, cache):
    weights = folder / "vae/diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(UserError) as error:
        load_world_model(replace(spec, source=str(folder)), cache, "cpu", parts=("vae",))
    assert "no weights (*.safetensors)" in one_line(error)


def test_weights_that_are_not_all_there(spec, folder, cache):
    tensors = load_file(folder / TRANSFORMER)
    del tensors["transformer_blocks.3.attn1.to_q.weight"]
    save_file(tensors, folder / TRANSFORMER)
    with pytest.raises(UserError) as error:
        load_world_model(replace(spec, source=str(folder)), cache, "cpu", parts=("denoiser",))
    assert "transformer_blocks.3.attn1.to_q.weight" in one_line(error)


def test_damaged_weights(spec, folder, cache):
    (folder / TRANSFORMER).write_bytes(b"not safetensors")
    with pytest.raises(UserError) as error:
        load_world_model(replace(spec, source=str(folder)), cache, "cpu", parts=("denoiser",))
    assert "not readable as safetensors" in one_line(error)


def test_a_split_transformer_is_read_by_its_index(spec, folder, cache):
    before = identify_world_model(replace(spec, source=str(folder)), cache).fingerprint
    tensors = load_file(folder / TRANSFORMER)
    (folder / TRANSFORMER).unlink()
    halves = {"a": {k: v for k, v in tensors.items() if "crossattn" in k}, "b": {k: v for k, v in tensors.items() if "crossattn" not in k}}
    names = {half: f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i, half in enumerate(halves, 1)}
    for half, content in halves.items():
        save_file(content, folder / "transformer" / names[half])
    index = {"metadata": {"total_size": 0}, "weight_map": {key: names[half] for half, content in halves.items() for key in content}}
    (folder / "transformer/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    model = load_world_model(replace(spec, source=str(folder)), cache, "cpu", parts=("denoiser",))
    assert model.fingerprint == before


def test_unknown_family_device_and_dtype(spec, cache):
    with pytest.raises(UserError, match="family 'wan' is unknown; known are cosmos-predict2.5"):
        load_world_model(replace(spec, family="wan"), cache, "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA device"):
            load_world_model(spec, cache, "cuda")
    with pytest.raises(UserError, match="dtype 'int4' is unknown"):
        load_world_model(replace(spec, dtype="int4"), cache, "cpu")


def test_guardrail_policies():
    off = guardrail("off")
    assert off.policy == "off"
    assert off.to("cpu") is off
    assert off.check_text_safety("anything") is True
    frames = torch.zeros(2, 4, 4, 3).numpy()
    assert off.check_video_safety(frames) is frames
    with pytest.raises(UserError, match="cosmos-guardrail"):
        guardrail("nvidia")
    with pytest.raises(UserError, match="unknown; known are off, nvidia"):
        guardrail("strict")
