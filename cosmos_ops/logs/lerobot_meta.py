"""What LeRobot's `meta/` folder says, the same for v2 and v3 apart from where episodes are listed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cosmos_ops.errors import UserError
from cosmos_ops.logs.base import Problem
from cosmos_ops.logs.bounded_json import parse_json
from cosmos_ops.logs.mapping import usable_rate
from cosmos_ops.logs.paths import LeadsOut, inside
from cosmos_ops.logs.telemetry import Rows
from cosmos_ops.video.decode import probe_video
from cosmos_ops.video.frames import UnreadableVideo

INFO = "meta/info.json"
_IMAGES = "observation.images."
_DEPTH = re.compile(r"(^|[._])depth($|[._])", re.IGNORECASE)
"""Not every writer says of a depth map that it is one."""
_MOST_BYTES = 64 << 20
"""Of a file of metadata: half a million episodes take as much."""


@dataclass(frozen=True)
class CameraFeature:
    """A camera as `info.json` declares it; sizes None where it does not say."""

    key: str
    name: str
    """The key without LeRobot's prefix."""
    height: int | None
    width: int | None
    fps: float
    codec: str
    refusal: str | None = None
    """Why its pixels cannot be used at all."""
    in_rows: bool = False
    """True where its frames are pictures in the rows of the telemetry."""


@dataclass(frozen=True)
class Info:
    """`meta/info.json`, checked."""

    version: str
    major: int
    fps: float
    robot: str | None
    total_episodes: int | None
    chunks_size: int
    data_path: str | None
    video_path: str | None
    cameras: tuple[CameraFeature, ...]
    raw: dict[str, Any]


@dataclass(frozen=True)
class VideoPlace:
    """Where one episode's video of one camera should lie."""

    feature: CameraFeature
    path: str
    offset_s: float = 0.0
    frames: int | None = None
    """None where only the episode's length tells."""


@dataclass(frozen=True)
class Entry:
    """One episode that has at least one of its files on disk."""

    index: int
    length: int | None
    tasks: tuple[str, ...]
    data_path: str
    videos: tuple[VideoPlace, ...]
    problems: tuple[Problem, ...] = ()


class Layout(Protocol):
    """How one major version of the format lays episodes out on disk."""

    shares_videos: bool
    """True where a video file holds several episodes."""
    tasks: dict[int, str]
    problems: tuple[Problem, ...]
    declared: int
    """Episodes that the metadata lists."""
    entries: tuple[Entry, ...]
    """In index order."""

    def rows(self, entry: Entry, labels: tuple[str, ...]) -> Rows: ...


def read_info(root: Path) -> Info:
    """Read and check `meta/info.json`. Raises `UserError` in one line."""
    path = root / INFO
    raw = read_json(root, INFO)
    version = str(raw.get("codebase_version") or "").lstrip("v")
    major = version.split(".")[0]
    if major not in ("2", "3"):
        raise UserError(f"{path}: codebase_version is {raw.get('codebase_version')!r}; LeRobot v2.0, v2.1 and v3.0 are read, convert the dataset with LeRobot")
    fps = usable_rate(raw.get("fps"))
    if fps is None:
        raise UserError(f"{path}: fps is {raw.get('fps')!r}, a number of frames a second is needed")
    features = raw.get("features")
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise UserError(f"{path}: features is not a mapping of feature descriptions; the file is damaged")
    for name in ("data_path", "video_path"):
        if raw.get(name) is not None and not isinstance(raw[name], str):
            raise UserError(f"{path}: {name} is {raw[name]!r}, a path template is needed")
    robot = raw.get("robot_type")
    return Info(
        version=f"v{version}",
        major=int(major),
        fps=fps,
        robot=robot if isinstance(robot, str) and robot else None,
        total_episodes=as_index(raw.get("total_episodes")),
        chunks_size=as_index(raw.get("chunks_size")) or 1000,
        data_path=raw.get("data_path"),
        video_path=raw.get("video_path"),
        cameras=_cameras(features, fps),
        raw=raw,
    )


def read_json(root: Path, relative: str) -> dict[str, Any]:
    """A JSON object of the dataset. Raises `UserError` in one line."""
    return _parse(_read(root, relative), f"{root / relative}")


