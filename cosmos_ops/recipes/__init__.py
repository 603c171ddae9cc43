"""Recipes: how to adapt, one YAML each. The file's stem is the recipe's name; adding a recipe is adding a file.

Light on purpose (YAML only): the asset graph is built from these files.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.profiles import Profile
from cosmos_ops.settings import build, read_yaml

FOLDER = Path(__file__).parent
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FIXED = ("name", "method")
"""What a profile must not override: they are what tells recipes apart."""
_OPERATIONAL = ("checkpoint_minutes", "checkpoints_kept")
"""Settings that cannot change the trained weights, so they are left out of the recipe's hash."""


@dataclass(frozen=True)
class Recipe:
    """A fully resolved recipe. One step is one optimizer update."""

    name: str
    method: str
    """`lora` or `dora`."""
    rank: int
    steps: int
    """Optimizer updates."""
    alpha: int | None = None
    """The adapter is scaled by alpha / rank; None means alpha = rank."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead, so that a higher rank does not learn more slowly."""
    dropout: float = 0.0
    """Dropout on the adapter's input; LoRA only."""
    targets: tuple[str, ...] | None = None
    """Names of the linear layers that get an adapter; None takes the base model's own list."""
    batch_size: int = 1
    """Samples a process handles at once."""
    gradient_accumulation: int = 1
    """Batches an update is averaged over."""
    learning_rate: float = 2**-14.5
    """Multiplied by the schedule, whose highest value is `f_max`."""
    weight_decay: float = 0.001
    warmup_steps: int = 1000
    """The multiplier rises linearly to `f_max` over this many updates."""
    decay_steps: int = 100_000
    """The update, counted from the first, at which the linear decay reaches `f_min`."""
    f_max: float = 0.5
    f_min: float = 0.2
    clip_norm: float = 1.0
    """Largest L2 norm of the gradient."""
    text_dropout: float = 0.2
    """Probability that a sample is trained with the dropped-text embedding instead of its caption."""
    conditioning_probabilities: dict[int, float] = field(default_factory=lambda: {1: 0.5, 2: 0.5})
    """Number of clean latent frames -> probability."""
    shift: float = 5.0
    """Noise-level shift of the rectified flow."""
    seed: int = 0
    validate_every: int = 250
    """Updates between two validations; there is one before the first update and one after the last as well."""
    validation_clips: int = 8
    """At most this many clips of the validation split are used, chosen by hash."""
    patience: int | None = None
    """Stop after this many validations in a row without a better loss; None never stops early."""
    checkpoint_minutes: float = 10.0
    """Longest time between two checkpoints; 0 writes one after every update."""
    checkpoints_kept: int = 2
    """The newest so many stay: where one is damaged, training goes on from the one before."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass on any device: less memory, about a third more time. On a GPU the memory plan does so where it must."""
    ema_decay: float | None = None
    """Validate and keep an exponential moving average of the adapter's weights, like 0.999; None keeps the weights themselves."""
    spike_factor: float | None = 50.0
    """An update whose gradient norm is more than this many times the median of the last hundred is skipped; None skips none."""


def recipe_files(extra: Path | None = None) -> dict[str, Path]:
    """Recipe name -> YAML file, sorted by name: the built-in ones and those in the `extra` folder.

    Raises `UserError` for a file name that is no recipe name or is taken twice.
    """
    files: dict[str, Path] = {}
    for folder in (FOLDER, extra):
        for path in sorted(folder.glob("*.y*ml")) if folder is not None else ():
            if path.stem in files:
                raise UserError(f"{path}: there is already a recipe {path.stem!r} ({files[path.stem]}); rename the file")
            _check_name(path)
            files[path.stem] = path
    return dict(sorted(files.items()))


def recipe_names(extra: Path | None = None) -> list[str]:
    """Names of the recipes there are, sorted."""
    return list(recipe_files(extra))


def resolve_recipe(name_or_path: str | Path, profile: Profile, extra: Path | None = None) -> Recipe:
    """The recipe under a profile: its YAML, then the profile's overrides, then checked as a whole.

    Raises `UserError` that names the file, the setting and what to write instead.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        files = recipe_files(extra)
        if str(name_or_path) not in files:
            raise UserError(f"recipe {str(name_or_path)!r} does not exist; there are {', '.join(files)}, or give a .yaml path")
        path = files[str(name_or_path)]
    _check_name(path)
    values = read_yaml(path)
    if "name" in values:
        raise UserError(f"{path}: 'name' is not a setting, the file's name is the recipe's name; remove it")
    where = str(path)
    overrides = profile.training.overrides
    if overrides:
        where = f"{path} under profile {profile.name} (training.overrides)"
        _check_overrides(overrides, where)
    recipe = build(Recipe, {"name": path.stem, **values, **overrides}, where)
    recipe = dataclasses.replace(recipe, alpha=recipe.rank if recipe.alpha is None else recipe.alpha)
    check_recipe(recipe, where)
    return recipe


def recipe_hash(recipe: Recipe) -> str:
    """Hash of everything in the recipe that can change the trained weights."""
    return digest({name: value for name, value in recipe_to_json(recipe).items() if name not in _OPERATIONAL}, 16)


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON takes it: integer keys as strings (`settings.build` reads them back)."""
    probabilities = {str(frames): value for frames, value in sorted(recipe.conditioning_probabilities.items())}
    return {**dataclasses.asdict(recipe), "conditioning_probabilities": probabilities}


