"""Making an adapter again from what is written down about it, and saying whether it came out the same."""

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import MANIFEST, Lake, Manifest, read_manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.recipes import Recipe
from cosmos_ops.registry import names
from cosmos_ops.registry.adapter_model import download
from cosmos_ops.registry.connection import talking_to
from cosmos_ops.registry.dataset_check import check_dataset
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.versions import Adapter, resolve
from cosmos_ops.settings import build
from cosmos_ops.store.notes import brought
from cosmos_ops.training.config import TrainingConfig, read_config
from cosmos_ops.training.run import prepare_training


def reproduce(lake: Lake, tracking: Tracking, profile: Profile, ref: str, progress: Progress = silent) -> dict[str, Any]:
    """Check the dataset version of an adapter's run shard by shard, train its recipe on it again and compare.

    The new adapter goes to `reproductions/<key>`; the one it is compared with, the registry and the current versions stay as they are.
    A call that was stopped is continued by the next. `equal` tells whether the weights have the recorded hash, as they must on a CPU with
    the same libraries (`differences` names those that differ). Where they have not, the new adapter's videos are generated and scored, and
    `scores` holds, for each metric, the recorded interval and whether the new mean is `within` it. Raises `WorkFailed` that names a missing
    or damaged shard, `UserError` where the run's settings are lost or need another profile.
    """
    with talking_to(tracking.tracking_uri):
        found = resolve(lake, tracking, profile, ref)
    key, version, expected = found.tags[names.ADAPTER_KEY], found.tags[names.DATASET_VERSION], found.tags[names.ADAPTER_VERSION]
    shards = check_dataset(lake, version, progress)
    first = _first_manifest(lake, tracking, found)
    config, latents = _config(lake, profile, found, first, progress)
    output = (lake.root / "reproductions" / key).absolute()
    here = {"latents": str(latents.path.absolute()), "latents_version": latents.data_version, "output": str(output)}
    made = _train(replace(config, **here), progress)
    equal = made.data_version == expected
    return {
        "run_id": found.run_id,
        "adapter_key": key,
        "recipe": found.tags[names.RECIPE],
        "dataset_version": version,
        "shards": shards,
        "latents_equal": latents.data_version == config.latents_version,
        "expected": expected,
        "made": made.data_version,
        "equal": equal,
        "path": str(made.path),
        "unchanged": made.unchanged,
        "differences": _differences(first, made),
        "scores": None if equal else _scores(lake, profile, found, made, latents, config.device, progress),
    }


def _first_manifest(lake: Lake, tracking: Tracking, found: Adapter) -> Manifest | None:
    """Manifest of the adapter that is made again: the lake's, or MLflow's copy; None where both are gone."""
    mine = read_manifest(lake.adapter(found.tags[names.ADAPTER_KEY]))
    if mine is not None and mine.data_version == found.tags[names.ADAPTER_VERSION]:
        return mine
    with tempfile.TemporaryDirectory() as folder:
        try:
            copy = download(tracking.client, found.run_id, Path(folder), MANIFEST)
            return read_manifest(copy.parent) if copy else None
        except (MlflowException, OSError):
            return None


def _config(lake: Lake, profile: Profile, found: Adapter, first: Manifest | None, progress: Progress) -> tuple[TrainingConfig, Manifest]:
    """The job as it was prepared, on latents that are there now; encoded again where they are not."""
    import torch

    from cosmos_ops.base_models.latents import encode_latents

    key = found.tags[names.ADAPTER_KEY]
    written = lake.adapter(key).parent / f"{key}.training.json"
    config = read_config(written) if brought(written).is_file() else None
    if config is None and first is None:
        raise UserError(f"how adapter {key} was trained is lost: {written} is gone, and so is {MANIFEST} in MLflow run {found.run_id}; restore either")
    on_gpu = config.device.startswith("cuda") if config else not first.meta["device"].startswith("cpu")
    if on_gpu and not torch.cuda.is_available():
        raise UserError(f"adapter {key} was trained on a GPU and this machine has none; run this on one that has")
    device = config.device if config else "cuda" if on_gpu else "cpu"
    latents = encode_latents(lake, found.tags[names.DATASET_VERSION], profile, device, progress)
    if config is None:
        recipe = build(Recipe, first.meta["recipe"], f"{MANIFEST} of MLflow run {found.run_id}")
        version, revision = found.tags[names.DATASET_VERSION], found.tags[names.BASE_REVISION]
        job = prepare_training(lake, profile, recipe, version, latents, revision, device, first.meta["precision"])
        if job.key != key:
            raise UserError(f"under profile {profile.name} as it is now this training would be {job.key}, not {key}; use the profile it was made with")
        config = read_config(job.config_path)
    threads = re.search(r"\((\d+) threads\)", first.meta["device"]) if first else None
    threads = int(threads[1]) if threads else config.threads  # sums depend on how many threads share them
    return replace(config, threads=threads, lake=str(lake.root.absolute()), cache=str(lake.models().absolute())), latents


def _train(config: TrainingConfig, progress: Progress) -> Manifest:
    from cosmos_ops.training.work import train_adapter

    return train_adapter(config, lambda report: progress(report.step, config.recipe.steps, "training again"), lambda: False)


def _differences(first: Manifest | None, made: Manifest) -> list[str]:
    if first is None:
        return ["what the first training ran on is not known any more"]
    before, now = first.meta, made.meta
    pairs = [(name, before["libraries"].get(name), version) for name, version in now["libraries"].items()]
    pairs += [(name, before.get(name), now.get(name)) for name in ("device", "processes", "code_version")]
    return [f"{name}: {old} then, {new} now" for name, old, new in pairs if old != new]


def _scores(lake: Lake, profile: Profile, found: Adapter, made: Manifest, latents: Manifest, device: str, progress: Progress) -> dict[str, Any] | None:
    """Metric -> recorded `mean`, `low`, `high`, and `made` and `within` of the new adapter; None where the first one was never scored."""
    from cosmos_ops.evaluation.estimates import estimates, read_scores, to_json
    from cosmos_ops.evaluation.generate import generate
    from cosmos_ops.evaluation.score import score

    recorded, evaluation_set = json.loads(found.tags.get(names.SCORES, "null")), found.tags.get(names.EVALUATION_SET)
    if not recorded or evaluation_set is None:
        return None
    videos = generate(lake, profile, evaluation_set, latents, "reproduction", made, device, progress)
    again = {name: to_json(value) for name, value in estimates(read_scores(score(lake, profile, videos, evaluation_set, latents, progress).whole())).items()}
    told = {}
    for metric, entry in recorded.items():
        if entry and entry.get("low") is not None and again.get(metric, {}).get("mean") is not None:
            mean = again[metric]["mean"]
            told[metric] = {"mean": entry["mean"], "low": entry["low"], "high": entry["high"], "made": mean, "within": entry["low"] <= mean <= entry["high"]}
    if not told:
        raise WorkFailed(f"no score of MLflow run {found.run_id} has an interval to compare with; the new adapter is in {made.path}")
    return told
