"""The lake: every table, shard, adapter and score on disk, and how they are written so that a kill loses nothing.

Work is done if and only if its folder holds `manifest.json`, which is written last and moved into place whole.
"""

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest, file_sha256
from cosmos_ops.store import folders as store
from cosmos_ops.store.place import Place, attach, known_root, located

MANIFEST = "manifest.json"
MANIFEST_HASH = "manifest_sha256"
"""Key of a manifest's hash of itself, see `write_manifest`. Not part of `Manifest`; manifests of earlier versions lack it."""


@dataclass(frozen=True)
class Manifest:
    """What one finished piece of work is. `path` and `unchanged` are about this call, not stored."""

    stage: str
    key: str
    """Hash of everything that went in: upstream data versions, settings, code version."""
    data_version: str
    """Hash of what came out; equal content gives an equal version."""
    rows: int
    files: dict[str, str]
    """File name -> SHA-256."""
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path = Path()
    unchanged: bool = False

    def file(self, name: str) -> Path:
        """Path of one of the manifest's files, which is brought from upstream where it is not here. Raises `WorkFailed` where it does not come whole."""
        path = self.path / name
        place = located(path) if name in self.files else None
        if place is not None and not path.exists():
            store.bring_file(place, path, self.files[name])
        return path

    def whole(self) -> Path:
        """The manifest's folder with all of its files here. Raises as `file`."""
        place = located(self.path)
        if place is not None:
            store.bring_files(place, self.path, self.files)
        return self.path


@dataclass(frozen=True)
class Output:
    """What a stage's writer returns: its content hash, row count and free metadata."""

    data_version: str
    rows: int
    meta: dict[str, Any] = field(default_factory=dict)


class Lake:
    """Paths of the lake below one root folder."""

    def __init__(self, root: Path | str, upstream: str | None = None):
        """`upstream` makes the root a working copy of the lake at that URL (see `store.place.attach`); one that is so already stays so."""
        self.root = Path(root)
        if upstream:
            attach(self.root, upstream)
        else:
            known_root(self.root)

    @property
    def landing(self) -> Path:
        """Folder in which the sensor looks for new drops."""
        return self.root / "landing"

    @property
    def staging(self) -> Path:
        """Folder in which logs from elsewhere wait until they are whole and registered; may be removed at any time."""
        return self.root / "staging"

    @property
    def drops(self) -> Path:
        return self.root / "drops"

    def drop(self, name: str) -> Path:
        return self.drops / name

    def drop_stage(self, name: str, stage: str, fingerprint: str | None = None) -> Path:
        """Folder of a data-half stage of a drop; stages that depend on the profile carry its fingerprint."""
        folder = self.drop(name) / stage
        return folder / fingerprint if fingerprint else folder

    def drop_names(self) -> list[str]:
        """Registered drops, sorted by name: from the catalog where the lake has an upstream, which is never listed."""
        if located(self.drops) is not None:
            from cosmos_ops.store.catalog import read_catalog  # which needs this module

            return sorted(read_catalog(self))
        return sorted(path.parent.name for path in self.drops.glob("*/drop.json"))

    def caption_answers(self) -> Path:
        """Answers of vision models, shared by all drops and profiles."""
        return self.root / "caption_answers"

    def dataset(self, version: str) -> Path:
        return self.root / "datasets" / version

    def evaluation_set(self, version: str) -> Path:
        return self.root / "evaluation_sets" / version

    def latents(self, fingerprint: str) -> Path:
        return self.root / "latents" / fingerprint

    def inverse_dynamics(self, key: str) -> Path:
        return self.root / "inverse_dynamics" / key

    def judge_answers(self) -> Path:
        """Replies of vision-language judges, shared by all evaluations."""
        return self.root / "judge_answers"

    def adapter(self, key: str) -> Path:
        return self.root / "adapters" / key

    def generations(self, key: str) -> Path:
        return self.root / "generations" / key

    def scores(self, key: str) -> Path:
        return self.root / "scores" / key

    def leaderboard(self, key: str) -> Path:
        return self.root / "leaderboards" / key

    def decision(self, key: str) -> Path:
        return self.root / "decisions" / key

    def models(self) -> Path:
        """Folder of base models that are built here (nano)."""
        return self.root / "models"


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished folder, or None where the work is not done. In a lake with an upstream, done is what is done there."""
    place = located(folder)
    if place is not None and (folder / store.UNSENT).exists():
        return None
    manifest = _manifest_here(folder)
    if manifest is None and place is not None and store.bring_manifest(place, folder):
        return _manifest_here(folder)
    return manifest


def _manifest_here(folder: Path) -> Manifest | None:
    path = folder / MANIFEST
    try:
        stored = json.loads(path.read_text())
        stored.pop(MANIFEST_HASH, None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: damaged manifest ({error}); remove the folder, it is made again") from None
    return Manifest(**stored, path=folder)


def brought_file(path: Path) -> Path:
    """The path of a file in a finished folder, which is brought from upstream where it is not here. Raises as `Manifest.file`."""
    if located(path) is not None and not path.exists() and (manifest := read_manifest(path.parent)) is not None:
        return manifest.file(path.name)
    return path


def require_manifest(folder: Path, what: str, remedy: str) -> Manifest:
    """The manifest of a finished folder; a `UserError` naming `what` is missing and the `remedy` otherwise."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"{what} is not there ({folder}); {remedy}")
    return manifest


