"""What lies in a drop's folder, file by file, and one hash over it."""

import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest, file_sha256
from cosmos_ops.logs.mapping import mapping_path

_HASH_THREADS = 4

Files = dict[str, tuple[int, int, str]]
"""Relative path -> (size in bytes, modification time in ns, SHA-256)."""


def scan(source: Path, known: Mapping[str, tuple[int, int, str]] | None = None) -> Files:
    """Every visible file of a drop, or the one file that the drop is and its mapping beside it, sorted by path.

    A file whose size and modification time are those in `known` keeps its hash; the others are read. Names that begin with a dot are no part
    of a drop. Raises `UserError` for links that lead out, linked folders, pipes and devices, and for what cannot be read.
    """
    known = known or {}
    try:
        places = _single(source) if source.is_file() else dict(sorted(_walk(source)))
        facts = {name: _regular(source, path) for name, path in places.items()}
        kept = {name: known[name][2] for name, fact in facts.items() if name in known and (known[name][0], known[name][1]) == fact}
        fresh = [name for name in places if name not in kept]
        with ThreadPoolExecutor(_HASH_THREADS) as pool:
            hashes = dict(zip(fresh, pool.map(lambda name: file_sha256(places[name]), fresh), strict=True))
    except OSError as error:
        raise UserError(f"{error.filename or source} cannot be read ({error.strerror or error}); make the drop readable and whole, then try again") from None
    if not facts:
        raise UserError(f"{source} holds no file; give the path of a log folder or file")
    return {name: (size, mtime_ns, kept.get(name) or hashes[name]) for name, (size, mtime_ns) in facts.items()}


def fingerprint(files: Files) -> str:
    """32 hex digits over names, sizes and contents: equal drops have equal fingerprints wherever and whenever they were written."""
    return digest([[name, size, sha256] for name, (size, _, sha256) in sorted(files.items())], 32)


def difference(before: Files, after: Files) -> str | None:
    """One phrase on what changed between two scans, None when nothing did."""
    removed, added = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    changed = sorted(name for name in before.keys() & after.keys() if (before[name][0], before[name][2]) != (after[name][0], after[name][2]))
    parts = [(names, verb) for names, verb in ((changed, "changed"), (added, "added"), (removed, "removed")) if names]
    return ", ".join(f"{len(names)} file{'s' if len(names) > 1 else ''} {verb} (first {names[0]})" for names, verb in parts) or None


def _single(source: Path) -> dict[str, Path]:
    mapping = mapping_path(source)
    return {path.name: path for path in sorted((source, mapping)) if path == source or path.exists()}


def _walk(root: Path):
    def refuse(error: OSError):
        raise error

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                raise UserError(f"{os.path.join(folder, name)} is a link to a folder; a drop holds its own files, copy them in (cp -rL)")
        for name in names:
            if not name.startswith("."):
                path = Path(folder, name)
                yield path.relative_to(root).as_posix(), path


def _regular(source: Path, path: Path) -> tuple[int, int]:
    """(size, modification time) of a regular file that lies in the drop."""
    if path.is_symlink() and path != source and not path.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{path} is a link that leads out of the drop; a drop holds its own files, copy them in (cp -rL)")
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise UserError(f"{path} is not a regular file; a drop holds only files and folders")
    return facts.st_size, facts.st_mtime_ns
