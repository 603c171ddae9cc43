"""Which episodes lie in the HDF5 files of a drop, and what is said of each; nothing of their series is read."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cosmos_ops.logs.base import Problem
from cosmos_ops.logs.hdf5.files import MISSING, Unreadable, find_group, hdf5_files, installed, nested_files, opened, reading
from cosmos_ops.logs.spelling import plain

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class EpisodeFacts:
    """What a file says of an episode besides its series; None where it does not."""

    robot: str | None = None
    task: str | None = None
    fps: float | None = None
    outcome: str | None = None
    version: str | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Entry:
    """Where one episode lies and what is said of it, or why none can be read there."""

    index: int
    file: str
    """Name in the drop's folder."""
    group: str = "/"
    facts: EpisodeFacts = EpisodeFacts()
    cameras: tuple[tuple[str, str], ...] = ()
    """(dataset below the group, camera name)."""
    problem: Problem | None = None


class Layout(Protocol):
    """How one format arranges episodes in an HDF5 file."""

    format: str
    layout: str
    """What such a file holds, for people."""

    @classmethod
    def holds(cls, file: "h5py.File") -> bool:
        """Whether a file is of this layout."""
        ...

    def groups(self, file: "h5py.File") -> list[str]:
        """Where in a file its episodes lie."""
        ...

    def facts(self, group: "h5py.Group") -> EpisodeFacts:
        """What is said of the episode in a group."""
        ...

    def cameras(self, group: "h5py.Group") -> dict[str, str]:
        """Dataset below an episode's group -> camera name."""
        ...


def layout_at(root: Path, known: Iterable[type[Layout]]) -> type[Layout] | None:
    """The layout of the first file of a drop that has a known one."""
    for path in hdf5_files(root):
        try:
            with opened(root, path.name) as file:
                found = next((layout for layout in known if layout.holds(file)), None)
        except Unreadable:
            continue
        if found:
            return found
    return None


def why_no_layout(root: Path, known: Iterable[type[Layout]]) -> str | None:
    """One line on why the HDF5 files at `root` are in no layout that is read; None where there are none."""
    files = hdf5_files(root)
    if not files:
        nested = nested_files(root)
        return f"{root} holds HDF5 files only further down (first {nested[0].relative_to(root)}); give the path of one folder of them" if nested else None
    if not installed():
        return f"{root} is HDF5, which is read with h5py: {MISSING}"
    try:
        with opened(root, files[0].name):
            return f"{files[0]} is HDF5 in no known layout; known are {'; '.join(f'{layout.format} ({layout.layout})' for layout in known)}"
    except Unreadable as error:
        return f"{root} cannot be read as HDF5 ({error}); get it again"


def find_entries(root: Path, layout: Layout) -> tuple[Entry, ...]:
    """One entry an episode, in index order; a file in which none can be found is one entry with its problem.

    An episode's index is the number at the end of its file's or group's name where all have one of their own, else its place.
    """
    found: list[Entry] = []
    for path in hdf5_files(root):
        try:
            with opened(root, path.name) as file:
                found += _in_file(path.name, file, layout)
        except Unreadable as error:
            found.append(Entry(0, path.name, problem=Problem("unreadable_file", str(error))))
    numbers = [re.search(r"(\d{1,9})$", Path(entry.file).stem if entry.group == "/" else entry.group) for entry in found]
    indices = [int(number[1]) if number else -1 for number in numbers]
    if -1 in indices or len(set(indices)) < len(indices):
        indices = list(range(len(found)))
    return tuple(sorted((replace(entry, index=index) for index, entry in zip(indices, found, strict=True)), key=lambda entry: entry.index))


def usual(entries: Iterable[Entry]) -> tuple[dict[str, str], float | None]:
    """The cameras, as dataset -> name, that most episodes of a drop have, and the rate that most of them state; None where no rate is."""
    whole = [entry for entry in entries if entry.problem is None]
    cameras = Counter(camera for entry in whole for camera in entry.cameras)
    rates = Counter(entry.facts.fps for entry in whole if entry.facts.fps)
    rate = next((fps for fps, count in rates.items() if 2 * count > len(whole)), None)
    return {source: name for (source, name), count in cameras.items() if 2 * count > len(whole)}, rate


def _in_file(name: str, file: "h5py.File", layout: Layout) -> list[Entry]:
    if not layout.holds(file):
        return [Entry(0, name, problem=Problem("unknown_layout", plain(f"{name} is not in the layout of the other files: {layout.layout}")))]
    made = []
    for path in layout.groups(file):
        try:
            with reading(f"{name}: {path}"):
                group = find_group(file, path)
                if group is None:
                    raise Unreadable(f"{name}: {path} is no group")
                made.append(Entry(0, name, path, layout.facts(group), tuple(layout.cameras(group).items())))
        except Unreadable as error:
            made.append(Entry(0, name, path, problem=Problem("unreadable_file", str(error))))
    return made
