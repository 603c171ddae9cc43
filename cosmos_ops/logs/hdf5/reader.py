"""What all HDF5 log formats share; a format's own file says where its episodes, series and cameras lie.

The episode's clock counts rows: row i of telemetry and row i of a camera are at i / fps. These formats record no clock of their own.
"""

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cosmos_ops.logs.base import Camera, CameraSample, Episode, LogInfo, Problem, TimedFrame
from cosmos_ops.logs.hdf5.entries import Entry, EpisodeFacts, find_entries, layout_at, usual, why_no_layout
from cosmos_ops.logs.hdf5.files import Unreadable, find_dataset, find_group, installed, nested_files, opened, reading
from cosmos_ops.logs.hdf5.pictures import PictureFacts, Unsupported, picture_facts, pictures
from cosmos_ops.logs.hdf5.series import read_series
from cosmos_ops.logs.licence import find_licence
from cosmos_ops.logs.mapping import NAME, Mapping, read_mapping
from cosmos_ops.logs.picture_rows import rows_at, rows_between
from cosmos_ops.logs.spelling import plain
from cosmos_ops.video.frames import UnreadableVideo

if TYPE_CHECKING:
    import h5py

_MARK = "::"
"""Between file and dataset in a camera's path."""
_STILLS = ("mjpeg", "png")


