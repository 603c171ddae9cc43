"""LoRA and DoRA on a denoiser, by PEFT: attach, save, load, remove.

The saved folder is a standard PEFT adapter (`adapter_model.safetensors`, `adapter_config.json`): rank, alpha and DoRA are written, so an
alpha that differs from the rank is not lost. The weights file carries the same settings in its header, where diffusers looks for them:
`denoiser.load_lora_adapter(folder, weight_name=WEIGHTS, prefix="base_model.model")` works as well.
DoRA layers compute with `dora.LowRankDora`: PEFT's parameters and outputs, at less cost.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import write_json
from cosmos_ops.recipes import Recipe
from cosmos_ops.tensors import write_tensors
from cosmos_ops.training import dora
from cosmos_ops.training.objective import derived_seed

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_NAME = "default"
KEY_PREFIX = "base_model.model."
"""PEFT's name for the wrapped model in the keys of a saved adapter."""
HEADER = "lora_adapter_metadata"
"""Where diffusers looks for an adapter's settings in a safetensors header."""


def attach_adapter(denoiser: torch.nn.Module, recipe: Recipe, targets: tuple[str, ...]) -> dict[str, torch.nn.Parameter]:
    """Freeze the denoiser, put a fresh float32 adapter on its layers named `targets` and return the trainable parameters by name.

    The adapter starts as the identity (B = 0; DoRA magnitudes = norms of the frozen weights) and follows from the recipe's seed.
    Raises `UserError` for a target that names no linear layer and for a rank larger than a layer, `WorkFailed` when PEFT left a named layer without an adapter.
    """
    layers = {target: _layers(denoiser, target) for target in targets}
    for target, found in layers.items():
        if not found:
            known = sorted({name.rsplit(".", 1)[-1] for name, module in denoiser.named_modules() if isinstance(module, torch.nn.Linear)})
            raise UserError(f"recipe {recipe.name}: target {target!r} names no linear layer of the base model; linear layers end in {', '.join(known)}")
    for name in (name for found in layers.values() for name in found):
        smallest = min(denoiser.get_submodule(name).weight.shape)
        if recipe.rank > smallest:
            raise UserError(
                f"recipe {recipe.name}: rank {recipe.rank} is larger than layer {name} ({smallest}); use rank: {smallest} or less, or other targets"
            )
    denoiser.requires_grad_(False)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.rank if recipe.alpha is None else recipe.alpha,
        lora_dropout=recipe.dropout,
        use_dora=recipe.method == "dora",
        use_rslora=recipe.rslora,
        target_modules=list(targets),
        init_lora_weights=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed("adapter", recipe.seed))
        _inject(denoiser, config)
    missed = {name for found in layers.values() for name in found} - {name for name, _ in adapted_layers(denoiser)}
    if missed:
        raise WorkFailed(f"recipe {recipe.name}: PEFT put no adapter on {', '.join(sorted(missed))}; leave these layers out of targets")
    for _, layer in adapted_layers(denoiser):
        for magnitude in layer.lora_magnitude_vector.values():
            # PEFT takes the norm in the dtype of the frozen weights; in bfloat16 the adapter would not start as the identity.
            magnitude.weight.data = torch.linalg.norm(layer.get_base_layer().weight.float(), dim=1)
    return {name: parameter for name, parameter in denoiser.named_parameters() if parameter.requires_grad}


def compute_in_half(denoiser: torch.nn.Module) -> None:
    """Let adapters on half-precision weights take their input as it is; for use under autocast, which brings the adapter to the input's type.

    PEFT would make a float32 copy of each input only for autocast to cast it back: 1 GB at the widest layer of the 2B model.
    """
    for _, layer in adapted_layers(denoiser):
        layer.cast_input_dtype_enabled = layer.get_base_layer().weight.dtype == torch.float32


def save_adapter(denoiser: torch.nn.Module, folder: Path, base_source: str, base_revision: str) -> str:
    """Write the attached adapter as a PEFT folder and return the hash of its weights."""
    config = denoiser.peft_config[_NAME].to_dict()
    config = {name: sorted(value) if isinstance(value, (set, frozenset)) else value for name, value in config.items()}
    config |= {"base_model_name_or_path": base_source, "revision": base_revision, "inference_mode": True}
    tensors = {f"{KEY_PREFIX}{name}": tensor for name, tensor in adapter_state(denoiser).items()}
    header = json.dumps({f"{KEY_PREFIX}{name}": value for name, value in config.items()}, sort_keys=True)
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt", HEADER: header})
    write_json(folder / CONFIG, config)
    return weights_hash(tensors)


