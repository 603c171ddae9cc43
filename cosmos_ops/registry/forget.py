"""Forgetting an episode: later dataset versions leave it out, and what used it says so. Nothing that was made is rewritten."""

import json
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import canonical_json
from cosmos_ops.lake import Lake
from cosmos_ops.registry import names
from cosmos_ops.registry.connection import talking_to
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.usage import lineage_of_episode
from cosmos_ops.shards.exclusions import read_forgotten
from cosmos_ops.store.notes import brought, update_pointer, write_note

_TAG_CHARACTERS = 5000


def forget_episode(lake: Lake, tracking: Tracking, episode_id: str, reason: str) -> dict[str, Any]:
    """Note in `forgotten.json` that an episode is to be left out, and mark the adapters that saw it (runs and versions, tag `cosmos.forgotten`).

    Returns what used it, as `lineage_of_episode`, with `reason` and `unchanged` (it was forgotten before: its first reason stays, marks
    that are missing are set). What used it is kept in `forgotten/<episode>.json`, so that the answer outlives a clean-up. Raises
    `UserError` for an unknown episode or an empty reason.
    """
    if not reason.strip():
        raise UserError("an episode is forgotten for a reason, which is recorded: say it with --reason TEXT")
    used = lineage_of_episode(lake, tracking, episode_id)
    path = lake.root / "forgotten.json"
    unchanged = episode_id in read_forgotten(lake)
    # First, so that no dataset version holds the episode from here on, whatever happens to the marks.
    forgotten = update_pointer(path, lambda stored: {episode_id: reason.strip()} | (stored or {}))
    told = used | {"forgotten": forgotten[episode_id], "reason": forgotten[episode_id], "unchanged": unchanged}
    record = lake.root / "forgotten" / f"{episode_id}.json"
    if not brought(record).is_file():
        write_note(record, told | {"time": datetime.now(UTC).isoformat(timespec="seconds")})
    with talking_to(tracking.tracking_uri):
        for adapter in used["adapters"]:
            _mark(tracking.client, adapter, episode_id)
    return told


def _mark(client: MlflowClient, adapter: dict[str, Any], episode_id: str) -> None:
    if adapter["run_id"]:
        tags = client.get_run(adapter["run_id"]).data.tags
        if (text := _with(tags.get(names.FORGOTTEN), episode_id)) is not None:
            client.set_tag(adapter["run_id"], names.FORGOTTEN, text)
    if adapter["name"]:
        tags = client.get_model_version(adapter["name"], str(adapter["version"])).tags
        if (text := _with(tags.get(names.FORGOTTEN), episode_id)) is not None:
            client.set_model_version_tag(adapter["name"], str(adapter["version"]), names.FORGOTTEN, text)


def _with(tag: str | None, episode_id: str) -> str | None:
    """The tag's text with one more episode; None where it is in already. More than fit are told by the lake's forgotten.json."""
    known = json.loads(tag) if tag else []
    if episode_id in known or "…" in known:
        return None
    text = canonical_json([*known, episode_id])
    return text if len(text) <= _TAG_CHARACTERS else canonical_json([*known, "…"])
