"""What a new drop is compared with, of every drop there is: kept in one small file, because a registration lists all of its drop's files.

A cache and nothing more: an entry counts while its registration has the size and time it was made from, and the file may be removed.
"""

import json
from collections.abc import Callable
from dataclasses import astuple, dataclass

from cosmos_ops.lake import Lake, write_json
from cosmos_ops.store.catalog import read_catalog
from cosmos_ops.store.place import located

_CACHE = ".known.json"


@dataclass(frozen=True)
class Known:
    """A registered drop in short."""

    name: str
    fingerprint: str
    robot: str | None
    mtime_ns: int = 0
    size_bytes: int = 0
    """Of its registration."""


def known_drops(lake: Lake, registration: str, load: Callable[[str], Known]) -> list[Known]:
    """Every registered drop by name; `load` is asked for those that are new or whose `registration` file changed."""
    if located(lake.drops) is not None:
        return [Known(name, facts["fingerprint"], facts["robot"]) for name, facts in sorted(read_catalog(lake).items())]
    before, now = _read(lake), []
    for name in lake.drop_names():
        stat = (lake.drop(name) / registration).stat()
        known = before.get(name)
        if known is None or (known.mtime_ns, known.size_bytes) != (stat.st_mtime_ns, stat.st_size):
            found = load(name)
            known = Known(name, found.fingerprint, found.robot, stat.st_mtime_ns, stat.st_size)
        now.append(known)
    return now


def remember(lake: Lake, known: list[Known]) -> None:
    """Keep what `known_drops` found, for the next time; with an upstream the catalog is kept instead."""
    if located(lake.drops) is None:
        write_json(lake.drops / _CACHE, [astuple(drop) for drop in known])


def _read(lake: Lake) -> dict[str, Known]:
    try:
        known = [Known(*entry) for entry in json.loads((lake.drops / _CACHE).read_text())]
    except (OSError, ValueError, TypeError):
        return {}
    return {drop.name: drop for drop in known}
