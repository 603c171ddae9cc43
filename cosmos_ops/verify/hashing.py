"""Hashing files against what was recorded of them, on several threads, and keeping what was found."""

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_ops.hashing import file_sha256
from cosmos_ops.lake import Lake
from cosmos_ops.progress import Progress

_THREADS = 4


@dataclass(frozen=True)
class Damage:
    """One file or folder that is not what it should be."""

    path: str
    what: str
    """One phrase: damaged, missing or extra, and against what."""
    remedy: str
    clips: tuple[str, ...] = ()
    """Of a damaged shard: the clips that are."""


class Checking:
    """One pass over a lake. `hashes` keeps what each file was found to be."""

    def __init__(self, lake: Lake, roots: list[Path], progress: Progress, found: Callable[[Damage], None]):
        self.lake = lake
        self.checked, self.checked_bytes = 0, 0
        self.damaged: list[Damage] = []
        self.unfinished: list[str] = []
        self.busy: list[str] = []
        self.hashes: dict[Path, str | None] = {}
        self._progress, self._found = progress, found
        self._total = sum(_visible(root) for root in roots)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="verify")

    def __enter__(self) -> "Checking":
        return self

    def __exit__(self, *failure) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        if failure[0] is None:
            self._progress(self.checked, self.checked, "files checked")

    def report(self, path: Path, what: str, remedy: str, clips: tuple[str, ...] = ()) -> None:
        self.report_at(self.name(path), what, remedy, clips)

    def report_at(self, where: str, what: str, remedy: str, clips: tuple[str, ...] = ()) -> None:
        """The same for what is no file of this machine."""
        damage = Damage(where, what, remedy, clips)
        self.damaged.append(damage)
        self._found(damage)

    def name(self, path: Path) -> str:
        """How a path is called in a finding."""
        return path.relative_to(self.lake.root).as_posix() if path.is_relative_to(self.lake.root) else str(path)

    def files(self, expected: Mapping[Path, str], remedy: Callable[[Path], str], explain: Callable[[Path], tuple[str, tuple[str, ...]]] | None = None) -> None:
        """Hash files and report those that are missing or differ; `explain` adds a phrase and the clips concerned."""
        for path, sha256 in zip(expected, self._pool.map(_hash, expected), strict=True):
            self.hashes[path] = sha256
            self._count(path)
            if sha256 != expected[path]:
                unread = "cannot be read" if path.exists() else "missing"
                what = unread if sha256 is None else "damaged: its content differs from its hash"
                told, clips = explain(path) if explain else ("", ())
                self.report(path, what + told, remedy(path), clips)

    def parsed(self, path: Path, remedy: str) -> Any:
        """A JSON file's content; None, and a finding, where it is damaged."""
        self._count(path)
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            self.report(path, f"damaged: not readable as JSON ({' '.join(str(error).split())})", remedy)
            return None

    def is_busy(self, folder: Path) -> bool:
        """True, and noted, when a process holds the folder's lock. Looking takes no lock that another would wait for longer than an instant."""
        try:
            with open(folder.parent / f".{folder.name}.lock") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            self.busy.append(self.name(folder))
            return True
        return False

    def expect(self, more: int) -> None:
        """So many more will be counted."""
        self._total += more

    def count(self, where: str, size_bytes: int) -> None:
        self.checked += 1
        self.checked_bytes += size_bytes
        self._progress(self.checked, max(self._total, self.checked + 1), where)

    def _count(self, path: Path) -> None:
        self.count(self.name(path), path.stat().st_size if path.is_file() else 0)


def _hash(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None


def _visible(root: Path) -> int:
    """How many files lie below `root`, hidden ones and folders left out."""
    count = 0
    for _, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        count += sum(not name.startswith(".") for name in names)
    return count
