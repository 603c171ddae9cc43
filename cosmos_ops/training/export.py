"""A saved adapter for other programs: one file that diffusers' `load_lora_weights` reads, or one with the key names of NVIDIA's repository."""

import json
from pathlib import Path

from cosmos_ops.base_models.cosmos_names import PREFIX, nvidia_name
from cosmos_ops.errors import UserError
from cosmos_ops.tensors import write_tensors
from cosmos_ops.training.adapters import HEADER, KEY_PREFIX, WEIGHTS, adapter_settings, read_tensors

FORMATS = ("diffusers", "nvidia")
_PARTS = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")


def export_adapter(folder: Path, path: Path, form: str) -> int:
    """Write the adapter in `folder` to the file `path` in one of `FORMATS`; returns how many tensors it has."""
    assert form in FORMATS, form
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: an exported adapter is one .safetensors file; give it that ending")
    return export_for_diffusers(folder, path) if form == "diffusers" else export_for_nvidia(folder, path)


def export_for_diffusers(folder: Path, path: Path, component: str = "transformer") -> int:
    """The one file that a diffusers pipeline's `load_lora_weights` reads, alpha and DoRA included."""
    tensors = {f"{component}.{name}": tensor for name, tensor in _tensors(folder).items()}
    header = json.dumps({f"{component}.{name}": value for name, value in adapter_settings(folder).items()}, sort_keys=True)
    write_tensors(path, tensors, {"format": "pt", HEADER: header})
    return len(tensors)


def export_for_nvidia(folder: Path, path: Path) -> int:
    """The adapter under the names that a network of NVIDIA's repository has after its `add_lora`.

    What is to be set there (`lora_rank`, `lora_alpha`, `lora_target_modules`, `use_dora`) is in the file's header. Their settings know no rsLoRA: its
    scale is folded into B, and alpha is then the rank. Raises `UserError` for a layer that has no counterpart there.
    """
    settings = adapter_settings(folder)
    rank, alpha = settings["r"], settings["lora_alpha"]
    fold = alpha / rank**0.5 if settings.get("use_rslora") else None
    tensors, targets = {}, set()
    for name, tensor in _tensors(folder).items():
        part = next(part for part in _PARTS if name.endswith(f".{part}"))
        module = nvidia_name(name.removesuffix(f".{part}"))
        targets.add(".".join(module.split(".")[2:]) if module.startswith("blocks.") else module)
        kind = part.removesuffix(".weight")
        if kind == "lora_B" and fold is not None:
            tensor = tensor * fold
        tensors[f"{PREFIX}{module}.{kind}.default.weight"] = tensor.contiguous()
    header = {
        "format": "pt",
        "lora_rank": str(rank),
        "lora_alpha": str(rank if fold is not None else alpha),
        "lora_target_modules": ",".join(sorted(targets)),
        "use_dora": str(bool(settings.get("use_dora"))).lower(),
    }
    write_tensors(path, tensors, header)
    return len(tensors)


def _tensors(folder: Path) -> dict:
    return {name.removeprefix(KEY_PREFIX): tensor for name, tensor in read_tensors(folder / WEIGHTS).items()}
