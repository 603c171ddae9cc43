"""HDF5 files as input from outside: nothing in one leads to another file, and nothing in one makes us read without bound.

Only hard links are followed. Soft, external and user-defined links, virtual datasets and datasets whose bytes lie in other files are refused.
h5py is imported when a file is opened.
"""

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cosmos_ops.errors import UserError
from cosmos_ops.logs.hdf5.guard import GuardedFile
from cosmos_ops.logs.mapping import usable_rate
from cosmos_ops.logs.paths import LeadsOut, inside
from cosmos_ops.logs.spelling import natural, plain
from cosmos_ops.video.frames import UnreadableVideo

if TYPE_CHECKING:
    import h5py

MISSING = "not installed; pip install h5py"
SUFFIXES = (".hdf5", ".h5", ".hdf")
SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_CHUNK_BYTES = 128 << 20
"""A chunk is unpacked whole, however little of it is wanted."""
_MOST_VALUE_BYTES = 1 << 20
_NAMES = ("utf-8", "surrogateescape")
# What h5py raises on damaged files, besides OSError: no such object, an unknown type or filter, a size that does not fit, a text that is none.
_FAULTS = (OSError, LookupError, RuntimeError, ValueError, TypeError, ArithmeticError, MemoryError)


class Unreadable(UnreadableVideo):
    """A file, or a part of it, that cannot be read; the message says what and why in one line of plain text, whatever names the file holds."""

    def __init__(self, message: str):
        super().__init__(plain(message))


def hdf5_files(root: Path) -> list[Path]:
    """The HDF5 files of a drop: itself, or those that lie in its folder (not below), in natural order (2 before 10)."""
    if root.is_file():
        return [root] if root.suffix.lower() in SUFFIXES or _signed(root) else []
    if not root.is_dir():
        return []
    named = (path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file())
    return sorted(named, key=lambda path: natural(path.name))


def nested_files(root: Path) -> list[Path]:
    """HDF5 files further down in a drop's folder."""
    below = root.glob("*/**/*") if root.is_dir() else ()
    return sorted(path for path in below if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.relative_to(root).parts))


def installed() -> bool:
    """Whether h5py is there."""
    try:
        import h5py  # noqa: F401
    except ImportError:
        return False
    return True


@contextlib.contextmanager
def opened(root: Path, name: str) -> Iterator["h5py.File"]:
    """A drop's file, open for reading; `root` is the drop's folder or the file itself.

    Everything that HDF5 finds wrong in the block, a file that is none, and a link that leads out of the drop are raised as `Unreadable`. Raises
    `UserError` without h5py.
    """
    if not installed():
        raise UserError(f"{root} is HDF5, which is read with h5py: {MISSING}")
    import h5py

    with reading(name), GuardedFile(inside(root, name) if root.is_dir() else root) as content, h5py.File(content, "r") as file:
        yield file


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns all that HDF5 finds wrong in the block into `Unreadable`, which names `what` was read."""
    try:
        yield
    except (LeadsOut, *_FAULTS) as error:
        raise Unreadable(f"{what}: {_reason(error)}") from None


def find(start: "h5py.Group", path: str) -> "h5py.Group | h5py.Dataset | None":
    """The object at `path` below `start`, None where there is none. Raises `Unreadable` where the way there is a link."""
    import h5py

    here = start
    for part in filter(None, path.encode(*_NAMES).split(b"/")):
        # By identifier: `Group.get` refuses names that are not UTF-8.
        if not isinstance(here, h5py.Group) or part == b"." or not here.id.links.exists(part):
            return None
        if here.id.links.get_info(part).type != h5py.h5l.TYPE_HARD:
            raise Unreadable(f"{path} is a link inside the HDF5 file; links are not followed, copy what it points at into the file (h5copy -f soft,ext)")
        here = here[part]
    return here


def find_dataset(start: "h5py.Group", path: str) -> "h5py.Dataset | None":
    """As `find`, for a dataset whose bytes lie in this very file. Raises `Unreadable` for anything else that lies there."""
    import h5py

    found = find(start, path)
    if found is None:
        return None
    if not isinstance(found, h5py.Dataset):
        raise Unreadable(f"{path} is not a dataset")
    if found.is_virtual or found.external:
        raise Unreadable(f"{path} keeps its bytes in other files, which are not followed; write them into this file")
    if found.chunks and math.prod(found.chunks) * found.dtype.itemsize > MOST_CHUNK_BYTES:
        raise Unreadable(f"{path} is stored in chunks of shape {found.chunks}, too large to unpack; rewrite it with one row a chunk (h5repack -l)")
    return found


def find_group(start: "h5py.Group", path: str) -> "h5py.Group | None":
    """As `find`, None for what is no group."""
    import h5py

    found = find(start, path)
    return found if isinstance(found, h5py.Group) else None


def children(group: "h5py.Group | None") -> list[str]:
    """Names in a group, links among them, in natural order."""
    names = (name.decode(*_NAMES) if isinstance(name, bytes) else name for name in group or ())
    return sorted(names, key=natural)


def scalar(dataset: "h5py.Dataset | None") -> str | float | bool | None:
    """A dataset's single value, None where it is absent, has none, or is larger than any text or number that is said."""
    return _plain(dataset[()]) if dataset is not None and dataset.size == 1 and dataset.nbytes <= _MOST_VALUE_BYTES else None


def attribute(owner, name: str) -> str | float | bool | None:
    """An attribute's single value, None where it is absent or no plain value."""
    if name not in owner.attrs or owner.attrs.get_id(name).get_storage_size() > _MOST_VALUE_BYTES:
        return None
    return _plain(owner.attrs[name])


def text_attribute(owner, *names: str) -> str | None:
    """The first of these attributes that holds a text."""
    found = (attribute(owner, name) for name in names)
    return next((value.strip() for value in found if isinstance(value, str) and value.strip()), None)


def rate_attribute(owner, name: str) -> float | None:
    """An attribute that holds a usable number of frames a second."""
    return usable_rate(attribute(owner, name))


def _plain(value) -> str | float | bool | None:
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size == 1 else None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # h5py decodes what is no text to lone surrogates
    return value if isinstance(value, (bool, int, float)) else None


def _reason(error: Exception) -> str:
    """h5py puts the cause in brackets after what it was about to do."""
    told = " ".join(str(error).split())
    short = re.search(r"truncated file: eof = (\d+),.*stored_eof = (\d+)", told)
    if short:
        return f"the file is cut short, {short[1]} of {short[2]} bytes are there"
    if "signature not found" in told:
        return "it is no HDF5 file, or its beginning is damaged"
    inner = re.search(r"\((.+)\)", told)
    return (inner.group(1) if inner else told)[:200] or type(error).__name__


def _signed(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(len(SIGNATURE)) == SIGNATURE
