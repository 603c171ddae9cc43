"""Training seen from outside: prepare a job, find its result. Light: torch is imported only where training happens."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, read_manifest, require_manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.recipes import Recipe, recipe_hash
from cosmos_ops.store.notes import write_note
from cosmos_ops.training.config import PRECISIONS, TrainingConfig, config_to_json, read_config

CODE_VERSION = "3"
STAGE = "adapter"


@dataclass(frozen=True)
class TrainingJob:
    """A prepared training: run `command`, and the adapter is in `output`."""

    key: str
    config_path: Path
    output: Path
    command: tuple[str, ...]


def prepare_training(
    lake: Lake,
    profile: Profile,
    recipe: Recipe,
    dataset_version: str,
    latents: Manifest,
    base_revision: str,
    device: str,
    precision: str = "auto",
    threads: int | None = None,
    gpu_memory_gb: float | None = None,
) -> TrainingJob:
    """Write the job's config beside its adapter folder, if it is not there already.

    `precision` is `float32`, `bfloat16` or `auto` (float32 on a CPU, else the profile's dtype). The key covers dataset, latents, recipe, base weights and
    precision, not the memory plan: the same job again has the same key and its finished adapter is found. Raises `UserError` for a setting that cannot work.
    """
    require_manifest(lake.dataset(dataset_version), f"dataset version {dataset_version}", "build the dataset first")
    precision = resolve_precision(profile, device, precision)
    model = dataclasses.replace(profile.base_model, dtype=precision)
    max_clips = profile.training.max_train_clips
    key = digest([dataset_version, latents.data_version, recipe_hash(recipe), model.family, base_revision, precision, profile.clip, max_clips, CODE_VERSION])
    config = TrainingConfig(
        key=key,
        lake=str(lake.root.absolute()),
        output=str(lake.adapter(key).absolute()),
        cache=str(lake.models().absolute()),
        dataset_version=dataset_version,
        latents=str(latents.path.absolute()),
        latents_version=latents.data_version,
        base_model=model,
        base_revision=base_revision,
        clip=profile.clip,
        recipe=recipe,
        device=device,
        precision=precision,
        max_train_clips=max_clips,
        threads=threads,
        dollars_per_kwh=profile.training.dollars_per_kwh,
        gpu_memory_gb=gpu_memory_gb,
    )
    output = lake.adapter(key)
    path = output.parent / f"{key}.training.json"
    if not path.is_file() or read_config(path) != config:
        write_note(path, config_to_json(config))
    return TrainingJob(key, path, output, (sys.executable, "-m", "cosmos_ops.training", "--config", str(path.absolute())))


def finished_adapter(lake: Lake, key: str) -> Manifest | None:
    """The manifest of a finished adapter, None while there is none."""
    manifest = read_manifest(lake.adapter(key))
    return manifest if manifest is not None and manifest.key == key else None


def resolve_precision(profile: Profile, device: str, precision: str = "auto") -> str:
    """`float32` or `bfloat16` for a device. Raises `UserError` for a mix that cannot work."""
    on_cpu = device == "cpu"
    if precision == "auto":
        precision = "float32" if on_cpu else profile.base_model.dtype
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r} cannot be trained in; use {' or '.join(PRECISIONS)}, or auto")
    if on_cpu and precision != "float32":
        raise UserError(f"a CPU computes in float32 and precision {precision!r} was asked for; use float32 or auto")
    return precision


def train_inline(job: TrainingJob) -> Manifest:
    """Train in this process, without progress or signals. Raises what `work.train_adapter` raises."""
    from cosmos_ops.training.work import train_adapter

    return train_adapter(read_config(job.config_path), lambda report: None, lambda: False)
