"""The drops of a lake with an upstream, in one small object: what a new drop is compared with costs the same after three drops and after thousands."""

import json
from collections.abc import Callable
from typing import Any

from cosmos_ops.lake import Lake
from cosmos_ops.store.notes import read_note, read_pointer, subfolders, update_pointer
from cosmos_ops.store.objects import objects
from cosmos_ops.store.place import located

REGISTRATION = "drop.json"
_CATALOG = "catalog.json"
_FACTS = ("fingerprint", "robot")


def read_catalog(lake: Lake) -> dict[str, dict[str, Any]]:
    """Drop name -> `fingerprint` and `robot`."""
    text = read_pointer(lake.drops / _CATALOG)
    known = json.loads(text) if text is not None else _gathered(lake)
    return {name: facts for name, facts in known.items() if not name.startswith(".") and "/" not in name}


def enter(lake: Lake, name: str, facts: dict[str, Any], check: Callable[[dict[str, dict[str, Any]]], None]) -> None:
    """Add a drop whose registration is upstream; `check` sees the others as they are at that moment and may raise. Nothing without an upstream."""

    if located(lake.drops) is None:
        return

    def change(stored: dict | None) -> dict:
        known = dict(stored if stored is not None else _gathered(lake))
        if name not in known:
            check(known)
        return known | {name: {fact: facts[fact] for fact in _FACTS}}

    update_pointer(lake.drops / _CATALOG, change)


def withdraw(lake: Lake, name: str) -> None:
    """Take back a registration that came to no entry."""
    path = lake.drop(name) / REGISTRATION
    path.unlink(missing_ok=True)
    if (place := located(path)) is not None:
        objects(place).remove([place.name])


def _gathered(lake: Lake) -> dict[str, dict[str, Any]]:
    """The catalog from the registrations, for a lake that was copied to its store: one listing of the drops' names, once."""
    known = {}
    for name in subfolders(lake.drops):
        try:
            stored = json.loads(read_note(lake.drop(name) / REGISTRATION))
        except FileNotFoundError:
            continue
        known[name] = {fact: stored[fact] for fact in _FACTS}
    return known
