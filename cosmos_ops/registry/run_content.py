"""What goes into MLflow runs: tags, parameters, curves, files and metrics, read from an adapter's folder and a scoreboard."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cosmos_ops.hashing import canonical_json
from cosmos_ops.lake import MANIFEST, Manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.registry import names
from cosmos_ops.registry.dataset_facts import DatasetFacts
from cosmos_ops.registry.provenance import Provenance

_TAG_CHARACTERS = 5000
"""MLflow's databases hold no more in a tag."""
_NOT_A_CURVE = ("step", "seconds")
_ENVIRONMENT = ("device", "precision", "processes", "libraries")
_SUMMARY = (
    "train_loss",
    "validation_loss",
    "samples_per_s",
    "seconds",
    "cost",
    "steps",
    "kept_step",
    "parameters",
    "train_clips",
    "validation_clips",
    "peak_memory_bytes",
)


def adapter_tags(profile: Profile, adapter: Manifest, facts: DatasetFacts, made_by: Provenance) -> dict[str, str]:
    """Everything that must be findable from an adapter alone."""
    base = adapter.meta["base"]
    return {
        "cosmos.profile": profile.name,
        names.BASE_MODEL: str(base.get("source", profile.base_model.source)),
        names.BASE_REVISION: str(base["revision"]),
        names.BASE_LICENCE: str(base.get("licence", profile.base_model.licence)),
        names.RECIPE: str(adapter.meta["recipe"]["name"]),
        names.RECIPE_HASH: str(adapter.meta["recipe_hash"]),
        names.DATASET_VERSION: facts.version,
        names.DROPS: _fitting(list(facts.drops), facts),
        names.DATA_LICENCES: _fitting(facts.data_licences, facts),
        names.CAPTIONER: facts.captioner,
        names.CODE_VERSION: made_by.code_version,
        names.GIT_COMMIT: made_by.git_commit,
        names.DAGSTER_RUN: made_by.dagster_run_id,
        "mlflow.source.git.commit": made_by.git_commit,
    }


def training_params(adapter: Manifest) -> dict[str, str]:
    """The resolved recipe, and what it ran on, as flat names and texts: `conditioning_probabilities.1` -> `0.5`."""
    setting = {"environment": {name: adapter.meta[name] for name in _ENVIRONMENT if name in adapter.meta}}
    return dict(_flat(adapter.meta["recipe"], "")) | dict(_flat(setting, ""))


def summary_metrics(adapter: Manifest) -> dict[str, float]:
    """Numbers about the training as a whole: `summary/samples_per_s`, `summary/validation_loss.best`, ..."""
    numbers = _flat({name: adapter.meta[name] for name in _SUMMARY if name in adapter.meta}, "", leaf=lambda value: value)
    return {f"summary/{name}": float(value) for name, value in numbers if _is_number(value)}


def curve_points(adapter: Manifest) -> Iterator[tuple[str, float, int]]:
    """(name, value, step) of every finite number in the training log, `log.jsonl`: one object a line, with its `step`."""
    path = adapter.file("log.jsonl")
    if not path.is_file():
        return
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if "step" not in entry:
            continue
        for name, value in entry.items():
            if name not in _NOT_A_CURVE and _is_number(value):
                yield name, float(value), int(entry["step"])


def adapter_files(adapter: Manifest) -> list[tuple[Path, str | None]]:
    """(file, folder within the model or None) of what makes the adapter whole, the manifest last."""
    return [(adapter.file(name), str(Path(name).parent) if "/" in name else None) for name in [*kept_files(adapter), MANIFEST]]


def kept_files(adapter: Manifest) -> dict[str, str]:
    """File name -> SHA-256 of an adapter's files without checkpoints, sorted by name."""
    return {name: sha256 for name, sha256 in sorted(adapter.files.items()) if not _is_checkpoint(Path(name))}


def score_metrics(scoreboard: dict[str, Any], contender: str) -> dict[str, float]:
    """Scores and paired differences of a contender as flat metric names; what was withheld or not measured is left out."""
    flat = {}
    for prefix, key, middle in (("", "scores", "mean"), ("_vs_base", "paired", "diff"), ("_vs_incumbent", "paired_incumbent", "diff")):
        for metric, entry in (scoreboard.get(key, {}).get(contender) or {}).items():
            for suffix, field in (("", middle), ("_low", "low"), ("_high", "high"), ("_n", "n")):
                value = (entry or {}).get(field)
                if _is_number(value):
                    flat[f"eval/{metric}{prefix}{suffix}"] = float(value)
    return flat


def _is_checkpoint(path: Path) -> bool:
    return path.parts[0] == "checkpoints" or any(part.startswith(".") for part in path.parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def _flat(value: Any, name: str, leaf: Callable[[Any], Any] = _text) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key), leaf)
    else:
        yield name, leaf(value)


def _fitting(value: Any, facts: DatasetFacts) -> str:
    text = canonical_json(value)
    return text if len(text) <= _TAG_CHARACTERS else f"{len(facts.drops)} drops, see dataset {facts.version}"
