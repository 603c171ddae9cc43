"""Adapters: they start as the identity, and what is saved gives the same outputs wherever it is loaded."""

import dataclasses
import json
import shutil

import peft
import pytest
import torch

from cosmos_ops.errors import UserError
from cosmos_ops.training.adapters import (
    CONFIG,
    WEIGHTS,
    adapter_off,
    adapter_state,
    attach_adapter,
    compute_in_half,
    load_adapter,
    remove_adapter,
    save_adapter,
)
from tests.training.tiny_world import TinyWorld, a_velocity, tiny_recipe

LORA = tiny_recipe()
SCALED = dataclasses.replace(LORA, alpha=12)
DORA = dataclasses.replace(LORA, method="dora")
DORA_SCALED = dataclasses.replace(DORA, alpha=2)


def trained(recipe) -> TinyWorld:
    """A model with an adapter that is not the identity any more."""
    model = TinyWorld()
    parameters = attach_adapter(model.denoiser, recipe, model.lora_targets)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("recipe", [LORA, SCALED, DORA], ids=["lora", "scaled", "dora"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_fresh_adapter_is_float32_and_changes_nothing(recipe, dtype):
    model = TinyWorld(dtype)
    before = a_velocity(model)
    parameters = attach_adapter(model.denoiser, recipe, model.lora_targets)
    assert {parameter.dtype for parameter in parameters.values()} == {torch.float32}
    assert model.denoiser.blocks[0]["to_q"].base_layer.weight.dtype == dtype
    # Two blocks and the output layer, each with A and B (and a magnitude).
    assert len(parameters) == 5 * (3 if recipe.method == "dora" else 2)
    torch.testing.assert_close(a_velocity(model), before, rtol=1e-5 if dtype == torch.float32 else 0.02, atol=1e-5 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize("recipe", [LORA, DORA], ids=["lora", "dora"])
def test_taking_half_precision_input_as_it_is_changes_no_bit(recipe):
    """PEFT makes a float32 copy of an adapter's input, which autocast takes back to bfloat16: the same numbers, one large tensor more."""
    answers, inputs = [], []
    for ours in (False, True):
        model = TinyWorld(torch.bfloat16)
        parameters = attach_adapter(model.denoiser, recipe, model.lora_targets)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in parameters.values():
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        if ours:
            compute_in_half(model.denoiser)
        model.denoiser.blocks[1]["to_q"].lora_A["default"].register_forward_pre_hook(lambda module, args: inputs.append(args[0].dtype))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answers.append(a_velocity(model))
    assert torch.equal(*answers)
    assert inputs == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("recipe", [LORA, SCALED, DORA, DORA_SCALED], ids=["lora", "lora alpha 12", "dora", "dora alpha 2"])
def test_outputs_survive_saving_and_loading(tmp_path, recipe):
    model = trained(recipe)
    version = save_adapter(model.denoiser, tmp_path, "tiny", "tiny-1")
    other = TinyWorld()
    assert not torch.allclose(a_velocity(other), a_velocity(model), atol=1e-2)
    load_adapter(other.denoiser, tmp_path)
    assert torch.equal(a_velocity(other), a_velocity(model))
    assert not any(parameter.requires_grad for parameter in other.denoiser.parameters())
    again = tmp_path / "again"
    assert save_adapter(other.denoiser, again, "tiny", "tiny-1") == version
    settings = json.loads((tmp_path / CONFIG).read_text())
    assert (settings["r"], settings["lora_alpha"], settings["use_dora"]) == (4, recipe.alpha, recipe.method == "dora")
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("tiny", "tiny-1")


@pytest.mark.parametrize("recipe", [SCALED, DORA_SCALED], ids=["lora", "dora"])
def test_the_folder_is_a_peft_adapter(tmp_path, recipe):
    model = trained(recipe)
    save_adapter(model.denoiser, tmp_path, "tiny", "tiny-1")
    other = TinyWorld()
    wrapped = peft.PeftModel.from_pretrained(other.denoiser, tmp_path)
    other.denoiser = wrapped
    torch.testing.assert_close(a_velocity(other), a_velocity(model))


def test_removing_and_switching_off_give_the_base_model_back():
    base = a_velocity(TinyWorld())
    model = trained(DORA)
    with adapter_off(model.denoiser):
        assert torch.equal(a_velocity(model), base)
    assert not torch.equal(a_velocity(model), base)
    remove_adapter(model.denoiser)
    assert torch.equal(a_velocity(model), base)
    assert not hasattr(model.denoiser, "peft_config")
    attach_adapter(model.denoiser, LORA, model.lora_targets)


def test_the_same_seed_gives_the_same_start():
    def start(seed):
        model = TinyWorld()
        attach_adapter(model.denoiser, dataclasses.replace(LORA, seed=seed), model.lora_targets)
        return adapter_state(model.denoiser)["outward.lora_A.weight"]

    before = torch.get_rng_state()
    first = start(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, start(1)) and not torch.equal(first, start(2))


def test_a_target_that_is_not_there_is_refused():
    model = TinyWorld()
    with pytest.raises(UserError, match="target 'to_z' names no linear layer of the base model; linear layers end in ff, inward, outward, text, to_q"):
        attach_adapter(model.denoiser, LORA, ("to_q", "to_z"))


def test_a_rank_larger_than_the_layer_is_refused():
    model = TinyWorld()
    with pytest.raises(UserError, match=r"rank 5 is larger than layer outward \(4\); use rank: 4 or less"):
        attach_adapter(model.denoiser, dataclasses.replace(LORA, rank=5), model.lora_targets)


def test_rslora_scales_by_the_root_of_the_rank_wherever_it_is_loaded(tmp_path):
    model = trained(dataclasses.replace(LORA, alpha=6, rslora=True))
    assert model.denoiser.outward.scaling["default"] == 6 / 4**0.5
    save_adapter(model.denoiser, tmp_path, "tiny", "tiny-1")
    other = TinyWorld()
    other.denoiser = peft.PeftModel.from_pretrained(other.denoiser, tmp_path)
    torch.testing.assert_close(a_velocity(other), a_velocity(model))


@pytest.mark.parametrize("damage", ["missing weights", "truncated weights", "no json", "wrong model", "not peft"])
def test_a_folder_that_does_not_fit_is_refused(tmp_path, damage):
    folder = tmp_path / "adapter"
    save_adapter(trained(LORA).denoiser, folder, "tiny", "tiny-1")
    model = TinyWorld()
    before = a_velocity(model)
    if damage == "missing weights":
        (folder / WEIGHTS).unlink()
    elif damage == "truncated weights":
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    elif damage == "no json":
        (folder / CONFIG).write_text("{")
    elif damage == "not peft":
        (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 0, "target_modules": ["to_q"]}))
    else:
        model.denoiser.blocks[0]["to_q"] = torch.nn.Linear(32, 48)
        with pytest.raises(UserError, match="does not fit this base model"):
            load_adapter(model.denoiser, folder)
        return
    with pytest.raises(UserError, match=str(folder)):
        load_adapter(model.denoiser, folder)
    assert torch.equal(a_velocity(model), before)


def test_a_model_carries_one_adapter(tmp_path):
    model = trained(LORA)
    save_adapter(model.denoiser, tmp_path, "tiny", "tiny-1")
    shutil.copytree(tmp_path, tmp_path / "copy", ignore=lambda *_: {"copy"})
    with pytest.raises(UserError, match="has an adapter already"):
        load_adapter(model.denoiser, tmp_path / "copy")
