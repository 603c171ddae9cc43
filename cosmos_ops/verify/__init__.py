"""Is everything in the lake what it was when it was written? Every file is hashed again; nothing is written, locked or repaired."""

from collections.abc import Callable
from dataclasses import dataclass

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.progress import Progress, silent
from cosmos_ops.store.place import Place, located
from cosmos_ops.verify.drops import check_drop
from cosmos_ops.verify.hashing import Checking, Damage
from cosmos_ops.verify.products import check_products
from cosmos_ops.verify.upstream import check_copy, check_upstream

__all__ = ["Damage", "Report", "verify_lake"]


@dataclass(frozen=True)
class Report:
    """What was found. Paths are relative to the lake, those of a drop's source absolute."""

    checked: int
    """Files that were hashed or parsed."""
    checked_bytes: int
    damaged: tuple[Damage, ...]
    unfinished: tuple[str, ...]
    """Folders that a killed run left; the same command continues there. No damage."""
    busy: tuple[str, ...]
    """Folders that another process is writing to now; they were left alone."""

    @property
    def ok(self) -> bool:
        return not self.damaged


def verify_lake(
    lake: Lake, drop: str | None = None, fingerprint: str | None = None, progress: Progress = silent, found: Callable[[Damage], None] = lambda damage: None
) -> Report:
    """Hash the lake, or one drop of it with its source, and name each damaged, missing or extra file with its remedy.

    Each finding goes to `found` as it is made. `fingerprint` is the data fingerprint of the profile in use: remedies say so where work was done
    under another. Of a lake with an upstream everything there is read, and then what is here of it. Files are
    read in blocks, so memory does not grow with them. Raises `UserError` where there is no lake or no such drop.
    """
    place = located(lake.root)
    if place is not None:
        return _verify_upstream(lake, place, drop, progress, found)
    if not lake.root.is_dir():
        raise UserError(f"there is no lake at {lake.root}; ingest a drop first, or set COSMOS_LAKE")
    names = sorted(path.name for path in lake.drops.glob("[!.]*") if path.is_dir())
    if drop is not None and drop not in names:
        raise UserError(f"drop {drop!r} is not in the lake; there are {', '.join(names) or 'none'}")
    with Checking(lake, [lake.drop(drop)] if drop else [lake.root], progress, found) as checking:
        for name in [drop] if drop else names:
            check_drop(checking, name, fingerprint)
        if drop is None:
            check_products(checking)
        return Report(checking.checked, checking.checked_bytes, tuple(checking.damaged), tuple(checking.unfinished), tuple(checking.busy))


def _verify_upstream(lake: Lake, place: Place, drop: str | None, progress: Progress, found: Callable[[Damage], None]) -> Report:
    names = lake.drop_names()
    if drop is not None and drop not in names:
        raise UserError(f"drop {drop!r} is not in the lake; there are {', '.join(names) or 'none'}")
    here = lake.drop(drop) if drop else lake.root
    with Checking(lake, [], progress, found) as checking:
        check_upstream(checking, place, drop)
        check_copy(checking, here)
        return Report(checking.checked, checking.checked_bytes, tuple(checking.damaged), tuple(checking.unfinished), tuple(checking.busy))
