"""Which folder is a working copy, and of what: a small file in its root tells, as `.git/config` tells a remote.

Light: every reader of the lake asks here, and a lake without an upstream must not pay for the question.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from cosmos_ops.errors import UserError

UPSTREAM = ".upstream.json"
ARTIFACTS = "mlflow"
"""Upstream, beside the lake's own folders: MLflow's artifacts. No part of the working copy."""
_HERE_ONLY = ("models", "landing", "staging")
"""Places of the lake that each machine has for itself: what is built or loaded again, and what is not in yet."""
_NOT_DATA = (*_HERE_ONLY, ARTIFACTS, UPSTREAM)

_roots: dict[str, str | None] = {}
"""Root of a lake -> URL of its upstream, None without one. Filled as lakes are opened."""
_plain: tuple[str, ...] = ()
"""Beginnings of paths in lakes that have none, while this process has seen no other: what nearly every path is told by, at once."""


@dataclass(frozen=True)
class Place:
    """Where a path of a working copy lies upstream."""

    url: str
    name: str
    """Relative to the URL, with `/`."""

    def __truediv__(self, name: str) -> "Place":
        return Place(self.url, f"{self.name}/{name}" if self.name else name)

    def __str__(self) -> str:
        return f"{self.url}/{self.name}"


def attach(root: Path | str, url: str) -> None:
    """Make `root` a working copy of the lake at `url`. Safe to call again.

    Raises `UserError` for a URL with a password in it, and for a folder that holds another lake: its data would be taken for the upstream's.
    """
    root, url = os.path.abspath(root), url.rstrip("/")
    if _roots.get(root) == url:
        return
    if "@" in urlsplit(url).netloc or not urlsplit(url).netloc + urlsplit(url).path.strip("/"):
        raise UserError("a lake's URL is protocol://bucket/prefix without a name or password in it; credentials come from the store's own variables")
    if url.startswith(("file:", "local:")):
        raise UserError(f"{url} is on this machine; give its path")
    found = _read(root)
    if found is None:
        held = [name for name in _names(root) if not name.startswith(".") and name not in _NOT_DATA]
        if held:
            raise UserError(
                f"{root} holds a lake of its own ({', '.join(held[:3])}); copy it to {url} and remove it here, or set COSMOS_HOME to another folder"
            )
        try:
            os.makedirs(root, exist_ok=True)
            part = os.path.join(root, f"{UPSTREAM}.{os.getpid()}")
            with open(part, "w") as stream:
                json.dump({"url": url}, stream)
            os.replace(part, os.path.join(root, UPSTREAM))
        except OSError as error:
            raise UserError(f"{root} cannot be written ({error.strerror}), the working copy of {url}; set COSMOS_HOME to a folder that can") from None
    elif found != url:
        raise UserError(f"{root} is the working copy of {found}, not of {url}; set COSMOS_HOME to another folder, or remove {root} when all of it is there")
    _note(root, url)


def known_root(root: Path | str) -> None:
    """Note a lake's root, so that its paths are told without a look at the disk."""
    root = os.path.abspath(root)
    if root not in _roots:
        _note(root, _read(root))


def located(path: Path | str) -> Place | None:
    """Where a path lies upstream; None for lakes without one, for places that each machine has for itself, and for work in progress."""
    path = os.fspath(path)
    if path.startswith(_plain):
        return None
    path = os.path.abspath(path)
    folder = path
    while folder not in _roots:
        above = os.path.dirname(folder)
        if above == folder:
            return _searched(path)
        folder = above
    return _below(path, folder, _roots[folder])


def _note(root: str, url: str | None) -> None:
    global _plain
    _roots[root] = url
    _plain = () if any(_roots.values()) else (*_plain, os.path.join(root, ""))


def _searched(path: str) -> Place | None:
    """The same for a path of a lake that nobody opened in this process."""
    folder = path
    while (above := os.path.dirname(folder)) != folder:
        if os.path.exists(os.path.join(folder, UPSTREAM)):
            known_root(folder)
            return located(path)
        folder = above
    return None


def _below(path: str, root: str, url: str | None) -> Place | None:
    if url is None:
        return None
    name = PurePosixPath(os.path.relpath(path, root))
    if name.parts[:1] and (name.parts[0] in _NOT_DATA or any(".tmp-" in part or ".part-" in part for part in name.parts)):
        return None
    return Place(url, "" if str(name) == "." else str(name))


def _read(root: str) -> str | None:
    path = os.path.join(root, UPSTREAM)
    try:
        with open(path) as stream:
            return str(json.load(stream)["url"]).rstrip("/")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} does not tell a URL ({error}); remove it, COSMOS_LAKE writes it again") from None


def _names(root: str) -> list[str]:
    try:
        return sorted(os.listdir(root))
    except FileNotFoundError:
        return []