class HDF5Reader(ABC):
    """See `base.LogReader`. Raises `UserError` for a mapping file that is wrong; a damaged file is an episode with its fatal problem."""

    format: ClassVar[str]
    layout: ClassVar[str]
    default_fps: ClassVar[float]
    _known: ClassVar[list[type["HDF5Reader"]]] = []

    def __init_subclass__(cls):
        HDF5Reader._known.append(cls)

    def __init__(self, root: Path):
        self.root = Path(root)
        self.mapping = read_mapping(self.root)

    # What a format says: the methods of `hdf5.entries.Layout`, and these.

    @classmethod
    @abstractmethod
    def holds(cls, file: "h5py.File") -> bool: ...

    def groups(self, file: "h5py.File") -> list[str]:
        return ["/"]

    @abstractmethod
    def facts(self, group: "h5py.Group") -> EpisodeFacts: ...

    @abstractmethod
    def series(self, group: "h5py.Group") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Datasets below an episode's group that make up state, and those of action, where the mapping names none."""

    def column_names(self, group: "h5py.Group", dataset: str, width: int) -> tuple[str, ...]:
        """Names of the `width` numbers of a dataset that is part of state or action, see `logs.names`."""
        return tuple(f"{dataset}_{place}" for place in range(width))

    @abstractmethod
    def cameras(self, group: "h5py.Group") -> dict[str, str]: ...

    def picture_facts(self, dataset: "h5py.Dataset") -> PictureFacts:
        """Raises `Unreadable`."""
        return picture_facts(dataset)

    def declared(self) -> int:
        """Episodes that the log says it has."""
        return len(self.entries)

    # What a log reader does.

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return installed() and layout_at(root, cls._known) is cls

    @classmethod
    def refusal(cls, root: Path) -> str | None:
        return why_no_layout(root, cls._known)

    def info(self) -> LogInfo:
        facts = [entry.facts for entry in self.entries if entry.problem is None]
        robots = [self.mapping.robot] if self.mapping.robot else sorted({fact.robot for fact in facts if fact.robot})
        version = next((fact.version for fact in facts if fact.version), "unversioned")
        licence = self.mapping.licence or find_licence(self.root, {})
        return LogInfo(self.format, version, "+".join(robots) or None, licence, self.declared(), self._notes(facts, robots))

    def episodes(self) -> Iterator[Episode]:
        return map(self._episode, self.entries)

    def decode(self, episode: Episode, camera: Camera, start_s: float = 0.0, stop_s: float = float("inf"), threads: int = 0) -> Iterator[TimedFrame]:
        return self._frames(camera, rows_between(camera, start_s, stop_s))

    def sample(self, episode: Episode, camera: Camera, times_s: Sequence[float], threads: int = 0) -> CameraSample:
        return CameraSample(camera.frames / camera.fps, self._frames(camera, rows_at(camera, times_s)))

    def guess(self) -> Mapping:
        """What is read, and as what: a mapping to correct and save. Sources are those of the first episode that can be read."""
        whole = [entry for entry in self.entries if entry.problem is None]
        common = {name: _only({getattr(entry.facts, name) for entry in whole}) for name in ("robot", "task")}
        said = {name: value for name, value in vars(self.mapping).items() if value}
        found = Mapping(licence=find_licence(self.root, {}), fps=_only({self._rate(entry.facts) for entry in whole}), **common)
        for entry in whole:
            with contextlib.suppress(Unreadable), self._opened(entry) as group:
                state, action = self.series(group)
                cameras = {source: name for source, name in entry.cameras if source == plain(source)}
                return replace(found, **{"cameras": cameras, "state": state, "action": action} | said)
        return replace(found, **said)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Every episode's place, in index order."""
        return find_entries(self.root, self)

    @cached_property
    def _usual(self) -> tuple[dict[str, str], float | None]:
        return usual(self.entries)

    @contextlib.contextmanager
    def dataset(self, camera: Camera) -> Iterator["h5py.Dataset"]:
        """A camera's dataset, while its file is open. Raises `Unreadable`."""
        name, _, inner = camera.path.rpartition(f"{_MARK}/")
        with opened(self.root, name) as file:
            found = find_dataset(file, inner)
            if found is None:
                raise Unreadable(f"{camera.path} does not exist any more")
            yield found

    def _frames(self, camera: Camera, rows: Sequence[int]) -> Iterator[TimedFrame]:
        with self.dataset(camera) as dataset:
            for row, image in pictures(dataset, rows, self.mapping.swap_red_blue):
                yield TimedFrame(row / camera.fps, image)

    @contextlib.contextmanager
    def _opened(self, entry: Entry) -> Iterator["h5py.Group"]:
        with opened(self.root, entry.file) as file:
            yield find_group(file, entry.group)

    def _episode(self, entry: Entry) -> Episode:
        problem = entry.problem
        if problem is None:
            try:
                with self._opened(entry) as group:
                    return self._read(entry, group)
            except Unreadable as error:
                problem = Problem("unreadable_file", str(error))
        nothing = np.zeros((0, 0), np.float32)
        return Episode(entry.index, 0, self._rate(entry.facts), np.zeros(0), nothing, nothing, (), None, robot=self.mapping.robot, problems=(problem,))

    def _read(self, entry: Entry, group: "h5py.Group") -> Episode:
        facts, fps = entry.facts, self._rate(entry.facts)
        task, problems = self.mapping.task or facts.task, list(facts.problems)
        if facts.fps and self._usual[1] not in (None, facts.fps) and not self.mapping.fps:
            message = f"{facts.fps:g} frames a second are declared, by most episodes {self._usual[1]:g}; say it as `fps` in {NAME} where that is wrong"
            problems.append(Problem("odd_rate", message, fatal=False))
        state, action = self._telemetry(group, problems)
        frames = len(state)
        if not (np.isfinite(state).all() and np.isfinite(action).all()):
            problems.append(Problem("not_finite", "state or action holds values that are not numbers", fatal=False))
        if task is None:
            problems.append(Problem("no_task", f"no task text is recorded; say it as `task` in {NAME}", fatal=False))
        sources = self.mapping.cameras or {**dict(entry.cameras), **self._usual[0]}
        named = [self._camera(entry, group, source, name, frames, problems) for source, name in sources.items()]
        return Episode(
            index=entry.index,
            frames=frames,
            fps=fps,
            timestamps_s=np.arange(frames, dtype=np.float64) / fps,
            state=state,
            action=action,
            cameras=tuple(camera for camera in named if camera),
            task=task,
            outcome=facts.outcome,
            robot=self.mapping.robot or facts.robot,
            problems=tuple(problems),
            # Without rows a source may be broken; then there is nothing to name.
            state_names=self._names(group, self._series(group)[0], state.shape[1]) if frames else (),
            action_names=self._names(group, self._series(group)[1], action.shape[1]) if frames else (),
        )

    def _names(self, group: "h5py.Group", sources: tuple[str, ...], width: int) -> tuple[str, ...]:
        names = []
        for source in sources if width else ():
            shape = find_dataset(group, source).shape
            names += self.column_names(group, source, math.prod(shape[1:]))
        return tuple(names)

    def _telemetry(self, group: "h5py.Group", problems: list[Problem]) -> tuple[np.ndarray, np.ndarray]:
        try:
            return read_series(group, *self._series(group))
        except Unreadable as error:
            problems.append(Problem("broken_telemetry", str(error)))
            return np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)

    def _camera(self, entry: Entry, group: "h5py.Group", source: str, name: str, frames: int, problems: list[Problem]) -> Camera | None:
        path = f"{entry.file}{_MARK}/{f'{entry.group}/{source}'.strip('/')}"
        try:
            if name != plain(name) or path != plain(path):
                raise Unsupported("its name is not plain text")
            with reading(source):
                dataset = find_dataset(group, source)
                facts = self.picture_facts(dataset) if dataset is not None else None
            if facts is None:
                problems.append(Problem("missing_video", f"{source} does not exist", name))
                return None
        except UnreadableVideo as error:
            code = "unsupported_camera" if isinstance(error, Unsupported) else "unreadable"
            problems.append(Problem(code, plain(f"camera {name} cannot be used: {error}"), plain(name)))
            return None
        if facts.frames != frames and frames:
            problems.append(Problem("frame_count", f"telemetry has {frames} rows, the camera {facts.frames} frames", name, fatal=False))
        return Camera(name, path, 0.0, facts.frames, self._rate(entry.facts), facts.height, facts.width, facts.codec)

    def _rate(self, facts: EpisodeFacts) -> float:
        return self.mapping.fps or facts.fps or self.default_fps

    def _series(self, group: "h5py.Group") -> tuple[tuple[str, ...], tuple[str, ...]]:
        state, action = self.series(group)
        return self.mapping.state or state, self.mapping.action or action

    def _notes(self, facts: list[EpisodeFacts], robots: list[str]) -> tuple[Problem, ...]:
        declared, nested = self.declared(), len(nested_files(self.root))
        rate = f"the rate is not recorded, {self.default_fps:g} frames a second are assumed; say it as `fps` in {NAME} where that is wrong"
        colours = f"pictures are compressed and their colours taken to be right; where red looks blue, say `swap_red_blue: true` in {NAME}"
        notes = (
            (declared != len(self.entries), "episode_count", f"{declared} episodes are declared, {len(self.entries)} are there"),
            (nested > 0, "nested_files", f"{nested} HDF5 files further down are not read; ingest each of their folders as a drop"),
            (len(robots) > 1, "mixed_robots", f"the robots are {', '.join(robots)}; say `robot` in {NAME}, or deliver them apart"),
            (self.mapping.fps is None and any(fact.fps is None for fact in facts), "assumed_fps", rate),
            (not self.mapping.swap_red_blue and self._has_stills(), "assumed_colours", colours),
        )
        return tuple(Problem(code, message, fatal=False) for holds, code, message in notes if holds)

    def _has_stills(self) -> bool:
        first = next((entry for entry in self.entries if entry.problem is None), None)
        return first is not None and any(camera.codec in _STILLS for camera in self._episode(first).cameras)


def _only(values: set):
    """What all episodes have in common, None where they differ."""
    return next(iter(values)) if len(values) == 1 else None
