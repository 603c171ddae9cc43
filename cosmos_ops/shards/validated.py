"""Which drops passed their checks. Kept in the lake beside the tables, so that training never reads a drop whose check failed."""

import json
from typing import Any

from cosmos_ops.lake import Lake, read_manifest
from cosmos_ops.store.notes import read_note, read_pointer, write_note
from cosmos_ops.store.objects import in_parallel
from cosmos_ops.store.place import located

TABLES = ("episodes", "cameras", "clips", "captions", "shards")
"""Checked tables of the data half, in graph order."""

STAGE_OF = {"cameras": "quality"}
"""Table -> the stage that writes it, where the names differ."""


def read_outcomes(lake: Lake, drop: str, fingerprint: str, table: str, data_version: str) -> list[dict[str, Any]] | None:
    """Stored outcomes of a table's check, or None where this version of the table was not checked."""
    path = _path(lake, drop, fingerprint, table)
    try:
        stored = json.loads(read_note(path))
        if stored["data_version"] != data_version and located(path) is not None:
            stored = json.loads(read_pointer(path) or read_note(path))  # of another machine, since it was brought here
    except FileNotFoundError:
        return None
    return stored["outcomes"] if stored["data_version"] == data_version else None


def write_outcomes(lake: Lake, drop: str, fingerprint: str, table: str, data_version: str, outcomes: list[dict[str, Any]]) -> None:
    """Store a check's outcomes for one version of a table."""
    write_note(_path(lake, drop, fingerprint, table), {"data_version": data_version, "outcomes": outcomes})


def passed(outcomes: list[dict[str, Any]]) -> bool:
    """True when nothing of severity `error` failed."""
    return all(outcome["success"] or outcome["severity"] != "error" for outcome in outcomes)


def is_validated(lake: Lake, drop: str, fingerprint: str) -> bool:
    """True when every table of the drop was checked in its present version and passed."""
    for table in TABLES:
        stage = STAGE_OF.get(table, table)
        manifest = read_manifest(lake.drop_stage(drop, stage, None if stage == "episodes" else fingerprint))
        outcomes = manifest and read_outcomes(lake, drop, fingerprint, table, manifest.data_version)
        if outcomes is None or not passed(outcomes):
            return False
    return True


def validated_drops(lake: Lake, fingerprint: str) -> list[str]:
    """Registered drops whose shards may be trained on, sorted by name."""
    names = lake.drop_names()
    if located(lake.drops) is None:
        return [drop for drop in names if is_validated(lake, drop, fingerprint)]
    # Each look may be a request; on a machine that is new to the lake nearly all are.
    sound = in_parallel(lambda drop: is_validated(lake, drop, fingerprint), names)
    return [drop for drop, validated in zip(names, sound, strict=True) if validated]


def _path(lake: Lake, drop: str, fingerprint: str, table: str):
    return lake.drop(drop) / "checks" / fingerprint / f"{table}.json"