def load_adapter(denoiser: torch.nn.Module, folder: Path) -> None:
    """Attach a saved adapter, frozen. Raises `UserError` when the folder is no adapter or was made for another model."""
    values = adapter_settings(folder)
    tensors = {name.removeprefix(KEY_PREFIX): tensor for name, tensor in read_tensors(folder / WEIGHTS).items()}
    try:
        config = LoraConfig(**{name: value for name, value in values.items() if name != "runtime_config"})
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder / CONFIG}: not the settings of a LoRA adapter ({error})") from None
    try:
        _inject(denoiser, config)
    except ValueError as error:
        remove_adapter(denoiser)
        raise UserError(f"{folder}: the adapter does not fit this base model ({error}); it was trained on {values.get('base_model_name_or_path')}") from None
    wanted = {name: tuple(tensor.shape) for name, tensor in adapter_state(denoiser).items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != found:
        different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        remove_adapter(denoiser)
        raise UserError(
            f"{folder}: the adapter does not fit this base model ({len(different)} tensors differ, first {different[0]}); "
            f"it was trained on {values.get('base_model_name_or_path')}"
        )
    set_peft_model_state_dict(denoiser, tensors, adapter_name=_NAME)
    for parameter in denoiser.parameters():
        parameter.requires_grad_(False)


def check_base(folder: Path, revision: str) -> None:
    """Raise `UserError` when an adapter says that it was trained on another base model: shapes alone do not tell two of the same size apart."""
    trained_on = adapter_settings(folder).get("revision")
    if trained_on not in (None, "", revision):
        raise UserError(f"{folder} was trained on base revision {trained_on} and this base model is {revision}; use the profile it was trained under")


def remove_adapter(denoiser: torch.nn.Module) -> None:
    """Take the adapter off again; the frozen model is as it was."""
    for name, layer in list(adapted_layers(denoiser)):
        parent, _, child = name.rpartition(".")
        setattr(denoiser.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(denoiser, "peft_config"):
        del denoiser.peft_config
    if hasattr(denoiser, "_hf_peft_config_loaded"):
        denoiser._hf_peft_config_loaded = False


@contextlib.contextmanager
def adapter_off(denoiser: torch.nn.Module) -> Iterator[None]:
    """The base model's own output inside the block."""
    for _, layer in adapted_layers(denoiser):
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for _, layer in adapted_layers(denoiser):
            layer.enable_adapters(True)


def adapter_state(denoiser: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The adapter's tensors under PEFT's names, on the CPU, contiguous."""
    state = get_peft_model_state_dict(denoiser, adapter_name=_NAME, save_embedding_layers=False)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}


def adapter_settings(folder: Path) -> dict:
    """What a saved adapter's `adapter_config.json` says. Raises `UserError` when the folder holds none."""
    return _read_json(folder / CONFIG)


def weights_hash(tensors: dict[str, torch.Tensor]) -> str:
    """Hash of names, shapes, dtypes and bytes of CPU tensors; a file's own bytes may differ in the order of its header."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        sha.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file, as copies. Raises `UserError` for a file that is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as stream:
            return {name: stream.get_tensor(name).clone() for name in stream.keys()}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: no readable weights ({error})") from None


def _inject(denoiser: torch.nn.Module, config: LoraConfig) -> None:
    if hasattr(denoiser, "peft_config"):
        raise UserError("the base model has an adapter already; remove it first (remove_adapter)")
    config.base_model_name_or_path = None  # or PEFT looks for the base model on the Hub
    inject_adapter_in_model(config, denoiser, _NAME)
    if hasattr(denoiser, "_hf_peft_config_loaded"):
        denoiser._hf_peft_config_loaded = True
    for name, parameter in denoiser.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()
    dora.speed_up(denoiser, _NAME)


def adapted_layers(denoiser: torch.nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """Name and module of every layer that carries an adapter."""
    return ((name, module) for name, module in denoiser.named_modules() if isinstance(module, LoraLayer))


def _layers(denoiser: torch.nn.Module, target: str) -> list[str]:
    named = (name for name, module in denoiser.named_modules() if isinstance(module, torch.nn.Linear))
    return [name for name in named if name == target or name.endswith(f".{target}")]


def _read_json(path: Path) -> dict:
    try:
        values = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error}); an adapter is a folder with {CONFIG} and {WEIGHTS}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: not the settings of an adapter")
    return values