def build_folder(folder: Path, stage: str, key: str, write: Callable[[Path], Output]) -> Manifest:
    """Make `folder` whole or not at all, once a key.

    `write` gets an empty folder, fills it and returns an `Output`. A folder that is there with the same key is returned
    with `unchanged=True`; one with another key is replaced. Concurrent calls wait for each other.
    """
    with locked(folder):
        done = read_manifest(folder)
        if done is not None and done.key == key:
            return replace(done, unchanged=True)
        place = located(folder)
        if place is not None and (settled := _settled(place, folder, key)) is not None:
            return settled
        for stale in folder.parent.glob(f".{folder.name}.tmp-*"):
            shutil.rmtree(stale)
        work = folder.parent / f".{folder.name}.tmp-{uuid.uuid4().hex[:8]}"
        work.mkdir(parents=True)
        output = write(work)
        manifest = write_manifest(work, stage, key, output)
        if place is not None:
            (work / store.UNSENT).touch()
        if folder.exists():
            old = folder.parent / f".{folder.name}.tmp-old"
            folder.rename(old)
            work.rename(folder)
            shutil.rmtree(old)
        else:
            work.rename(folder)
        return replace(manifest, path=folder) if place is None else _sent(place, folder)


def resume_folder(folder: Path, stage: str, key: str, write: Callable[[Path], Output]) -> Manifest:
    """Like `build_folder` for long work that continues where it stopped: `write` gets the folder itself.

    `write` must skip what is whole and write each file through `atomic_write`. A folder left by another key is emptied. In a lake with an upstream,
    parts that `write` hands to `notes.share` are there for another machine to go on from.
    """
    with locked(folder):
        done = read_manifest(folder)
        if done is not None and done.key == key:
            return replace(done, unchanged=True)
        place = located(folder)
        if place is not None and (settled := _settled(place, folder, key)) is not None:
            return settled
        marker = folder / ".key"
        if folder.exists() and (not marker.is_file() or marker.read_text() != key):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(marker, key)
        for stale in folder.rglob(".*.part-*"):
            stale.unlink()
        if place is not None:
            store.bring_parts(place, folder, key)
        output = write(folder)
        if place is not None:
            (folder / store.UNSENT).touch()
        manifest = replace(write_manifest(folder, stage, key, output), path=folder)
        return manifest if place is None else _sent(place, folder)


def _settled(place: Place, folder: Path, key: str) -> Manifest | None:
    """What is here of a folder that is not done, or done with another key, brought to what is upstream; the manifest where that is all there is to do."""
    here = _manifest_here(folder)
    if here is None:
        return None
    if here.key == key:
        return _sent(place, folder)
    theirs = store.stored_manifest(place)
    if theirs is None or theirs["key"] != key:
        return None
    store.adopt(place, folder, theirs)
    return replace(_manifest_here(folder), unchanged=True)


def _sent(place: Place, folder: Path) -> Manifest:
    store.send_folder(place, folder)
    return _manifest_here(folder)


def write_manifest(folder: Path, stage: str, key: str, output: Output) -> Manifest:
    """Hash the folder's files, hidden files and folders left out, and write `manifest.json`, last, with a hash over itself."""
    files = {
        str(path.relative_to(folder)): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    manifest = Manifest(stage, key, output.data_version, output.rows, files, output.meta)
    stored = {name: value for name, value in asdict(manifest).items() if name not in ("path", "unchanged")}
    stored = json.loads(json.dumps(stored, default=str, allow_nan=False))  # as it will be read
    write_json(folder / MANIFEST, stored | {MANIFEST_HASH: digest(stored, 64)})
    return manifest


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, flushed and moved over it when the block ends well, removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.part-{uuid.uuid4().hex[:8]}"
    try:
        yield part
        with open(part, "rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as part:
        part.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Write indented, key-sorted JSON atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, default=str, allow_nan=False) + "\n")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock for work on `folder`; the system frees it when the holder dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