def read_json_lines(root: Path, relative: str, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """These keys of JSON objects, one a line; empty where the file is absent. Raises `UserError` in one line."""
    if not (root / relative).exists():
        return []
    lines = _read(root, relative).splitlines()
    told = (_parse(line, f"{root / relative} line {number}") for number, line in enumerate(lines, start=1) if line.strip())
    return [{key: row[key] for key in keys if key in row} for row in told]


def as_index(value: Any) -> int | None:
    """A whole number from 0 that a table can hold, None for anything else."""
    if not is_number(value) or not 0 <= value < 2**53 or value != int(value):
        return None
    return int(value)


def is_number(value: Any) -> bool:
    """True for a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def whereabouts(root: Path, relative: str) -> str:
    """`present`, `missing`, `empty` or `outside` (a link that leads out of the dataset)."""
    try:
        path = inside(root, relative)
        if not path.is_file():
            return "missing"
        return "present" if path.stat().st_size else "empty"
    except LeadsOut:
        return "outside"
    except (OSError, RuntimeError):
        return "missing"


def frame_size(root: Path, place: VideoPlace) -> tuple[int, int]:
    """(height, width) in pixels as declared, else from the video's header, else zeros."""
    if place.feature.height and place.feature.width:
        return place.feature.height, place.feature.width
    try:
        facts = probe_video(root / place.path)
    except UnreadableVideo:
        return 0, 0
    return facts.height, facts.width


def _cameras(features: dict[str, dict], fps: float) -> tuple[CameraFeature, ...]:
    found = {key: feature for key, feature in features.items() if feature.get("dtype") in ("video", "image")}
    short = {key: key.removeprefix(_IMAGES).removeprefix("observation.") for key in found}
    taken = list(short.values())
    return tuple(_camera(key, short[key] if taken.count(short[key]) == 1 else key, feature, fps) for key, feature in sorted(found.items()))


def _camera(key: str, name: str, feature: dict, fps: float) -> CameraFeature:
    detail = next((feature[place] for place in ("info", "video_info") if isinstance(feature.get(place), dict)), {})
    rate = usable_rate(detail.get("video.fps")) or fps
    height, width = _declared_size(feature, detail)
    refusal = None
    if detail.get("video.is_depth_map") or detail.get("is_depth_map") or feature.get("is_depth_map") or _DEPTH.search(key):
        refusal = "it is a depth map, not a picture"
    codec = detail.get("video.codec")
    codec = codec if isinstance(codec, str) else "unknown"
    return CameraFeature(key, name, height, width, rate, codec, refusal, feature["dtype"] == "image")


def _declared_size(feature: dict, detail: dict) -> tuple[int | None, int | None]:
    stated = [_pixels(detail.get(f"video.{side}")) for side in ("height", "width")]
    if all(stated):
        return stated[0], stated[1]
    shape, names = feature.get("shape"), feature.get("names")
    shape = [_pixels(size) for size in shape] if isinstance(shape, list) else []
    if len(shape) != 3 or not all(shape):
        return None, None
    if isinstance(names, list) and "height" in names and "width" in names and len(names) == 3:
        return shape[names.index("height")], shape[names.index("width")]
    return (shape[1], shape[2]) if shape[0] in (1, 3, 4) else (shape[0], shape[1])


def _pixels(value: Any) -> int | None:
    size = as_index(value)
    return size if size and size < 2**16 else None


def _read(root: Path, relative: str) -> str:
    where = whereabouts(root, relative)
    if where != "present":
        problem = {"missing": "does not exist", "empty": "is empty", "outside": "is a link that leads out of the log"}[where]
        remedy = "copy the log with what its links point at (cp -rL)" if where == "outside" else "the dataset cannot be read without it"
        raise UserError(f"{root / relative} {problem}; {remedy}")
    try:
        if (root / relative).stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB")
        return (root / relative).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{root / relative} cannot be read ({error}); the dataset is damaged") from None


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}); the dataset is damaged, get it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{where} holds {type(value).__name__}, an object is needed; the dataset is damaged")
    return value
