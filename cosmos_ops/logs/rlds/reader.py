"""RLDS datasets in TFRecords (Open X-Embodiment, Bridge, Octo and others): one `tf.train.Example` an episode, all its steps in it.

    <name>/<version>/features.json           what a step holds
    <name>/<version>/dataset_info.json       version, splits, episodes a file
    <name>/<version>/<name>-<split>.tfrecord-00000-of-00001

The episode's clock counts steps: step i is at i / fps. RLDS records no rate. `episode_metadata/has_image_<n>` is not believed: in datasets that were
rewritten it says no of cameras that are there; what is really black is found by looking.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from cosmos_ops.logs.base import Camera, CameraSample, Episode, LogInfo, Problem, TimedFrame, register_reader
from cosmos_ops.logs.licence import find_licence
from cosmos_ops.logs.mapping import NAME, Mapping, read_mapping
from cosmos_ops.logs.paths import LeadsOut, inside
from cosmos_ops.logs.picture_rows import rows_at, rows_between
from cosmos_ops.logs.rlds.episode import EpisodeReader, broken
from cosmos_ops.logs.rlds.files import find_dataset, holds_tfrecords, why_no_tfrecords
from cosmos_ops.logs.rlds.tfrecord import Damaged, PlacedFile, Record, records
from cosmos_ops.video.frames import UnreadableVideo
from cosmos_ops.video.stills import StillDecoder, swapped

_MARK = "::"
"""Between file and record in a camera's path."""


@register_reader
class RLDSReader:
    """See `base.LogReader`. A damaged record is an episode with its fatal problem; the frames around records lead past it to the next."""

    format: ClassVar[str] = "rlds"
    default_fps: ClassVar[float] = 10.0
    """Datasets of this kind run at 3 to 30 a second; most robots' arms that were recorded for them at 5 to 15."""

    def __init__(self, root: Path):
        self._root = Path(root)
        self._mapping = read_mapping(self._root)
        self._dataset = find_dataset(self._root)
        self._reader = EpisodeReader(self._dataset.leaves, self._mapping, self.default_fps)
        self._found: dict[str, tuple[list[Record], str | None]] = {}

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return holds_tfrecords(root)

    @classmethod
    def refusal(cls, root: Path) -> str | None:
        return why_no_tfrecords(root)

    def info(self) -> LogInfo:
        found = sum(self._count(file) for file in self._dataset.files)
        declared = self._dataset.declared()
        licence = self._mapping.licence or self._licence
        return LogInfo(self.format, self._dataset.version, self._mapping.robot, licence, found if declared is None else declared, self._notes(declared, found))

    def episodes(self) -> Iterator[Episode]:
        index = 0
        for file in self._dataset.files:
            for episode in self._in_file(file, index):
                yield episode
                index += 1

    def decode(self, episode: Episode, camera: Camera, start_s: float = 0.0, stop_s: float = float("inf"), threads: int = 0) -> Iterator[TimedFrame]:
        return self._frames(camera, rows_between(camera, start_s, stop_s))

    def sample(self, episode: Episode, camera: Camera, times_s: Sequence[float], threads: int = 0) -> CameraSample:
        return CameraSample(camera.frames / camera.fps, self._frames(camera, rows_at(camera, times_s)))

    def guess(self) -> Mapping:
        """What is read, and as what: a mapping to correct and save."""
        sources, said = self._reader.sources, self._mapping
        return Mapping(
            said.robot, said.licence or self._licence, self._reader.fps, said.task, sources.cameras, sources.state, sources.action, said.swap_red_blue
        )

    @cached_property
    def _licence(self) -> str | None:
        terms = self._dataset.info.get("redistributionInfo")
        stated = terms if isinstance(terms, dict) else {}
        return find_licence(self._root, stated) or find_licence(self._root / self._dataset.folder, {})

    def _count(self, file: str) -> int:
        there, problem = self._records(file)
        return len(there) + (problem is not None)

    def _records(self, file: str) -> tuple[list[Record], str | None]:
        """Where a file's records lie, and why no more can be found behind them, None where it ends as it should."""
        if file not in self._found:
            there: list[Record] = []
            problem = None
            try:
                with self._opened(file) as placed:
                    there.extend(records(placed))
            except Damaged as error:
                problem = str(error)
            if not there and problem is None and self._dataset.declared_in(file) != 0:
                problem = f"{file} is empty"
            self._found[file] = (there, problem)
        return self._found[file]

    def _opened(self, file: str) -> PlacedFile:
        try:
            return PlacedFile(inside(self._root, file))
        except (LeadsOut, OSError) as error:
            raise Damaged(str(error)) from None

    def _in_file(self, file: str, index: int) -> Iterator[Episode]:
        there, problem = self._records(file)
        for number, record in enumerate(there):
            try:
                with self._opened(file) as placed:
                    episode = self._reader.read(index + number, f"{file}{_MARK}/{number}", placed, record)
            except Damaged as error:
                episode = self._broken(index + number, str(error))
            yield episode
        if problem is not None:
            declared = self._dataset.declared_in(file)
            lost = f"; {declared - len(there)} of its {declared} episodes are lost" if declared is not None and declared > len(there) else ""
            yield self._broken(index + len(there), problem + lost)

    def _broken(self, index: int, message: str) -> Episode:
        return broken(index, self._reader.fps, Problem("unreadable_file", message), self._mapping.robot)

    def _frames(self, camera: Camera, steps: Sequence[int]) -> Iterator[TimedFrame]:
        """Pictures one by one; nothing else of the record is held."""
        file, _, place = camera.path.partition(f"{_MARK}/")
        number, _, source = place.partition("/")
        decoder = StillDecoder()
        with self._opened(file) as placed:
            there, _ = self._records(file)
            pictures = self._reader.pictures(placed, there[int(number)], source)
            if len(pictures) != camera.frames:
                raise Damaged(f"{camera.path} reads differently than before")
            for step in steps:
                try:
                    image = decoder.decode(placed.at(pictures[step][0], pictures[step][1] - pictures[step][0]))
                except UnreadableVideo as error:
                    raise UnreadableVideo(f"{source}: frame {step}: {error}") from None
                yield TimedFrame(step / camera.fps, swapped(image) if self._mapping.swap_red_blue else image)

    def _notes(self, declared: int | None, found: int) -> tuple[Problem, ...]:
        missing = self._dataset.missing()
        rate = f"RLDS records no rate, {self.default_fps:g} steps a second are assumed; say it as `fps` in {NAME}"
        notes = (
            (declared not in (None, found), "episode_count", f"{declared} episodes are declared, {found} are there"),
            (bool(missing), "missing_files", f"files are missing: {', '.join(missing)}"),
            (self._mapping.fps is None, "assumed_fps", rate),
        )
        return tuple(Problem(code, message, fatal=False) for holds, code, message in notes if holds)
