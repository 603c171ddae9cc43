"""Registered versions of adapters: made once an adapter, and found again by alias, number, run, key or folder."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake, Manifest, brought_file, read_manifest
from cosmos_ops.postgres import without_password
from cosmos_ops.profiles import Profile
from cosmos_ops.registry import names
from cosmos_ops.registry.adapter_model import adapter_model
from cosmos_ops.registry.tracking import Tracking

PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Adapter:
    """An adapter as MLflow knows it. `name` and `version` are None for a run that was never registered."""

    run_id: str
    tags: dict[str, str]
    name: str | None = None
    version: int | None = None
    aliases: tuple[str, ...] = field(default=())

    def holder(self) -> dict:
        """What is shown of a champion: `name`, `version`, `recipe`, `run_id`, `experiment_id`."""
        return {
            "name": self.name,
            "version": self.version,
            "recipe": self.tags.get(names.RECIPE),
            "run_id": self.run_id,
            "experiment_id": self.tags.get(names.EXPERIMENT, ""),
        }


def register_adapter(lake: Lake, tracking: Tracking, profile: Profile, adapter: Manifest) -> int:
    """The registered version of a recorded adapter, made where there is none. It carries the run's lineage tags.

    Raises `UserError` where the adapter has no run.
    """
    model = names.model_name(profile, lake)
    run = tracking.adapter_run(lake, profile, adapter)
    if run is None:
        raise UserError(f"adapter {adapter.key} has no MLflow run; record it first (materialize its `adapter` asset)")
    with tracking.exclusive(model) as client:
        _ensure_model(client, model, profile)
        found = client.search_model_versions(f"name = '{model}' and run_id = '{run.info.run_id}'")
        if found:
            return min(int(version.version) for version in found)
        tags = {key: value for key, value in run.data.tags.items() if key.startswith("cosmos.") or key == names.DAGSTER_RUN}
        for own in (names.KIND, names.EVALUATION_SET, names.RECORDED, names.DECISION):
            tags.pop(own, None)
        tags[names.EXPERIMENT] = run.info.experiment_id
        stored = adapter_model(client, run.info.run_id)
        if stored is None:
            raise UserError(f"MLflow run {run.info.run_id} does not hold adapter {adapter.key}; record it again (materialize its `adapter` asset)")
        description = f"{tags[names.RECIPE]} on dataset {tags[names.DATASET_VERSION]}"
        made = client.create_model_version(model, stored.artifact_location, run.info.run_id, tags=tags, description=description, model_id=stored.model_id)
        return int(made.version)


def by_alias(client: MlflowClient, model: str, alias: str) -> Adapter | None:
    """The version an alias points at, or None."""
    return by_number(client, model, version) if (version := aliases_of(client, model).get(alias)) else None


def by_number(client: MlflowClient, model: str, version: int) -> Adapter | None:
    """A version by its number, or None."""
    try:
        return _adapter(client, client.get_model_version(model, str(version)))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def aliases_of(client: MlflowClient, model: str) -> dict[str, int]:
    """Alias -> version number; empty for a model that is not registered."""
    try:
        return {alias: int(version) for alias, version in client.get_registered_model(model).aliases.items()}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def resolve(lake: Lake, tracking: Tracking, profile: Profile, ref: str) -> Adapter:
    """The adapter that `ref` names: an alias, a version number, an MLflow run id, an adapter key or an adapter's folder.

    Raises `UserError` where it names nothing.
    """
    model = names.model_name(profile, lake)
    client = tracking.client
    if is_version_number(ref):
        found = by_number(client, model, int(ref))
        if found is None:
            raise UserError(f"{model} has no version {ref}; {_there_are(client, model)}")
        return found
    if (found := by_alias(client, model, ref)) is not None:
        return found
    if ref in (names.CHAMPION, names.CHALLENGER):
        raise UserError(f"{model} has no {ref}; {_there_are(client, model)}")
    if re.fullmatch(r"[0-9a-f]{32}", ref) and (run := _run(client, ref)) is not None:
        return _of_run(client, model, run)
    folder = adapter_path(lake, ref)
    manifest = read_manifest(folder) if folder else None
    if manifest is None:
        raise UserError(f"{ref!r} is no adapter; give champion, challenger, a version number, an MLflow run id, or an adapter's key or folder in this lake")
    run = tracking.adapter_run(lake, profile, manifest)
    if run is None:
        raise UserError(f"adapter {manifest.key} ({folder}) has no MLflow run at {without_password(tracking.tracking_uri)}; materialize its `adapter` asset")
    return _of_run(client, model, run)


def is_version_number(ref: str) -> bool:
    """True for `12`; False for hashes, which may happen to be digits only."""
    return ref.isdecimal() and len(ref) < 10


def adapter_path(lake: Lake, ref: str) -> Path | None:
    """The folder with PEFT files that a path or an adapter key names, or None."""
    places = [Path(ref)] + ([lake.adapter(ref)] if re.fullmatch(r"[0-9a-f]+", ref) else [])
    return next((place for place in places if all(brought_file(place / file).is_file() for file in PEFT_FILES)), None)


def _ensure_model(client: MlflowClient, model: str, profile: Profile) -> None:
    try:
        client.create_registered_model(model, description=f"Adapters of {profile.base_model.source} under profile {profile.name}")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _of_run(client: MlflowClient, model: str, run: Run) -> Adapter:
    found = client.search_model_versions(f"name = '{model}' and run_id = '{run.info.run_id}'")
    if found:
        return _adapter(client, min(found, key=lambda version: int(version.version)))
    if names.ADAPTER_KEY not in run.data.tags:
        raise UserError(f"MLflow run {run.info.run_id} ({run.info.run_name}) is not an adapter's; give the run of an adapter")
    return Adapter(run.info.run_id, dict(run.data.tags))


def _run(client: MlflowClient, run_id: str) -> Run | None:
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _adapter(client: MlflowClient, found: ModelVersion) -> Adapter:
    # Searches leave a version's own list of aliases empty.
    aliases = sorted(alias for alias, version in aliases_of(client, found.name).items() if version == int(found.version))
    return Adapter(found.run_id, dict(found.tags), found.name, int(found.version), tuple(aliases))


def _there_are(client: MlflowClient, model: str) -> str:
    numbers = sorted(int(version.version) for version in client.search_model_versions(f"name = '{model}'"))
    if not numbers:
        return "nothing is registered yet, run `cosmos-ops run` first"
    return f"there are versions {', '.join(map(str, numbers))}"
