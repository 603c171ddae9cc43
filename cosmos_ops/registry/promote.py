"""Champion and challenger: promotion, rollback, and the files behind an alias."""

import shutil
import uuid
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import file_sha256
from cosmos_ops.heads import Heads
from cosmos_ops.lake import MANIFEST, Lake, locked, read_manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.registry import names
from cosmos_ops.registry.adapter_model import download
from cosmos_ops.registry.connection import talking_to
from cosmos_ops.registry.history import move_champion, new_entry, read_history, reigns, settle, version_exists
from cosmos_ops.registry.retraining import CHAMPION_DATASET
from cosmos_ops.registry.run_content import kept_files
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.versions import Adapter, adapter_path, by_alias, is_version_number, resolve
from cosmos_ops.store.folders import send_folder
from cosmos_ops.store.place import located


def champion(tracking: Tracking, profile: Profile, lake: Lake) -> dict[str, Any] | None:
    """Today's champion {`name`, `version`, `recipe`, `run_id`, `experiment_id`}, or None."""
    with talking_to(tracking.tracking_uri):
        found = by_alias(tracking.client, names.model_name(profile, lake), names.CHAMPION)
    return found.holder() if found else None


def promote(lake: Lake, tracking: Tracking, profile: Profile, version: str | int, force: bool = False, reason: str = "") -> dict[str, Any]:
    """Make a registered version (number or `challenger`) the champion; the champion already: nothing happens.

    Raises `UserError` for a version that is not there, or that the gate refused or never saw unless `force`.
    """
    model = names.model_name(profile, lake)
    with talking_to(tracking.tracking_uri):
        chosen = resolve(lake, tracking, profile, str(version))
    if chosen.version is None:
        raise UserError(f"run {chosen.run_id} is not registered; give a version number of {model}")
    gate = chosen.tags.get(names.GATE)
    if gate != "passed" and not force:
        why = f"did not pass the gate ({chosen.tags.get(names.GATE_REASON)})" if gate else "was never put to the gate"
        raise UserError(f"{model} version {chosen.version} {why}; add --force --reason TEXT to promote it all the same")
    with tracking.exclusive(model) as client:
        settle(client, model)
        if _holder(client, model) != chosen.version:
            action = "promote" if gate == "passed" else "force"
            move_champion(client, model, new_entry(chosen.version, action, reason or "promoted by command"))
        return announce(lake, profile, client, model)


def rollback(lake: Lake, tracking: Tracking, profile: Profile, reason: str = "") -> dict[str, Any]:
    """Give the champion alias back to the champion before the present one; again, to the one before that.

    A rollback that was interrupted is finished instead. Raises `UserError` where there was none before.
    """
    model = names.model_name(profile, lake)
    with tracking.exclusive(model) as client:
        present = by_alias(client, model, names.CHAMPION)
        if present is None:
            raise UserError(f"{model} has no champion, so nothing to roll back; `cosmos-ops run` decides on one")
        open_move = settle(client, model)
        if open_move is None or open_move["action"] != "rollback":
            holder = _holder(client, model)
            earlier = [version for version in reigns(read_history(client, model))[:-1] if version not in (None, holder)]
            earlier = [version for version in earlier if version_exists(client, model, version)]
            if not earlier:
                raise UserError(f"{model} version {holder} is the first champion; there is none before it to go back to")
            move_champion(client, model, new_entry(earlier[-1], "rollback", reason or f"rolled back from version {holder}"))
        return announce(lake, profile, client, model)


def announce(lake: Lake, profile: Profile, client: MlflowClient, model: str) -> dict[str, Any] | None:
    """Say who is champion now: nobody's challenger, and known in the lake by its dataset version (retraining asks for it)."""
    found = by_alias(client, model, names.CHAMPION)
    if found and names.CHALLENGER in found.aliases:
        client.delete_registered_model_alias(model, names.CHALLENGER)
    Heads(lake, profile.name).update({CHAMPION_DATASET: found.tags.get(names.DATASET_VERSION) if found else None})
    return found.holder() if found else None


def adapter_folder(lake: Lake, tracking: Tracking, profile: Profile, ref: str) -> Path:
    """Folder with the PEFT files of `champion`, `challenger`, a version, an MLflow run, an adapter key or a path.

    What the lake lacks is downloaded into it from MLflow and verified against its manifest. Raises `UserError` for a reference
    that names no adapter, `WorkFailed` where MLflow's copy is damaged.
    """
    if not is_version_number(ref) and (path := adapter_path(lake, ref)) is not None:
        return path
    with talking_to(tracking.tracking_uri):
        found = resolve(lake, tracking, profile, ref)
        folder = lake.adapter(found.tags[names.ADAPTER_KEY])
        with locked(folder):
            manifest = read_manifest(folder)
            if manifest is None:
                _download(tracking.client, found, folder)
            elif manifest.data_version != found.tags[names.ADAPTER_VERSION]:
                raise UserError(f"{folder} was trained again and is not what {ref} is in MLflow; move that folder away to have the registered one downloaded")
            else:
                manifest.whole()
    return folder


def _download(client: MlflowClient, found: Adapter, folder: Path) -> None:
    work = folder.parent / f".{folder.name}.tmp-{uuid.uuid4().hex[:8]}"
    work.mkdir(parents=True)
    try:
        gone = f"MLflow run {found.run_id} holds no files of adapter {found.tags[names.ADAPTER_KEY]} any more, and neither does the lake"
        try:
            made = download(client, found.run_id, work / "model")
        except (MlflowException, OSError) as error:
            told = " ".join(str(error).split())[:200]
            raise WorkFailed(f"{gone} ({told}); `cosmos-ops reproduce {found.run_id}` makes them again") from None
        if made is None or not made.is_dir() or not any(made.iterdir()):
            raise WorkFailed(f"{gone}; `cosmos-ops reproduce {found.run_id}` makes them again")
        manifest = read_manifest(made)
        damaged = ["manifest.json"] if manifest is None else [name for name, sha256 in kept_files(manifest).items() if not _is_whole(made, name, sha256)]
        if damaged:
            raise WorkFailed(f"MLflow's copy of adapter {found.tags[names.ADAPTER_KEY]} (run {found.run_id}) is damaged: {', '.join(damaged)}; train again")
        for extra in sorted(path for path in made.rglob("*") if path.is_file()):
            if str(extra.relative_to(made)) not in {*manifest.files, MANIFEST}:
                extra.unlink()  # what makes the folder a model in MLflow is no part of the adapter
        made.rename(folder)
        if (place := located(folder)) is not None:
            send_folder(place, folder)
    finally:
        shutil.rmtree(work)


def _is_whole(folder: Path, name: str, sha256: str) -> bool:
    path = (folder / name).resolve()
    return path.is_relative_to(folder.resolve()) and path.is_file() and file_sha256(path) == sha256


def _holder(client: MlflowClient, model: str) -> int | None:
    found = by_alias(client, model, names.CHAMPION)
    return found.version if found else None
