"""Writing a Cosmos pipeline folder around a denoiser that was changed."""

import os
import shutil
from pathlib import Path

import torch
from diffusers import CosmosTransformer3DModel

from cosmos_ops.base_models import cosmos_weights
from cosmos_ops.base_models.base import PARTS
from cosmos_ops.errors import UserError

_KINDS = ("*.safetensors", "*.json", "*.txt", "*.jinja")


def save_pipeline(base: Path, transformer: CosmosTransformer3DModel, dtype: torch.dtype, folder: Path) -> None:
    """Write `transformer`, with its real text projection, in `dtype` and give the base folder's other parts along.

    Weights of the other parts are linked where the file system can, so that tens of gigabytes are not copied. Raises `UserError` where
    the base folder lacks a part.
    """
    for name in (name for part in PARTS for name in cosmos_weights.FOLDERS[part] if name != "transformer"):
        found = sorted(path for kind in _KINDS for path in (base / name).glob(kind))
        if not found:
            raise UserError(f"{base / name} holds no files; a whole pipeline folder is needed to write one")
        (folder / name).mkdir(parents=True)
        for path in found:
            _give_along(path.resolve(), folder / name / path.name)
    _give_along((base / "model_index.json").resolve(), folder / "model_index.json")
    kept = {name: parameter.data for name, parameter in transformer.named_parameters()}
    try:
        for parameter in transformer.parameters():
            parameter.data = parameter.data.to(dtype)
        transformer.save_pretrained(folder / "transformer", safe_serialization=True)
    finally:
        for name, parameter in transformer.named_parameters():
            parameter.data = kept[name]


def _give_along(source: Path, target: Path) -> None:
    if target.suffix == ".safetensors":  # settings are copied: who edits one must not edit the base model's
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another file system, or one without links
    shutil.copyfile(source, target)
