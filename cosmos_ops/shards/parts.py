"""What a shard writer leaves beside each finished tar so that a killed run knows which tars are whole."""

import json
from pathlib import Path

from cosmos_ops.hashing import file_sha256
from cosmos_ops.lake import write_json


def write_part(folder: Path, shard: str, rows: list[dict]) -> None:
    """Store the index rows of a tar that is whole. Comes after the tar: a kill between the two makes the tar again."""
    write_json(part_path(folder, shard), rows)


def read_part(folder: Path, shard: str) -> list[dict] | None:
    """Index rows of a whole tar; None where the tar or its rows are missing, damaged, or not of one another."""
    try:
        rows = json.loads(part_path(folder, shard).read_text())
        if rows and file_sha256(folder / shard) == rows[0]["shard_sha256"]:
            return rows
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return None


def part_path(folder: Path, shard: str) -> Path:
    """Where the rows of a whole tar lie."""
    return folder / f".{shard}.json"
