"""Which bags lie in a drop: folders that ROS 2 wrote, and single files. One bag is one episode."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import yaml

from cosmos_ops.logs.bags.storage import SUFFIXES, plain_name, plain_schema, sniff
from cosmos_ops.logs.base import Problem
from cosmos_ops.logs.mapping import is_plain_yaml
from cosmos_ops.logs.paths import LeadsOut, inside
from cosmos_ops.logs.spelling import natural

METADATA = "metadata.yaml"
_TOP_KEY = "rosbag2_bagfile_information"
_MOST_METADATA_BYTES = 2**22
_METADATA_DEPTH = 12
_DEPTH = 4
_PACKED = (".zstd", ".zst", ".gz")


@dataclass(frozen=True)
class Bag:
    """One recording. A large one is split over several files, in order."""

    name: str
    """Path of its folder or file, relative to the drop."""
    files: tuple[tuple[str, Path], ...]
    """(path relative to the drop, path) of each file of messages."""
    packed_messages: bool = False
    """True where each message is packed with zstd by itself (`compression_mode: message`)."""
    messages: int | None = None
    """How many the metadata declare."""
    declared: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Topic -> (type, messages) as the metadata declare them."""
    facts: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def holds_bags(root: Path) -> bool:
    """True where `root` is a file of messages or a folder with at least one; reads names and, for a file, its first bytes."""
    if root.is_file():
        return root.name.endswith(SUFFIXES) or sniff(root) in ("mcap", "rosbag1")
    return next(_places(root), None) is not None


def find_bags(root: Path) -> list[Bag]:
    """Every bag of a drop in the natural order of their names."""
    if root.is_file():
        return [Bag(root.name, ((root.name, root),))]
    places = sorted(_places(root), key=natural)
    return [_bag(root, place) for place in places]


def _places(root: Path) -> Iterator[str]:
    """Relative paths of bag folders and of single files outside of them; `.` where the drop itself is a bag."""
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and len(here.parts) < _DEPTH)
        if METADATA in names and _is_metadata(root, here / METADATA):
            folders[:] = []
            yield here.as_posix()
            continue
        bags = [name for name in sorted(names) if not name.startswith(".") and name.endswith(SUFFIXES)]
        yield from ((here / name).as_posix() for name in bags if os.path.isfile(os.path.join(folder, name)))  # never a pipe or a device


def _is_metadata(root: Path, relative: Path) -> bool:
    try:
        path = inside(root, relative.as_posix())
    except LeadsOut:
        return False
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return _TOP_KEY.encode() in file.read(4096)


def _bag(root: Path, place: str) -> Bag:
    if place != "." and not (root / place).is_dir():
        return _with_files(root, Bag(place, ()), [place])
    folder = PurePosixPath(place)
    try:
        bag, paths = _described(root / place / METADATA, place)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError) as error:
        told = f"{METADATA} cannot be read ({' '.join(str(error).split())[:200] or type(error).__name__}); every file of the bag's folder is read"
        bag = Bag(place, (), problems=(Problem("damaged_metadata", told, fatal=False),))
        paths = sorted((path.name for path in (root / place).iterdir() if path.name.endswith(SUFFIXES)), key=natural)
    # Old recorders wrote the path from where they stood, so only the name counts; the files lie beside the metadata.
    return _with_files(root, bag, [(folder / PurePosixPath(path).name).as_posix() for path in paths])


def _described(path: Path, place: str) -> tuple[Bag, list[str]]:
    """A bag without its files, and their paths, as `metadata.yaml` has them."""
    if path.stat().st_size > _MOST_METADATA_BYTES:
        raise ValueError("it is too large")
    text = path.read_text()
    if not is_plain_yaml(text, _METADATA_DEPTH):
        raise ValueError("it holds an alias (*name), or lists in lists in lists")
    described = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))[_TOP_KEY]
    paths = described["relative_file_paths"]
    if not isinstance(paths, list):
        raise ValueError("relative_file_paths is no list")
    mode, packing = str(described.get("compression_mode") or "").lower(), str(described.get("compression_format") or "").lower()
    facts = {str(key).lower(): str(value) for key, value in (described.get("custom_data") or {}).items()}
    declared = {}
    for entry in described.get("topics_with_message_count") or []:
        topic = entry["topic_metadata"]
        declared[plain_name(str(topic["name"]))] = (plain_schema(str(topic["type"])), int(entry["message_count"]))
    count = described.get("message_count")
    bag = Bag(place, (), mode == "message" and packing == "zstd", count if isinstance(count, int) else None, declared, facts)
    return bag, [str(path) for path in paths]


def _with_files(root: Path, bag: Bag, names: list[str]) -> Bag:
    """The bag with those of its files that are there; what is not is a problem."""
    files, problems = [], list(bag.problems)
    for name in names:
        packed = next((name + ending for ending in ("", *_PACKED) if (root / (name + ending)).exists()), None)
        try:
            path = inside(root, name)
        except LeadsOut as error:
            problems.append(Problem("unreadable", str(error)))
            continue
        if packed is None:
            problems.append(Problem("missing_file", f"{plain_name(name)} does not exist, so a part of the bag is missing", fatal=False))
        elif packed.endswith(_PACKED):
            problems.append(Problem("unsupported_compression", f"{plain_name(packed)} is packed as a whole; unpack it (zstd -d) or convert the bag"))
        else:
            files.append((name, path))
    if not files and not any(problem.fatal for problem in problems):
        problems.append(Problem("missing_file", "the bag has no file of messages"))
    return replace(bag, files=tuple(files), problems=tuple(problems))
