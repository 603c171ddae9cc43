"""Lineage backwards: from an adapter to the data, the base model, the code and the runs that made it."""

import json
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from cosmos_ops.lake import Lake, read_manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.registry import names
from cosmos_ops.registry.adapter_model import stored_files
from cosmos_ops.registry.connection import talking_to
from cosmos_ops.registry.dataset_facts import read_dataset_facts
from cosmos_ops.registry.history import moved_outside
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.versions import PEFT_FILES, Adapter, resolve
from cosmos_ops.shards.exclusions import read_forgotten


def lineage_of(lake: Lake, tracking: Tracking, profile: Profile, ref: str, recipes: list[str] | None = None) -> dict[str, Any]:
    """Everything behind an adapter: `ref` is an alias, a version, an MLflow run id, an adapter key or an adapter's folder.

    `alias`, `name` and `version` are None for an adapter that was never registered, `evaluation_set` and `scores` for one that was
    never decided on. `forgotten` maps those of its episodes that are to be forgotten to reasons. `notes` says what is not as it was left:
    files that are gone, an alias moved by hand, a recipe that is not among `recipes` (today's names) any more. Raises `UserError` where
    `ref` names nothing or the lake lacks the adapter's dataset.
    """
    with talking_to(tracking.tracking_uri):
        found = resolve(lake, tracking, profile, ref)
        notes = _notes(lake, tracking.client, found, recipes)
    tags = found.tags
    data = read_dataset_facts(lake, tags[names.DATASET_VERSION])
    forgotten = read_forgotten(lake)
    return {
        "alias": ref if ref in found.aliases else next(iter(found.aliases), None),
        "name": found.name,
        "version": found.version,
        "run_id": found.run_id,
        "dagster_run_id": tags[names.DAGSTER_RUN],
        "base_model": tags[names.BASE_MODEL],
        "base_revision": tags[names.BASE_REVISION],
        "base_licence": tags[names.BASE_LICENCE],
        "recipe": tags[names.RECIPE],
        "recipe_hash": tags[names.RECIPE_HASH],
        "adapter_key": tags[names.ADAPTER_KEY],
        "code_version": tags[names.CODE_VERSION],
        "git_commit": tags[names.GIT_COMMIT],
        "dataset_version": data.version,
        "evaluation_set": tags.get(names.EVALUATION_SET),
        "drops": list(data.drops),
        "data_licences": data.data_licences,
        "episodes": {split: list(ids) for split, ids in data.episodes.items()},
        "captioner": data.captioner,
        "scores": json.loads(tags.get(names.SCORES, "null")),
        "gate": {"verdict": tags.get(names.GATE), "reason": tags.get(names.GATE_REASON)},
        "forgotten": {episode: forgotten[episode] for ids in data.episodes.values() for episode in ids if episode in forgotten},
        "notes": notes,
    }


def _notes(lake: Lake, client: MlflowClient, found: Adapter, recipes: list[str] | None) -> list[str]:
    notes = []
    key, recipe = found.tags[names.ADAPTER_KEY], found.tags[names.RECIPE]
    manifest = read_manifest(lake.adapter(key))
    in_lake = manifest is not None and manifest.data_version == found.tags[names.ADAPTER_VERSION]
    kept = _artifacts(client, found.run_id)
    if not set(PEFT_FILES) <= kept:
        notes.append(
            f"MLflow run {found.run_id} no longer holds the adapter's files; "
            + ("the lake does" if in_lake else f"the lake does not either: `cosmos-ops reproduce {found.run_id}` makes them again")
        )
    elif not in_lake:
        notes.append("the lake does not hold this adapter's files; they are fetched from MLflow when they are needed")
    if found.name and (told := moved_outside(client, found.name)):
        notes.append(told)
    if recipes is not None and recipe not in recipes:
        notes.append(f"recipe {recipe} is not in the repository any more; its settings are in the MLflow run and in the adapter's recipe.json")
    return notes


def _artifacts(client: MlflowClient, run_id: str) -> set[str]:
    try:
        return stored_files(client, run_id)
    except (MlflowException, OSError):
        return set()