def check_recipe(recipe: Recipe, where: str) -> None:
    """Raise `UserError` for the first setting that is out of range or does not go with another."""
    probabilities = recipe.conditioning_probabilities
    total = sum(probabilities.values())
    endless = [name for name, value in recipe_to_json(recipe).items() if isinstance(value, float) and not math.isfinite(value)]
    checks = (
        (not endless, f"{', '.join(endless)} is no finite number"),
        (recipe.method in ("lora", "dora"), f"method is {recipe.method!r}; use lora or dora"),
        (recipe.rank >= 1, f"rank is {recipe.rank}; use 1 or more, 8 is a good start"),
        (
            recipe.alpha is None or recipe.alpha >= 1,
            f"alpha is {recipe.alpha}, so the adapter would do nothing; use alpha: {recipe.rank} (the rank) or leave it out",
        ),
        (0 <= recipe.dropout < 1, f"dropout is {recipe.dropout}; use 0 up to, not including, 1"),
        (
            recipe.method != "dora" or recipe.dropout == 0,
            f"dropout {recipe.dropout} with method dora would drop the frozen weights' output too and compute it twice; use dropout: 0 or method: lora",
        ),
        (recipe.targets is None or len(recipe.targets) > 0, "targets is empty; name layers or leave it out"),
        (recipe.steps >= 1, f"steps is {recipe.steps}; use 1 or more"),
        (recipe.batch_size >= 1, f"batch_size is {recipe.batch_size}; use 1 or more"),
        (recipe.gradient_accumulation >= 1, f"gradient_accumulation is {recipe.gradient_accumulation}; use 1 (none) or more"),
        (recipe.learning_rate > 0, f"learning_rate is {recipe.learning_rate}; use more than 0"),
        (recipe.weight_decay >= 0, f"weight_decay is {recipe.weight_decay}; use 0 or more"),
        (recipe.warmup_steps >= 0, f"warmup_steps is {recipe.warmup_steps}; use 0 (none) or more"),
        (
            recipe.decay_steps > recipe.warmup_steps,
            f"decay_steps {recipe.decay_steps} is not after warmup_steps {recipe.warmup_steps}; it counts from the first update, use a larger one",
        ),
        (0 < recipe.f_min <= recipe.f_max, f"f_min {recipe.f_min} and f_max {recipe.f_max}: f_min must be above 0 and at most f_max"),
        (recipe.clip_norm > 0, f"clip_norm is {recipe.clip_norm}; use more than 0, 1.0 is usual"),
        (0 <= recipe.text_dropout < 1, f"text_dropout is {recipe.text_dropout}; use 0 up to, not including, 1"),
        (
            len(probabilities) > 0 and all(frames >= 1 for frames in probabilities) and all(value >= 0 for value in probabilities.values()),
            "conditioning_probabilities must map 1 or more clean latent frames to probabilities, like {1: 0.5, 2: 0.5}",
        ),
        (abs(total - 1) < 1e-6, f"conditioning_probabilities add up to {total:g}; make it 1"),
        (recipe.shift > 0, f"shift is {recipe.shift}; use more than 0, 5 is usual"),
        (0 <= recipe.seed < 2**32, f"seed is {recipe.seed}; use 0 up to 2**32 - 1"),
        (recipe.validate_every >= 1, f"validate_every is {recipe.validate_every}; use 1 or more"),
        (recipe.validation_clips >= 1, f"validation_clips is {recipe.validation_clips}; use 1 or more"),
        (recipe.patience is None or recipe.patience >= 1, f"patience is {recipe.patience}; use 1 or more, or leave it out"),
        (
            recipe.ema_decay is None or 0 < recipe.ema_decay < 1,
            f"ema_decay is {recipe.ema_decay}; use a value between 0 and 1 like 0.999, or leave it out",
        ),
        (recipe.spike_factor is None or recipe.spike_factor > 1, f"spike_factor is {recipe.spike_factor}; use more than 1, 50 is usual, or null for none"),
        (recipe.checkpoint_minutes >= 0, f"checkpoint_minutes is {recipe.checkpoint_minutes}; use 0 (every update) or more"),
        (recipe.checkpoints_kept >= 1, f"checkpoints_kept is {recipe.checkpoints_kept}; use 1 or more, 2 is usual"),
    )
    for fine, message in checks:
        if not fine:
            raise UserError(f"{where}: {message}")


def _check_overrides(overrides: Mapping[str, object], where: str) -> None:
    for name in _FIXED:
        if name in overrides:
            raise UserError(f"{where}: {name!r} cannot be overridden, every recipe would become the same; write a recipe of its own")
    if "rank" in overrides and "alpha" not in overrides:
        raise UserError(f"{where}: rank is overridden and alpha is not, which changes the adapter's scale; override alpha too")


def _check_name(path: Path) -> None:
    if not _NAME.fullmatch(path.stem):
        raise UserError(f"{path}: {path.stem!r} is no recipe name; use a-z, 0-9 and single dashes, like lora-r16.yaml")
