"""Small files beside the finished folders.

A *pointer* changes and is the same for all machines (heads, the catalog of drops, what is forgotten): it is read upstream each time, and changed by
compare-and-swap. A *note* is written once (a registration, an answer of a model, the outcome of a check): it is brought when it is not here.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import file_sha256
from cosmos_ops.lake import atomic_write, locked, write_json, write_text
from cosmos_ops.store.objects import Conflict, objects
from cosmos_ops.store.place import located

_SWAPS = 20
"""Tries to change a pointer that others change at the same moment."""


def read_pointer(path: Path) -> str | None:
    """The text of a pointer as it is now, None where it is not there."""
    place = located(path)
    if place is None:
        try:
            return path.read_text()
        except FileNotFoundError:
            return None
    found = objects(place).read(place.name)
    return found[0].decode() if found else None


def update_pointer(path: Path, change: Callable[[Any | None], Any], unreadable: Any = None) -> Any:
    """Replace a pointer's JSON value by what `change` makes of it (None: it is not there); returns the value that is there then.

    Nothing is written where nothing changes. `change` may be called several times: where another machine wrote meanwhile, it gets the newer value.
    It gets `unreadable` for what is no JSON; without that a `UserError` is raised.
    """
    with locked(path):
        place = located(path)
        if place is None:
            stored = _json(path, read_pointer(path), unreadable)
            if (value := change(stored)) != stored:
                write_json(path, value)
            return value
        store = objects(place)
        for _ in range(_SWAPS):
            found = store.read(place.name)
            stored = _json(path, found[0].decode() if found else None, unreadable)
            value = change(stored)
            if value == stored:
                return value
            with contextlib.suppress(Conflict):
                store.write(place.name, _text(value).encode(), found[1] if found else None)
                return value
        raise WorkFailed(f"{place} is changed by others all the time; run the same command again")


def brought(path: Path) -> Path:
    """The path of a note, which is brought where it is not here; nothing is there where it is not upstream either."""
    place = located(path)
    if place is not None and not path.exists():
        found = objects(place).read(place.name)
        if found is not None:
            with atomic_write(path) as part:
                part.write_bytes(found[0])
    return path


def read_note(path: Path) -> str:
    """Text of a note. Raises `FileNotFoundError` where it was never written."""
    return brought(path).read_text()


def write_note(path: Path, value: Any) -> None:
    """Write a note of JSON here and upstream, there first: what is here is there."""
    place = located(path)
    if place is not None:
        objects(place).write(place.name, _text(value).encode())
    write_json(path, value)


def write_note_once(path: Path, value: Any) -> bool:
    """Write a note of JSON unless it is there; True when this call wrote it. What is here afterwards is what is there."""
    place = located(path)
    if place is not None:
        try:
            objects(place).write(place.name, _text(value).encode(), tag=None)
        except Conflict:
            path.unlink(missing_ok=True)
            brought(path)
            return json.loads(path.read_text()) == json.loads(_text(value))
    write_json(path, value)
    return True


def write_page(path: Path, text: str) -> None:
    """Write a text file here and upstream."""
    write_text(path, text)
    share(path)


def share(*paths: Path) -> None:
    """Send files that are whole, in this order; nothing for a lake without an upstream."""
    for path in paths:
        place = located(path)
        if place is not None:
            objects(place).send(place.name, path, file_sha256(path))


def mirror(folder: Path) -> None:
    """Make a small folder of unchanging files the same upstream: send what is new, then remove what is gone here."""
    place = located(folder)
    if place is None:
        return
    store = objects(place)
    there = store.listed(place.name)[1]
    here = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if not path.name.startswith(".")} if folder.is_dir() else {}
    share(*(folder / name for name, size in here.items() if there.get(name) != size))
    store.remove(f"{place.name}/{name}" for name in there if name not in here)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder of the lake, here or upstream, sorted: one request a thousand of what is directly in it."""
    here = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    place = located(folder)
    there = set(objects(place).listed(place.name)[0]) if place is not None else set()
    return sorted(name for name in here | there if not name.startswith("."))


def _json(path: Path, text: str | None, unreadable: Any) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        if unreadable is not None:
            return unreadable
        raise UserError(f"{path} is not readable as JSON ({error}); restore it") from None


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=str, allow_nan=False) + "\n"
