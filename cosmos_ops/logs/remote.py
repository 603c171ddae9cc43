"""Logs at a URL: brought here file by file, then read like any other.

Any protocol of fsspec will do (`s3://`, `gs://`, `http(s)://` with pages that list folders, `file://`, `zip://...::...`). A file arrives under another
name and is moved into place when it is whole. What was brought stays when a call is cut off; the next goes on where it stopped.
"""

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, locked, write_json
from cosmos_ops.logs.drops import REGISTRATION, Drop, checked_name, load_drop, register_drop, slug
from cosmos_ops.logs.remote_files import RemoteFile, RemoteLog, is_remote, list_remote
from cosmos_ops.logs.remote_system import Unreachable, read_from
from cosmos_ops.progress import Progress, silent
from cosmos_ops.store.notes import brought, write_note

ORIGIN = "origin.json"
"""Beside a drop's registration: the URL it came from, and a fingerprint of what lay there."""
_LOG, _PARTS, _LISTING = "log", "parts", "listing.json"
_CHUNK_BYTES = 4 << 20
_ATTEMPTS, _FIRST_PAUSE_S = 4, 0.5
_SPARE_BYTES = 256 << 20


@contextlib.contextmanager
def local_copy(path: Path | str, progress: Progress = silent) -> Iterator[Path]:
    """The path itself, or for a URL a copy that lasts as long as the block. Raises as `bring`."""
    if not is_remote(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="cosmos-ops-") as folder:
        here = bring(_listed(path), Path(folder), progress)
        try:
            yield here
        except UserError as error:
            raise UserError(str(error).replace(str(here), str(path))) from None


def register_remote(lake: Lake, url: str, name: str | None = None, allow_mixed: bool = False, progress: Progress = silent) -> tuple[Drop, bool]:
    """Bring the log at `url` into the lake and register it as a copied drop; returns it and whether it is new.

    A drop that came from there and did not change, as far as the other side tells, is not brought again. What arrives waits in `lake.staging`, which
    is emptied when the drop is registered and may be removed at any time. Raises as `bring` and `drops.register_drop`.
    """
    name = checked_name(name) if name is not None else slug(url.rstrip("/").rpartition("/")[2])
    log = _listed(url)
    origin = lake.drop(name) / ORIGIN
    if brought(lake.drop(name) / REGISTRATION).is_file() and log.can_tell and _stored(brought(origin)).get("fingerprint") == log.fingerprint:
        return load_drop(lake, name), False
    folder = lake.staging / digest(url)
    with locked(folder):
        here = bring(log, folder, progress)
        try:
            drop, new = register_drop(lake, here, name, copy=True, allow_mixed=allow_mixed)
        except UserError as error:
            raise UserError(str(error).replace(str(here.resolve()), url)) from None
        write_note(origin, {"url": url, "fingerprint": log.fingerprint})
        shutil.rmtree(folder)
    return drop, new


def bring(log: RemoteLog, folder: Path, progress: Progress = silent, pause_s: float = _FIRST_PAUSE_S) -> Path:
    """Make `folder` hold the log; returns the path to open.

    Raises `UserError` where a file is gone or there is no room, `WorkFailed` where a file does not come whole after several attempts.
    """
    _clear_stale(log, folder)
    wanted = [file for file in log.files if not (folder / _LOG / file.name).exists()]
    here_bytes = sum(part.stat().st_size for part in (folder / _PARTS).glob("*"))
    missing = sum(file.size_bytes or 0 for file in wanted) - here_bytes
    free = shutil.disk_usage(folder).free
    if missing > free - _SPARE_BYTES:
        raise UserError(f"{log.url} needs {missing / 1e9:.1f} GB, {free / 1e9:.1f} GB are free at {folder}; make room and try again")
    done, total = 0, max(1, log.size_bytes)
    for number, file in enumerate(log.files, start=1):
        target, part = folder / _LOG / file.name, folder / _PARTS / digest(file.name, 32)

        def told(size_bytes: int, done: int = done, note: str = f"bytes of {log.url}, file {number} of {len(log.files)}") -> None:
            progress(done + size_bytes, max(total, done + size_bytes), note)

        if not target.exists():
            _bring_file(log, file, target, part, pause_s, told)
        done += target.stat().st_size
    if not wanted:
        progress(done, done, f"bytes of {log.url} were here already")
    return folder / _LOG / log.single if log.single else folder / _LOG


def _listed(url: str) -> RemoteLog:
    try:
        return list_remote(url)
    except Unreachable as error:
        raise WorkFailed(f"{url} cannot be listed ({error}); try again") from None


def _bring_file(log: RemoteLog, file: RemoteFile, target: Path, part: Path, pause_s: float, told: Callable[[int], None]) -> None:
    part.parent.mkdir(parents=True, exist_ok=True)
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            _go_on(log, file, part, told)
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
            return
        except Unreachable as error:
            reason = str(error)
        except OSError as error:
            raise WorkFailed(f"{file.name} of {log.url} cannot be written to {target} ({error.strerror or error}); make room there and try again") from None
    raise WorkFailed(f"{file.name} of {log.url} did not come whole in {_ATTEMPTS} attempts ({reason}); try again")


def _go_on(log: RemoteLog, file: RemoteFile, part: Path, told: Callable[[int], None]) -> None:
    """Bring what is missing of one file. Raises `Unreachable` where it ends early or has more than it should."""
    have = part.stat().st_size if part.exists() and file.size_bytes is not None else 0
    if file.size_bytes is None or have < file.size_bytes or not part.exists():
        try:
            _append(log, file, part, have, told)
        except ValueError:  # the other side gives no parts: from the beginning
            _append(log, file, part, 0, told)
    size = part.stat().st_size
    if file.size_bytes is not None and size != file.size_bytes:
        if size > file.size_bytes:
            part.unlink()
        raise Unreachable(f"{size} bytes came, {file.size_bytes} were declared")


def _append(log: RemoteLog, file: RemoteFile, part: Path, start: int, told: Callable[[int], None]) -> None:
    with open(part, "ab" if start else "wb") as out:
        size = start
        for content in read_from(log.system, log.url, file.place, file.size_bytes, start, _CHUNK_BYTES):
            out.write(content)
            size += len(content)
            told(size)
            if file.size_bytes is not None and size > file.size_bytes:
                break
        out.flush()
        os.fsync(out.fileno())


def _clear_stale(log: RemoteLog, folder: Path) -> None:
    """Take away what an earlier call brought of files that are gone or have changed since."""
    folder.mkdir(parents=True, exist_ok=True)
    now = {file.name: [file.size_bytes, file.mark] for file in log.files}
    before = _stored(folder / _LISTING)
    # From the deepest up: a folder that is empty by then may be in the place of a file.
    for path in sorted((folder / _LOG).rglob("*"), reverse=True) if (folder / _LOG).exists() else ():
        name = path.relative_to(folder / _LOG).as_posix()
        if path.is_file() and (name not in now or before.get(name) != now[name]):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for part in (folder / _PARTS).glob("*"):
        if part.name not in {digest(name, 32) for name in now if before.get(name) == now[name]}:
            part.unlink()
    write_json(folder / _LISTING, now)


def _stored(path: Path) -> dict:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
