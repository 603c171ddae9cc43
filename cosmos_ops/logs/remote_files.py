"""What lies at a URL: every file of a log, with its size and what tells its versions apart.

Whoever keeps the log is not trusted with where its files go: names that lead out of it, links and pipes are refused.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.logs.mapping import NAME
from cosmos_ops.logs.paths import is_plain
from cosmos_ops.logs.remote_system import WEB, asking, connect
from cosmos_ops.logs.spelling import plain

_URL = re.compile(r"[a-z][a-z0-9+.-]*(::[a-z0-9+.:-]*)?://")
_MARKS = (
    "ETag",
    "etag",
    "md5Hash",
    "Content-MD5",
    "Digest",
    "generation",
    "CRC",
    "Last-Modified",
    "LastModified",
    "last_modified",
    "mtime",
    "updated",
    "created",
)
_MOST_FILES, _MOST_DEPTH = 1_000_000, 16


@dataclass(frozen=True)
class RemoteFile:
    """One file of a log."""

    name: str
    """Where it belongs below the log's folder; its own name where the log is one file."""
    place: str
    """What the file system calls it."""
    size_bytes: int | None
    """None where the other side does not say."""
    mark: str
    """Changes when the content does, as far as the other side tells; empty where it does not."""


@dataclass(frozen=True)
class RemoteLog:
    """A log and all its files, sorted by name."""

    url: str
    single: str | None
    """The log's name where it is one file; its mapping may lie beside it."""
    files: tuple[RemoteFile, ...]
    system: Any
    """The fsspec file system."""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes or 0 for file in self.files)

    @property
    def fingerprint(self) -> str:
        """Changes when a name, a size or a mark does."""
        return digest([self.url, [[file.name, file.size_bytes, file.mark] for file in self.files]], 32)

    @property
    def can_tell(self) -> bool:
        """Whether a change of any file would show in the fingerprint."""
        return all(file.mark for file in self.files)


def is_remote(path: Any) -> bool:
    """Whether a path is a URL."""
    return isinstance(path, str) and bool(_URL.match(path))


def list_remote(url: str) -> RemoteLog:
    """All files of the log at `url`, hidden ones left out as in any drop.

    Raises `UserError` where the protocol is unknown or its package is missing, nothing is there, or a name is no plain path; `Unreachable`.
    """
    system, root = connect(url)
    system.invalidate_cache()
    with asking(url):
        if not _is_folder(system, root, url):
            return _one_file(url, system, root)
        files = [_facts(system, name, entry, url) for name, entry in _walk(system, root, url)]
    if not files:
        raise UserError(f"{url} holds no file; give the URL of a log folder or file")
    return RemoteLog(url, None, tuple(sorted(files, key=lambda file: file.name)), system)


def _is_folder(system, root: str, url: str) -> bool:
    if not url.startswith(WEB):
        if not system.exists(root):
            raise FileNotFoundError(root)
        return system.isdir(root)
    return str(system.info(root).get("mimetype", "")) == "text/html"  # a page that lists the folder; asking for one would fetch a file whole


def _one_file(url: str, system, root: str) -> RemoteLog:
    name = unquote(PurePosixPath(root).name) if url.startswith(WEB) else PurePosixPath(root).name
    beside = f"{root}.{NAME}"
    places = [(name, root), *([(f"{name}.{NAME}", beside)] if system.exists(beside) else [])]
    if _checked(name, url) is None:
        raise UserError(f"{url} is a hidden file, which no drop holds; rename it")
    files = tuple(_facts(system, own, {**system.info(place), "name": place}, url) for own, place in places)
    return RemoteLog(url, name, files, system)


def _walk(system, root: str, url: str) -> Iterator[tuple[str, dict]]:
    """(name below the root, what the file system says) of each file."""
    above, folders, count = f"{root.rstrip('/')}/" if root.strip("/") else root, [(root, 0)], 0
    while folders:
        folder, depth = folders.pop()
        if depth > _MOST_DEPTH:
            raise UserError(f"{url} has folders more than {_MOST_DEPTH} deep; give the URL of the log's own folder")
        for entry in system.ls(folder, detail=True):
            place = str(entry["name"])
            if place.rstrip("/") == folder.rstrip("/"):
                continue
            if url.startswith(WEB) and ("?" in place.removeprefix(above) or "#" in place.removeprefix(above)):
                continue  # a listing's links that sort it
            name = _below(place, above, url)
            if name is None:
                continue
            if entry.get("islink") or entry["type"] not in ("file", "directory"):
                raise UserError(f"{url}: {name} is a link or no regular file; a drop holds its own files, put a copy in its place")
            count += 1
            if count > _MOST_FILES:
                raise UserError(f"{url} holds more than {_MOST_FILES} files; give the URL of the log's own folder")
            if entry["type"] == "directory":
                folders.append((place, depth + 1))
            else:
                yield name, entry


def _below(place: str, above: str, url: str) -> str | None:
    """The name below the log's folder, None for a hidden one."""
    name = place.removeprefix(above).strip("/") if place.startswith(above) or not above.strip("/") else "../" + place
    return _checked(html.unescape(unquote(name)) if url.startswith(WEB) else name, url)


def _checked(name: str, url: str) -> str | None:
    parts = re.split(r"[\\/]", name)
    if ".." in parts or not parts[0]:
        raise UserError(f"{url} lists {plain(name)!r}, which leads out of the log; nothing was brought, a log names files below its own folder")
    if any(part.startswith(".") for part in parts):
        return None
    if not is_plain(name) or name != plain(name):
        raise UserError(f"{url} lists {plain(name)!r}, which is no plain file name; rename it")
    return name


def _facts(system, name: str, entry: dict, url: str) -> RemoteFile:
    if entry.get("size") is None:
        entry = {**system.info(entry["name"]), "name": entry["name"]}
    size, mark = entry.get("size"), next((f"{key} {entry[key]}" for key in _MARKS if entry.get(key) is not None), "")
    return RemoteFile(name, entry["name"], int(size) if size is not None else None, mark)
