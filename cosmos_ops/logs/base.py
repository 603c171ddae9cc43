"""What a log format must deliver: episodes without decoding a pixel, then frames of one camera by time.

Adding a format is one file in this folder: a class with the `LogReader` methods, decorated with `@register_reader`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.video.frames import TimedFrame, UnreadableVideo

__all__ = [
    "Camera",
    "CameraSample",
    "Episode",
    "LogInfo",
    "LogReader",
    "Problem",
    "RecordedClock",
    "TimedFrame",
    "UnreadableVideo",
    "open_log",
    "readers",
    "register_reader",
]


@dataclass(frozen=True)
class Problem:
    """Something wrong with an episode or one of its cameras, machine-readable."""

    code: str
    """Reason code, lower_snake_case: `missing_video`, `too_short`, `black`, ..."""
    message: str
    """One line: what, why."""
    camera: str | None = None
    """None concerns the whole episode."""
    fatal: bool = True
    """A fatal problem quarantines its subject; another is shown."""
    start_s: float | None = None
    stop_s: float | None = None
    """Where only what lies between these moments of the episode is affected; None: all of the subject."""


@dataclass(frozen=True)
class RecordedClock:
    """How a clock that was recorded compares with the one that frames are on."""

    offset_s: float
    """Its first reading."""
    drift_s: float
    """What it has gained at the end."""
    gap_s: float
    """Its longest step."""
    drift_fraction: float
    """What it gains in a second."""


@dataclass(frozen=True)
class Camera:
    """One camera of one episode as the log describes it; nothing decoded."""

    name: str
    path: str
    """Video file relative to the drop's root; `<file>::/<dataset>` or the like where it lies inside a file of many things."""
    offset_s: float
    """Where the episode starts inside the video file (LeRobot v3.0 keeps several in one), seconds."""
    frames: int
    """Frames that the log declares."""
    fps: float
    height: int
    width: int
    codec: str


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration. Times in seconds on the episode's own clock, starting near 0."""

    index: int
    frames: int
    fps: float
    """Declared rate of telemetry and cameras."""
    timestamps_s: np.ndarray
    """[T] float64, one per telemetry row, on the clock of the frames that `LogReader.decode` gives."""
    state: np.ndarray
    """[T, S] float32 proprioception; S may be 0."""
    action: np.ndarray
    """[T, A] float32; A may be 0."""
    cameras: tuple[Camera, ...]
    task: str | None
    outcome: str | None = None
    robot: str | None = None
    problems: tuple[Problem, ...] = ()
    state_names: tuple[str, ...] = ()
    """One a column of `state`, see `logs.names`; empty where the log does not tell."""
    action_names: tuple[str, ...] = ()
    clocks: Mapping[str | None, RecordedClock] = field(default_factory=dict)
    """Clocks that were recorded and are not the episode's: the telemetry's under None, a camera's under its name."""
    id: str = field(init=False)
    """Hash of telemetry and metadata, not of pixels: 16 hex digits."""

    def __post_init__(self):
        object.__setattr__(self, "id", _episode_id(self))

    @property
    def duration_s(self) -> float:
        """Length in seconds, the last frame included."""
        if len(self.timestamps_s) == 0:
            return 0.0
        return float(self.timestamps_s[-1] - self.timestamps_s[0] + 1.0 / self.fps)


@dataclass(frozen=True)
class LogInfo:
    """What a log says of itself."""

    format: str
    """Registry name of the reader."""
    format_version: str
    robot: str | None
    licence: str | None
    declared_episodes: int | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, eq=False)
class CameraSample:
    """A cheap look at one camera of one episode."""

    duration_s: float
    """How long this episode's video really is, the last frame included."""
    frames: Iterator[TimedFrame]
    times_s: np.ndarray | None = None
    """[N] float64, ascending: when all of the episode's frames are, those that are not looked at included; None where nobody knows."""


class LogReader(Protocol):
    """Reads one log format. Construction is cheap and raises `UserError` for what cannot be used at all.

    A reader may also have `guess() -> Mapping`, what it reads and as what, and a class method `refusal(root) -> str | None`, one line on why a path
    that looks like its format is not; it is asked when no reader recognises the path.
    """

    format: ClassVar[str]

    def __init__(self, root: Path): ...

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """True when the path holds this format; reads as little as possible."""
        ...

    def info(self) -> LogInfo: ...

    def episodes(self) -> Iterator[Episode]:
        """Every episode found, in index order; a damaged one still appears, with its fatal problem."""
        ...

    def decode(self, episode: Episode, camera: Camera, start_s: float = 0.0, stop_s: float = float("inf"), threads: int = 0) -> Iterator[TimedFrame]:
        """Frames with start_s <= time < stop_s in order. `threads` is the decoder's, 0 lets it choose. Raises `UnreadableVideo` where decoding fails."""
        ...

    def sample(self, episode: Episode, camera: Camera, times_s: Sequence[float], threads: int = 0) -> CameraSample:
        """About one frame near each of the ascending times, as cheaply as the format allows. Raises `UnreadableVideo`, also while iterating."""
        ...


_READERS: dict[str, type[LogReader]] = {}


def register_reader(cls: type[LogReader]) -> type[LogReader]:
    """Class decorator: make a reader known under its `format`."""
    _READERS[cls.format] = cls
    return cls


def readers() -> dict[str, type[LogReader]]:
    """Registered readers by format; importing `cosmos_ops.logs` registers those that come with the project."""
    return dict(_READERS)


def open_log(root: Path | str) -> LogReader:
    """The reader for what lies at `root`. Raises `UserError` for a path that is absent, empty or of no known format."""
    root = Path(root)
    if not root.exists():
        raise UserError(f"{root} does not exist; give the path of a log folder or file")
    try:
        if root.is_dir() and next(root.iterdir(), None) is None:
            raise UserError(f"{root} is an empty folder; give the path of a log folder or file")
        for reader in _READERS.values():
            if reader.recognises(root):
                return reader(root)
        refusals = [refusal for reader in _READERS.values() if hasattr(reader, "refusal") and (refusal := reader.refusal(root))]
    except OSError as error:
        raise UserError(f"{error.filename or root} cannot be read ({error.strerror or error}); make it readable and try again") from None
    if refusals:
        raise UserError(refusals[0])
    raise UserError(f"{root} is in no known log format; known are {', '.join(sorted(_READERS))}")


def _episode_id(episode: Episode) -> str:
    """Equal recordings get equal ids wherever they lie; without telemetry the position in the log tells them apart."""
    sha = hashlib.sha256()
    for array in (episode.timestamps_s, episode.state, episode.action):
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    cameras = [[camera.name, camera.frames, camera.height, camera.width] for camera in episode.cameras]
    place = None
    if episode.state.size == 0 and episode.action.size == 0:
        place = [episode.index, [[camera.path, camera.offset_s] for camera in episode.cameras]]
    return digest([sha.hexdigest(), episode.fps, episode.task, episode.robot, cameras, place])
