"""Drops: immutable deliveries of logs, registered in the lake by the content they had."""

import json
import os
import re
import shutil
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake, locked, write_json
from cosmos_ops.logs import open_log
from cosmos_ops.logs.fingerprint import Files, difference, fingerprint, scan
from cosmos_ops.logs.known import Known, known_drops, remember
from cosmos_ops.store.catalog import REGISTRATION, enter, withdraw
from cosmos_ops.store.folders import bring_files, send_files
from cosmos_ops.store.notes import brought, write_note, write_note_once
from cosmos_ops.store.place import located

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_COPY = "source"


@dataclass(frozen=True)
class Drop:
    """One registered drop. A copied drop's `uri` is inside the lake and moves with it."""

    name: str
    uri: str
    """Absolute path of the log folder or file."""
    format: str
    format_version: str
    robot: str | None
    licence: str | None
    fingerprint: str
    """Hash of the content, see `fingerprint.fingerprint`."""
    files: Files
    copied: bool
    allow_mixed: bool


def register_drop(lake: Lake, path: Path | str, name: str | None = None, copy: bool = False, allow_mixed: bool = False) -> tuple[Drop, bool]:
    """Make a drop known to the lake; returns it and whether it is new.

    The same content under the same name is the drop that is there. Raises `UserError` when the path holds no readable log with at least one episode,
    the name is bad or taken by other content, the content is registered under another name, or the robot is not the lake's and `allow_mixed` is off.
    """
    source = Path(path).resolve()
    if not source.exists():
        raise UserError(f"{path} does not exist; give the path of a log folder or file")
    _keep_apart(lake, source)
    name = checked_name(name) if name is not None else slug(source.name)
    with locked(lake.drops):
        if brought(lake.drop(name) / REGISTRATION).is_file():
            drop = _same_again(lake, load_drop(lake, name), source)
            enter(lake, name, asdict(drop), lambda known: None)  # where a kill came between registration and catalog
            return drop, False
        new = _describe(source, name, allow_mixed)
        others = known_drops(lake, REGISTRATION, lambda other: _known(load_drop(lake, other)))
        _refuse_beside(new, others)
        if copy:
            new = _copy_in(lake, new)
        _store_new(lake, new)
        remember(lake, others)
        return new, True


def load_drop(lake: Lake, name: str) -> Drop:
    """A registered drop. Raises `UserError` for a name that is not there or a damaged registration."""
    path = brought(lake.drop(checked_name(name)) / REGISTRATION)
    if not path.is_file():
        raise UserError(f"drop {name!r} is not in the lake; there are {', '.join(lake.drop_names()) or 'none'}")
    try:
        stored = json.loads(path.read_text())
        files = {file: (int(size), int(mtime_ns), str(sha256)) for file, (size, mtime_ns, sha256) in stored["files"].items()}
        uri = str(lake.drop(name).resolve() / stored["uri"]) if stored["copied"] else stored["uri"]
        return Drop(**{**stored, "files": files, "uri": uri})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); remove the folder {path.parent} and ingest the drop again") from None


def check_unchanged(lake: Lake, drop: Drop) -> None:
    """Compare a drop's source with its registration; only files whose size or time differ are read. Raises `UserError` when it changed or is gone."""
    source = Path(drop.uri)
    if drop.copied:
        _bring_copy(lake, drop)
    if not source.exists():
        raise UserError(f"the source of drop {drop.name} is gone ({source}); put it back, or remove {lake.drop(drop.name)} and ingest it again")
    changes = difference(drop.files, scan(source, drop.files))
    if changes:
        raise UserError(f"drop {drop.name} changed since it was ingested: {changes}; drops are immutable, {_remedy(lake, drop.name)}")


def slug(name: str) -> str:
    """A drop name made from a folder's name. Raises `UserError` where nothing is left."""
    made = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")
    if not made:
        raise UserError(f"no drop name can be made from {name!r}; give one with --drop")
    return made


def checked_name(name: str) -> str:
    """The name itself. Raises `UserError` for one that no drop can have."""
    if not _NAME.fullmatch(name):
        raise UserError(f"drop name {name!r} is not allowed; use lower-case letters, digits, '.', '_' and '-', a letter or digit first")
    return name


def _describe(source: Path, name: str, allow_mixed: bool) -> Drop:
    reader = open_log(source)
    info = reader.info()
    if next(iter(reader.episodes()), None) is None:
        raise UserError(f"{source} holds no episode: none of the {info.declared_episodes} declared is on disk; complete the drop and try again")
    files = scan(source)
    return Drop(name, str(source), info.format, info.format_version, info.robot, info.licence, fingerprint(files), files, False, allow_mixed)


