"""What a training process is told: one JSON file, nothing from the environment."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.profiles import BaseModelSpec, ClipGeometry
from cosmos_ops.recipes import Recipe, check_recipe, recipe_to_json
from cosmos_ops.settings import build

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainingConfig:
    """One training job. Paths are absolute."""

    key: str
    """Hash of everything that decides the trained weights."""
    lake: str
    output: str
    """Folder of the adapter; its `manifest.json` is written last."""
    cache: str
    """Where builtin base models are made."""
    dataset_version: str
    latents: str
    """Folder whose manifest names the latents."""
    latents_version: str
    """Data version those latents had when the job was prepared."""
    base_model: BaseModelSpec
    base_revision: str
    clip: ClipGeometry
    recipe: Recipe
    device: str
    """`cpu`, `cuda` or `cuda:0`."""
    precision: str
    """Dtype of the frozen weights and of the arithmetic; adapter weights are float32 always."""
    max_train_clips: int | None = None
    """Chosen by hash when there are more; None trains on all."""
    threads: int | None = None
    """CPU threads; None leaves torch's own number."""
    dollars_per_kwh: float = 0.2
    """For the estimate of what the energy costs."""
    gpu_memory_gb: float | None = None
    """Size of GPU that memory is planned for; None takes the device's own. Nothing that is computed depends on it."""


def config_to_json(config: TrainingConfig) -> dict[str, Any]:
    """The mapping that `read_config` reads back."""
    return {**dataclasses.asdict(config), "recipe": recipe_to_json(config.recipe)}


def read_config(path: Path) -> TrainingConfig:
    """Read a job's JSON file. Raises `UserError` with one line on whatever is wrong with it."""
    try:
        values = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); prepare the training again") from None
    config = build(TrainingConfig, values, str(path))
    check_recipe(config.recipe, f"{path}: recipe")
    if config.precision not in PRECISIONS:
        raise UserError(f"{path}: precision is {config.precision!r}; use {' or '.join(PRECISIONS)}")
    return config
