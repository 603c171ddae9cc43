"""Adapters elsewhere: folded into plain weights, and under the names of NVIDIA's repository. Outputs are compared, not keys."""

import dataclasses
import json

import peft
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from cosmos_ops.base_models import load_world_model
from cosmos_ops.base_models.cosmos_names import PREFIX, nvidia_name
from cosmos_ops.errors import UserError
from cosmos_ops.training.adapters import adapted_layers, attach_adapter, load_adapter, save_adapter
from cosmos_ops.training.export import export_adapter
from cosmos_ops.training.merge import fold_adapter, merge_model
from tests.training.tiny_world import TinyWorld, a_velocity, tiny_recipe

METHODS = {"lora": {"alpha": 12}, "dora": {"method": "dora", "alpha": 3}, "rslora": {"alpha": 6, "rslora": True}}


def moved(model, recipe):
    """The model with an adapter that is not the identity."""
    parameters = attach_adapter(model.denoiser, recipe, model.lora_targets)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    model.denoiser.eval()
    return model


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_folded_in_nothing_of_the_adapter_is_left_but_its_outputs(settings):
    model = moved(TinyWorld(), tiny_recipe(**settings))
    wanted, before = a_velocity(model), a_velocity(TinyWorld())
    assert fold_adapter(model.denoiser) == 5
    assert not list(adapted_layers(model.denoiser)) and not hasattr(model.denoiser, "peft_config")
    assert list(model.denoiser.state_dict()) == list(TinyWorld().denoiser.state_dict())
    torch.testing.assert_close(a_velocity(model), wanted)
    assert not torch.allclose(wanted, before, atol=1e-3)


def nano(nano_lake, **changes):
    spec = dataclasses.replace(nano_lake.profile.base_model, **changes)
    return load_world_model(spec, nano_lake.lake.models(), "cpu", ("denoiser",))


@torch.no_grad()
def answer(model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    noisy, clean = torch.randn(1, 16, 3, 4, 6, generator=generator), torch.randn(1, 16, 3, 4, 6, generator=generator)
    text = torch.randn(1, 8, 128, generator=generator)
    return model.velocity(noisy, torch.tensor([0.6]), text, clean, torch.tensor([1]))


@pytest.fixture(scope="module", params=["lora", "dora"])
def saved(request, nano_lake, tmp_path_factory):
    """A saved adapter of nano and the model that carries it."""
    folder = tmp_path_factory.mktemp(request.param)
    model = moved(nano(nano_lake), nano_lake.recipe(**METHODS[request.param]))
    save_adapter(model.denoiser, folder, "builtin:nano", nano_lake.revision)
    return folder, model


def test_a_merged_model_is_a_base_model_with_the_adapters_outputs(nano_lake, saved, tmp_path):
    folder, model = saved
    base, output = nano_lake.profile.base_model, tmp_path / "merged"
    manifest = merge_model(base, nano_lake.lake.models(), folder, output)
    assert manifest.rows == len(list(adapted_layers(model.denoiser)))
    merged = nano(nano_lake, source=str(output))
    torch.testing.assert_close(answer(merged), answer(model))
    assert (answer(merged) - answer(nano(nano_lake))).abs().max() > 1e-3
    assert merged.revision != nano_lake.revision
    assert merge_model(base, nano_lake.lake.models(), folder, output).unchanged
    with load_world_model(dataclasses.replace(base, source=str(output)), tmp_path, "cpu", ("denoiser",)).original_projection() as transformer:
        weight = load_file(output / "transformer" / "diffusion_pytorch_model.safetensors")["crossattn_proj.0.weight"]
        assert torch.equal(transformer.crossattn_proj[0].weight, weight)


def test_merging_refuses_what_it_would_spoil(nano_lake, saved, tmp_path):
    folder, _ = saved
    base, models = nano_lake.profile.base_model, nano_lake.lake.models()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose")
    with pytest.raises(UserError, match="no merged model; name a folder that does not exist"):
        merge_model(base, models, folder, tmp_path / "mine")
    other = tmp_path / "other"
    other.mkdir()
    settings = json.loads((folder / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**settings, "revision": "0" * 40}))
    (other / "adapter_model.safetensors").write_bytes((folder / "adapter_model.safetensors").read_bytes())
    with pytest.raises(UserError, match="was trained on base revision 0000"):
        merge_model(base, models, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not lose"


class Named(nn.Module):
    """A tree of modules holding the given layers at dotted names, as NVIDIA's network has its own."""

    def __init__(self, layers: dict[str, nn.Linear]):
        super().__init__()
        for name, layer in layers.items():
            parent, parts = self, name.split(".")
            for part in parts[:-1]:
                if part not in parent._modules:
                    parent.add_module(part, nn.Module())
                parent = parent._modules[part]
            parent.add_module(parts[-1], layer)


@pytest.mark.parametrize("form", ["saved", "rslora"])
def test_under_nvidias_names_their_network_gives_the_same_outputs(nano_lake, saved, tmp_path, form):
    folder, model = saved
    if form == "rslora":
        folder, model = tmp_path / "rs", moved(nano(nano_lake), nano_lake.recipe(**METHODS["rslora"]))
        save_adapter(model.denoiser, folder, "builtin:nano", nano_lake.revision)
    path = tmp_path / "nvidia.safetensors"
    count = export_adapter(folder, path, "nvidia")
    ours = dict(adapted_layers(model.denoiser))
    with safe_open(path, framework="pt") as file:
        settings, tensors = file.metadata(), {name.removeprefix("net."): file.get_tensor(name) for name in file.keys()}
    theirs = peft.get_peft_model(  # what `add_lora` of their repository does with the network and these settings
        Named({nvidia_name(name): nn.Linear(layer.in_features, layer.out_features, bias=False) for name, layer in ours.items()}),
        peft.LoraConfig(
            r=int(settings["lora_rank"]),
            lora_alpha=int(settings["lora_alpha"]),
            use_dora=settings["use_dora"] == "true",
            target_modules=settings["lora_target_modules"].split(","),
        ),
    )
    bases = {f"{PREFIX.removeprefix('net.')}{nvidia_name(name)}.base_layer.weight": layer.get_base_layer().weight for name, layer in ours.items()}
    theirs.load_state_dict(tensors | bases, strict=True)
    assert count == len(tensors) and len(ours) == 50
    attention = [f"{kind}_attn.{layer}" for kind in ("self", "cross") for layer in ("q_proj", "k_proj", "v_proj", "output_proj")]
    assert settings["lora_target_modules"].split(",") == sorted([*attention, "mlp.layer1", "mlp.layer2"])
    for name, layer in ours.items():
        x = torch.randn(3, layer.in_features)
        torch.testing.assert_close(theirs.get_submodule(f"base_model.model.{nvidia_name(name)}")(x), layer(x))


def test_a_layer_nvidia_has_no_name_for_is_refused(tmp_path):
    model = moved(TinyWorld(), tiny_recipe())
    save_adapter(model.denoiser, tmp_path, "tiny", "tiny-1")
    with pytest.raises(UserError, match="has no counterpart in NVIDIA's repository"):
        export_adapter(tmp_path, tmp_path / "x.safetensors", "nvidia")
    with pytest.raises(UserError, match="one .safetensors file"):
        export_adapter(tmp_path, tmp_path / "x.bin", "diffusers")
    other = TinyWorld()
    load_adapter(other.denoiser, tmp_path)
    torch.testing.assert_close(a_velocity(other), a_velocity(model))
