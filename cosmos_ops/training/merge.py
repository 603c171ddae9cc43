"""Base model and adapter as one set of plain weights: the same outputs, nothing of PEFT left."""

from pathlib import Path

import torch

from cosmos_ops.base_models import WorldModel, load_world_model
from cosmos_ops.errors import UserError
from cosmos_ops.lake import Manifest, Output, build_folder
from cosmos_ops.profiles import BaseModelSpec
from cosmos_ops.training.adapters import WEIGHTS, adapted_layers, check_base, load_adapter, read_tensors, remove_adapter, weights_hash

STAGE = "merged_model"


def merge_model(spec: BaseModelSpec, cache: Path, adapter: Path, output: Path) -> Manifest:
    """Write a whole model folder at `output`, which `base_model.source` can name, with the adapter folded into its denoiser.

    Folded in float32 and written in the type of the base's own weights. An `output` that holds this very model is left as it is.
    Raises `UserError` for an adapter of another base, and for an `output` that holds something else.
    """
    model = load_world_model(spec, cache, "cpu", ("denoiser",))
    version = adapter_version(adapter, model)
    key = f"{model.revision}-{version}"
    if output.exists() and (not output.is_dir() or any(output.iterdir())) and not _is_ours(output):
        raise UserError(f"{output} is there and no merged model; name a folder that does not exist yet")

    def write(folder: Path) -> Output:
        load_adapter(model.denoiser, adapter)
        layers = fold_adapter(model.denoiser)
        model.save(folder)
        return Output(key, layers, {"base_source": spec.source, "base_revision": model.revision, "base_licence": spec.licence, "adapter_version": version})

    return build_folder(output, STAGE, key, write)


def adapter_version(adapter: Path, model: WorldModel) -> str:
    """Hash of an adapter's weights. Raises `UserError` when it says that it was trained on another base model."""
    check_base(adapter, model.revision)
    return weights_hash(read_tensors(adapter / WEIGHTS))


@torch.no_grad()
def fold_adapter(denoiser: torch.nn.Module) -> int:
    """Put W + s B A (LoRA) or m / n (W + s B A) (DoRA) in the place of each adapted W and take the adapter off; returns how many there were."""
    layers = list(adapted_layers(denoiser))
    for name, layer in layers:
        layer.merge(safe_merge=True)
        if not torch.isfinite(layer.get_base_layer().weight).all():
            raise UserError(f"merging makes {name} infinite or NaN; the adapter's weights are damaged")
    remove_adapter(denoiser)
    return len(layers)


def _is_ours(folder: Path) -> bool:
    from cosmos_ops.lake import read_manifest

    manifest = read_manifest(folder)
    return manifest is not None and manifest.stage == STAGE
