"""Which dataset lies in a drop: the folder of one version of it, its TFRecord files and what its metadata say."""

import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.logs.bounded_json import parse_json
from cosmos_ops.logs.paths import LeadsOut, inside
from cosmos_ops.logs.rlds.features import Leaf, read_leaves
from cosmos_ops.logs.spelling import natural, plain

FEATURES, INFO = "features.json", "dataset_info.json"
_TFRECORD = re.compile(r"\.tfrecords?(-\d{1,9}-of-\d{1,9})?$")
_SHARD = re.compile(r"-(?P<split>[^-/]+)\.tfrecords?-(?P<shard>\d{1,9})-of-(?P<shards>\d{1,9})$")
_OTHERS = re.compile(r"\.(array_record|riegeli|sstable)[^/]*$")
_DEPTH = 3
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Dataset:
    """One version of a dataset on disk."""

    root: Path
    """The drop's folder."""
    folder: str
    """The version's, relative to `root`; `.` where they are the same."""
    files: tuple[str, ...]
    """TFRecord files, relative to `root`, in natural order."""
    info: dict[str, Any]
    """`dataset_info.json`, empty where there is none."""
    leaves: dict[str, dict[str, Leaf]]

    @property
    def version(self) -> str:
        stated = self.info.get("version")
        return plain(stated) if isinstance(stated, str) and stated else "unversioned"

    @cached_property
    def splits(self) -> dict[str, list[int]]:
        """Split -> how many episodes each of its files should have."""
        named = {}
        for split in self.info.get("splits") if isinstance(self.info.get("splits"), list) else []:
            lengths = split.get("shardLengths") if isinstance(split, dict) else None
            if isinstance(lengths, list) and isinstance(split.get("name"), str) and all(str(length).isdecimal() for length in lengths):
                named[plain(split["name"])] = [int(str(length)[:12]) for length in lengths]
        return named

    def declared(self) -> int | None:
        """Episodes that the metadata declare, None where they do not say."""
        return sum(map(sum, self.splits.values())) if self.splits else None

    def declared_in(self, file: str) -> int | None:
        """Episodes that the metadata declare for one file."""
        name = _SHARD.search(file)
        lengths = self.splits.get(name["split"], []) if name else []
        return lengths[int(name["shard"])] if name and int(name["shard"]) < len(lengths) else None

    def missing(self) -> list[str]:
        """`split: how many of its files`, for every split that is not whole."""
        there: Counter[str] = Counter()
        should = {split: len(lengths) for split, lengths in self.splits.items()}
        for name in filter(None, map(_SHARD.search, self.files)):
            there[plain(name["split"])] += 1
            should.setdefault(plain(name["split"]), int(name["shards"]))
        return [f"{split} {count - there[split]} of {count}" for split, count in should.items() if there[split] < count]


def holds_tfrecords(root: Path) -> bool:
    """Whether `root` is a TFRecord file, or has one at most a few folders down; names only."""
    if root.is_file():
        return bool(_TFRECORD.search(root.name))
    return next(_folders(root, _TFRECORD), None) is not None


def why_no_tfrecords(root: Path) -> str | None:
    """One line where the dataset is in another of TFDS' file formats."""
    folder = next(_folders(root, _OTHERS), None) if root.is_dir() else None
    if folder is None:
        return None
    return f"{root} holds TFDS files that are no TFRecords (in {folder}); convert them (tfds convert_format --out_file_format=tfrecord)"


def find_dataset(root: Path) -> Dataset:
    """The one dataset below `root`. Raises `UserError` for a single file, for several datasets, and for metadata that are absent or damaged."""
    if not root.is_dir():
        raise UserError(f"{root} is one file of a TFRecord dataset; give the folder that holds it, {FEATURES} and {INFO}")
    folders = sorted(_folders(root, _TFRECORD), key=natural)
    if len(folders) > 1:
        told = ", ".join(plain(folder) for folder in folders[:3])
        raise UserError(f"{root} holds {len(folders)} datasets ({told}{', ...' if len(folders) > 3 else ''}); give the folder of one version of one of them")
    (folder,) = folders
    here = root / folder
    described = _read_json(root, folder, FEATURES)
    if described is None:
        raise UserError(f"{plain(str(here))} holds TFRecords without {FEATURES}, so what is in them is not known; get the dataset again with TFDS' metadata")
    try:
        leaves = read_leaves(described)
    except ValueError as error:
        raise UserError(f"{plain(str(here / FEATURES))}: {error}; RLDS datasets of TFDS are read") from None
    names = sorted((path.name for path in here.iterdir() if _is_record(path.name)), key=natural)
    files = tuple((Path(folder) / name).as_posix() for name in names)
    info = _read_json(root, folder, INFO)
    return Dataset(root, folder, files, info if isinstance(info, dict) else {}, leaves)


def _is_record(name: str) -> bool:
    return not name.startswith(".") and bool(_TFRECORD.search(name))


def _folders(root: Path, pattern: re.Pattern):
    """Folders, relative to `root`, with a file whose name is like `pattern`."""
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and len(here.parts) < _DEPTH)
        if any(not name.startswith(".") and pattern.search(name) for name in names):
            yield here.as_posix()


def _read_json(root: Path, folder: str, name: str) -> Any:
    """A JSON file of the dataset, None where it is absent. Raises `UserError`."""
    relative = (Path(folder) / name).as_posix()
    where = plain(str(root / relative))
    try:
        path = inside(root, relative)
        if not path.is_file():
            return None
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB")
        return parse_json(path.read_bytes())
    except LeadsOut as error:
        raise UserError(f"{error}; a drop holds its own files, copy them in (cp -rL)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{where} cannot be read ({' '.join(str(error).split())[:120]}); get the dataset again") from None
