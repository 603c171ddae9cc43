"""Finished folders on their way up and down: files first and the manifest last, every file checked against its hash."""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosmos_ops.errors import WorkFailed
from cosmos_ops.hashing import digest, file_sha256
from cosmos_ops.store.objects import Conflict, in_parallel, objects
from cosmos_ops.store.place import Place

MANIFEST, MANIFEST_HASH = "manifest.json", "manifest_sha256"
UNSENT = ".unsent"
"""In a folder that is whole here and not yet upstream: until it is, it does not count as done."""
_SENDING = "sending"
KEY = ".key"
"""In a folder of resumable work: what it is made from."""


def stored_manifest(place: Place) -> dict[str, Any] | None:
    """The manifest of a folder as it is upstream now, with its hash of itself; None where the folder is not done there."""
    found = objects(place).read(f"{place.name}/{MANIFEST}")
    return parsed_manifest(place, found[0]) if found else None


def bring_manifest(place: Place, folder: Path) -> bool:
    """Bring the manifest of a folder that is done upstream; its files follow as they are asked for. False where it is not done."""
    stored = stored_manifest(place)
    if stored is None:
        return False
    _write(folder / MANIFEST, stored)
    return True


def bring_file(place: Place, path: Path, sha256: str) -> None:
    """Bring a file of a finished folder, whole and with that hash. Raises `WorkFailed` where it is gone or damaged also at the second look."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part-{uuid.uuid4().hex[:8]}")
    try:
        for _ in range(2):
            if not objects(place).fetch(place.name, part):
                raise WorkFailed(f"{place} is gone, and a manifest lists it; `cosmos-ops verify` names what is missing and how it is made again")
            if file_sha256(part) == sha256:
                with open(part, "rb+") as stream:
                    os.fsync(stream.fileno())
                part.replace(path)
                return
        raise WorkFailed(_differs(place, path))
    except OSError as error:
        raise WorkFailed(_unwritten(path, error)) from None
    finally:
        part.unlink(missing_ok=True)


def bring_files(place: Place, folder: Path, files: Mapping[str, str]) -> None:
    """Bring those files of a finished folder that are not here."""
    missing = [name for name in files if not (folder / name).exists()]
    in_parallel(lambda name: bring_file(place / name, folder / name, files[name]), missing)


def bring_parts(place: Place, folder: Path, key: str) -> None:
    """Bring what another machine finished of resumable work with this key; empty the folder upstream of any other.

    What comes is not checked here: who resumes checks each part, as after a kill.
    """
    store, theirs = objects(place), objects(place).read(f"{place.name}/{KEY}")
    if theirs is not None and theirs[0].decode() == key:
        missing = [name for name in store.below(place.name) if name not in (KEY, MANIFEST) and not (folder / name).exists()]

        def bring(name: str) -> None:
            path = folder / _below(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part-{uuid.uuid4().hex[:8]}")
            try:
                if store.fetch(f"{place.name}/{name}", part):
                    part.replace(path)
            except OSError as error:
                raise WorkFailed(_unwritten(path, error)) from None
            finally:
                part.unlink(missing_ok=True)

        in_parallel(bring, missing)
        return
    if theirs is not None:
        store.remove([f"{place.name}/{MANIFEST}"])
        store.remove(f"{place.name}/{name}" for name in store.below(place.name))
    store.write(f"{place.name}/{KEY}", key.encode())


def send_folder(place: Place, folder: Path) -> None:
    """Send a folder that is whole here: its files, then its manifest, then it counts as done.

    Where another machine finished the same work meanwhile, theirs stays and this folder becomes a copy of it. Where two send at the same moment, the last
    sends all of its own again: at rest every file is that of the manifest.
    """
    mine = json.loads((folder / MANIFEST).read_text())
    store = objects(place)
    found = store.read(f"{place.name}/{MANIFEST}")
    theirs = parsed_manifest(place, found[0]) if found else None
    marker = folder / UNSENT
    halfway = marker.exists() and marker.read_text() == _SENDING
    if theirs is not None and theirs["key"] == mine["key"] and not (halfway and theirs["files"] != mine["files"]):
        if theirs["files"] != mine["files"]:
            adopt(place, folder, theirs)
        marker.unlink(missing_ok=True)
        return
    marker.write_text(_SENDING)  # from here on files of ours may stand there: a call that is killed must not leave them beside another's manifest
    if theirs is not None:
        # Not done upstream from here on: no manifest may stand beside files of another.
        store.remove([f"{place.name}/{MANIFEST}"])
        store.remove(f"{place.name}/{name}" for name in theirs["files"] if name not in mine["files"])
    content = (folder / MANIFEST).read_bytes()
    send_files(place, folder, mine["files"])
    try:
        store.write(f"{place.name}/{MANIFEST}", content, tag=None)
    except Conflict:
        send_files(place, folder, mine["files"])
        store.write(f"{place.name}/{MANIFEST}", content)
    marker.unlink(missing_ok=True)


def _below(name: str) -> str:
    """A name that was given by the store: it must lead nowhere but below its folder."""
    if not name or name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r} leads out of its folder")
    return name


def adopt(place: Place, folder: Path, theirs: dict[str, Any]) -> None:
    """Make a folder here a copy of what another machine finished; files come as they are asked for."""
    if folder.exists():
        aside = folder.with_name(f".{folder.name}.tmp-{uuid.uuid4().hex[:8]}")
        folder.rename(aside)
        shutil.rmtree(aside)
    _write(folder / MANIFEST, theirs)


def send_files(place: Place, folder: Path, files: Mapping[str, str]) -> None:
    """Send a folder's files, given with their hashes, several at once."""
    in_parallel(lambda name: objects(place).send(f"{place.name}/{name}", folder / name, files[name]), files)


def parsed_manifest(place: Place, content: bytes) -> dict[str, Any]:
    """A manifest with its hash of itself, from its bytes. Raises `WorkFailed` where it is damaged, or lists a file outside its folder."""
    try:
        stored = json.loads(content)
        expected = stored.pop(MANIFEST_HASH, None)
        if expected is not None and expected != digest(stored, 64):
            raise ValueError("its content differs from its hash")
        for name in stored["files"]:
            _below(name)
        return stored | ({MANIFEST_HASH: expected} if expected else {})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise WorkFailed(f"{place}/{MANIFEST} is damaged ({error}); remove that object and run the command that made the folder: it is made again") from None


def _unwritten(path: Path, error: OSError) -> str:
    return f"{path} cannot be written ({error.strerror or error}); make room there and run the same command again"


def _differs(place: Place, path: Path) -> str:
    """What to say of a file that is not the one its manifest tells: the folder was made anew elsewhere, or the object is damaged."""
    folder = Place(place.url, place.name.rpartition("/")[0])
    now, here = stored_manifest(folder), path.parent / MANIFEST
    if now is not None and here.exists() and json.loads(here.read_text()).get("files") != now["files"]:
        here.unlink()
        return f"{folder} was made anew by another machine since this one looked; run the same command again"
    return f"{place} is damaged: its SHA-256 is not that of its manifest; `cosmos-ops verify` names what is damaged and how it is made again"


def _write(path: Path, stored: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part-{uuid.uuid4().hex[:8]}")
    try:
        with open(part, "w") as stream:
            stream.write(json.dumps(stored, indent=1, sort_keys=True) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