def _same_again(lake: Lake, drop: Drop, source: Path) -> Drop:
    """The registered drop, if `source` still has its content; where a drop moved, or was only touched, that is recorded."""
    files = scan(source, drop.files if source == Path(drop.uri) else None)
    changes = difference(drop.files, files)
    if changes:
        raise UserError(f"drop {drop.name} is registered with other content: {changes}; drops are immutable, {_remedy(lake, drop.name)}")
    here = source == Path(drop.uri)
    if drop.copied or (not here and Path(drop.uri).exists()) or (here and files == drop.files):
        return drop
    moved = replace(drop, uri=str(source), files=files)
    if _is_staged(lake, source):  # it does not stay there
        moved = _copy_in(lake, moved)
        write_note(lake.drop(drop.name) / REGISTRATION, _stored(lake, moved))
    else:  # where a log lies is each machine's own knowledge
        write_json(lake.drop(drop.name) / REGISTRATION, _stored(lake, moved))
    return moved


def _store_new(lake: Lake, new: Drop) -> None:
    """Write a registration and the catalog's entry. Raises `UserError` where another machine was faster with other content, or with this under another name."""
    path = lake.drop(new.name) / REGISTRATION
    if not write_note_once(path, _stored(lake, new)):
        theirs = load_drop(lake, new.name)
        if theirs.fingerprint != new.fingerprint:
            raise UserError(f"drop {new.name} was registered with other content by another machine just now; {_remedy(lake, new.name)}")
        write_json(path, _stored(lake, new))
    try:
        enter(
            lake, new.name, asdict(new), lambda known: _refuse_beside(new, [Known(name, facts["fingerprint"], facts["robot"]) for name, facts in known.items()])
        )
    except UserError:
        withdraw(lake, new.name)
        raise


def _stored(lake: Lake, drop: Drop) -> dict:
    uri = str(Path(drop.uri).relative_to(lake.drop(drop.name).resolve())) if drop.copied else drop.uri
    return asdict(drop) | {"uri": uri}


def _remedy(lake: Lake, name: str) -> str:
    stem, taken = re.sub(r"-\d+$", "", name), set(lake.drop_names())
    free = next(f"{stem}-{number}" for number in range(2, 1_000_000) if f"{stem}-{number}" not in taken and not lake.drop(f"{stem}-{number}").exists())
    return f"restore it or ingest it under a new name: --drop {free}"


def _known(drop: Drop) -> Known:
    return Known(drop.name, drop.fingerprint, drop.robot)


def _refuse_beside(new: Drop, others: list[Known]) -> None:
    """Refuse content that is in the lake under another name, and a robot that the lake does not know."""
    for other in others:
        if other.fingerprint == new.fingerprint:
            raise UserError(f"{new.uri} is in the lake already, as drop {other.name}; use that name (--drop {other.name})")
    robots = {other.robot for other in others if other.robot}
    if new.robot and robots and new.robot not in robots and not new.allow_mixed:
        told = f"this drop's robot is {new.robot}, the lake's is {', '.join(sorted(robots))}"
        raise UserError(f"{told}; use another lake, or --allow-mixed to train one model on both")


def _keep_apart(lake: Lake, source: Path) -> None:
    root = lake.root.resolve()
    if root.is_relative_to(source):
        raise UserError(f"{source} holds the lake itself ({root}); give the path of one log folder")
    if source.is_relative_to(lake.drops.resolve()):
        raise UserError(f"{source} lies among the lake's drops already; give the path of the delivery")


def _is_staged(lake: Lake, source: Path) -> bool:
    return source.is_relative_to(lake.staging.resolve())


def _copy_in(lake: Lake, drop: Drop) -> Drop:
    """Copy the drop's files, check what arrived, and move the copy into place whole."""
    source, folder = Path(drop.uri), lake.drop(drop.name)
    for stale in folder.glob(f".{_COPY}.tmp-*"):
        shutil.rmtree(stale)
    work = folder / f".{_COPY}.tmp-{uuid.uuid4().hex[:8]}"
    bring = os.link if _is_staged(lake, source) else shutil.copy2  # what waits in the lake is the lake's own
    for name in drop.files:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        bring(source / name if source.is_dir() else source.with_name(name), work / name)
    if source.is_file():
        copied = scan(work / source.name)
    else:
        copied = scan(work)
    if difference(drop.files, copied):
        shutil.rmtree(work)
        raise UserError(f"{source} changed while it was copied ({difference(drop.files, copied)}); try again when it is at rest")
    shutil.rmtree(folder / _COPY, ignore_errors=True)
    work.rename(folder / _COPY)
    if (place := located(folder / _COPY)) is not None:
        send_files(place, folder / _COPY, _hashes(copied))
    uri = folder.resolve() / _COPY / (source.name if source.is_file() else "")
    return replace(drop, uri=str(uri), files=copied, copied=True)


def _bring_copy(lake: Lake, drop: Drop) -> None:
    """Bring a copied drop's files that are not on this machine, with the times that its registration has of them."""
    folder = lake.drop(drop.name) / _COPY
    if (place := located(folder)) is None:
        return
    missing = {name: sha256 for name, sha256 in _hashes(drop.files).items() if not (folder / name).exists()}
    bring_files(place, folder, missing)
    for name in missing:
        os.utime(folder / name, ns=(drop.files[name][1], drop.files[name][1]))


def _hashes(files: Files) -> dict[str, str]:
    return {name: sha256 for name, (_, _, sha256) in files.items()}
