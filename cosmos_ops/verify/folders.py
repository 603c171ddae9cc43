"""A finished folder against its manifest: every listed file hashed, every other one named."""

from collections.abc import Callable
from pathlib import Path

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.lake import MANIFEST, MANIFEST_HASH, Manifest, read_manifest
from cosmos_ops.logs.paths import LeadsOut, inside
from cosmos_ops.verify.hashing import Checking

EXTRA = "extra: its folder's manifest does not list it"


def check_folder(
    checking: Checking,
    folder: Path,
    remedy: str,
    explain: Callable[[Path], tuple[str, tuple[str, ...]]] | None = None,
    was_finished: bool = True,
) -> Manifest | None:
    """Check a folder that a manifest describes; returns the manifest where it is sound.

    A folder without one is damaged, unless it holds resumable work and nothing shows that it `was_finished`.
    """
    if checking.is_busy(folder):
        return None
    path = folder / MANIFEST
    if not path.exists():
        if (folder / ".key").exists() and not was_finished:
            checking.unfinished.append(checking.name(folder))
        else:
            checking.report(path, "missing: nothing says what its folder should hold", remedy)
        return None
    stored = checking.parsed(path, remedy)
    if stored is None:
        return None
    if isinstance(stored, dict) and stored.pop(MANIFEST_HASH, None) not in (None, digest(stored, 64)):
        checking.report(path, "damaged: its content differs from its hash", remedy)
        return None
    try:
        manifest = read_manifest(folder)
        expected = {inside(folder, name): sha256 for name, sha256 in manifest.files.items()}
    except (UserError, TypeError, AttributeError, LeadsOut) as error:
        checking.report(path, f"damaged: it is no manifest ({' '.join(str(error).split())})", remedy)
        return None
    checking.files(expected, lambda _: remedy, explain)
    for extra in sorted(visible_files(folder) - expected.keys() - {path}):
        checking.report(extra, EXTRA, f"remove {extra} or move it out of the lake: nothing reads it")
    return manifest


def visible_files(folder: Path) -> set[Path]:
    """Files below `folder` of which no part of the path begins with a dot."""
    return {path for path in folder.rglob("*") if not path.is_dir() and not any(part.startswith(".") for part in path.relative_to(folder).parts)}
