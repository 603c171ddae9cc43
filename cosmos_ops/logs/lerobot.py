"""LeRobot datasets, v2.0 (GR00T's flavour too), v2.1 and v3.0.

The episode's clock is its video's: 0 at the episode's first frame. In this format telemetry row i describes frame i, so row i is at i / fps,
whatever clock was recorded beside it: recorded timestamps may start late, jitter and drift against a video that was written at a constant rate.
What the recorded clock says about the video's speed and cuts is reported by `telemetry.clock_problems`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from cosmos_ops.logs.base import Camera, CameraSample, Episode, LogInfo, Problem, TimedFrame, UnreadableVideo, register_reader
from cosmos_ops.logs.lerobot_meta import INFO, Entry, Layout, VideoPlace, frame_size, read_info, whereabouts
from cosmos_ops.logs.lerobot_stills import MARK, still_camera, stills
from cosmos_ops.logs.lerobot_v2 import LayoutV2
from cosmos_ops.logs.lerobot_v3 import LayoutV3
from cosmos_ops.logs.licence import find_licence
from cosmos_ops.logs.mapping import NAME, read_mapping
from cosmos_ops.logs.names import lerobot_names
from cosmos_ops.logs.paths import LeadsOut, inside
from cosmos_ops.logs.picture_rows import rows_at, rows_between
from cosmos_ops.logs.spelling import plain
from cosmos_ops.logs.telemetry import ACTION, STATE, BrokenTelemetry, Rows, clock_problems, columns_of, recorded_clock, whole
from cosmos_ops.video.decode import decode_frames, look

_TASK_LABELS = ("annotation.human.action.task_description", "annotation.human.task_description", "task_index")
_OLD_INFO = "meta_data/info.json"
_VALIDITY = "annotation.human.validity"
_LABELS = ("frame_index", "episode_index", *_TASK_LABELS, _VALIDITY, "next.success")
_VALID, _INVALID = {"valid"}, {"invalid", "not valid"}
"""GR00T lists its annotators' verdicts among the tasks."""
_UNUSED = ("fps", "cameras", "state", "action", "swap_red_blue")
"""What a mapping may say and this format says of itself."""


@register_reader
class LeRobotReader:
    """See `base.LogReader`. Raises `UserError` on damaged metadata; a damaged episode is delivered with its fatal problem.

    Robot, licence and task in the drop's `cosmos-drop.yaml` win over the log, see `mapping`.
    """

    format: ClassVar[str] = "lerobot"

    def __init__(self, root: Path):
        self._root = Path(root)
        self._mapping = read_mapping(self._root)
        self._info = read_info(self._root)
        self._told: dict[tuple[str, int], tuple[str, ...]] = {}
        self._first_row: dict[int, int] = {}

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return root.is_dir() and (root / INFO).exists()

    @classmethod
    def refusal(cls, root: Path) -> str | None:
        if (root / _OLD_INFO).exists():
            return f"{root} is a LeRobot dataset of version 1; v2.0, v2.1 and v3.0 are read, convert the dataset with LeRobot"
        nested = sorted(path.parents[1].relative_to(root).as_posix() for depth in ("*", "*/*") for path in root.glob(f"{depth}/{INFO}"))
        return plain(f"{root} holds {len(nested)} LeRobot datasets further down (first {nested[0]}); give the path of one of them") if nested else None

    def info(self) -> LogInfo:
        declared = self._info.total_episodes if self._info.total_episodes is not None else self._layout.declared
        found = len(self._layout.entries)
        problems = list(self._layout.problems)
        if declared != found:
            problems.append(Problem("episode_count", f"{INFO} declares {declared} episodes, {found} are on disk", fatal=False))
        unused = [name for name in _UNUSED if getattr(self._mapping, name)]
        if unused:
            problems.append(Problem("unused_setting", f"{', '.join(unused)} in {NAME} not used: {INFO} says it", fatal=False))
        licence = self._mapping.licence or find_licence(self._root, self._info.raw)
        return LogInfo(self.format, self._info.version, self._robot, licence, declared, tuple(problems))

    def episodes(self) -> Iterator[Episode]:
        return map(self._episode, self._layout.entries)

    def decode(self, episode: Episode, camera: Camera, start_s: float = 0.0, stop_s: float = float("inf"), threads: int = 0) -> Iterator[TimedFrame]:
        if MARK in camera.path:
            yield from self._stills(episode, camera, list(rows_between(camera, start_s, stop_s)))
            return
        slack_s = 0.25 / camera.fps  # the episode's own first and last frame count even where the offset is rounded
        length_s = self._length_s(camera)
        stop_s = stop_s if length_s is None else min(stop_s, length_s - slack_s)
        first_s = slack_s if start_s <= 0 else 0.0
        for time_s, image in decode_frames(self._video(camera), camera.offset_s + start_s, camera.offset_s + stop_s, threads, first_s):
            yield TimedFrame(max(0.0, time_s - camera.offset_s), image)

    def sample(self, episode: Episode, camera: Camera, times_s: Sequence[float], threads: int = 0) -> CameraSample:
        if MARK in camera.path:
            return CameraSample(camera.frames / camera.fps, self._stills(episode, camera, rows_at(camera, times_s)))
        seen = look(self._video(camera), times_s, camera.offset_s, self._length_s(camera), threads)
        return CameraSample(seen.duration_s, (TimedFrame(time_s, image) for time_s, image in seen.frames), seen.times_s)

    @property
    def _robot(self) -> str | None:
        return self._mapping.robot or self._info.robot

    @cached_property
    def _layout(self) -> Layout:
        return (LayoutV3 if self._info.major == 3 else LayoutV2)(self._root, self._info)

    @cached_property
    def _where(self) -> Callable[[str], str]:
        """`whereabouts` in this log, asked once a file: v3.0 keeps hundreds of episodes in one."""
        return cache(partial(whereabouts, self._root))

    def _length_s(self, camera: Camera) -> float | None:
        """Where the episode's part of a shared video ends; a video of its own ends by itself."""
        return camera.frames / camera.fps if self._layout.shares_videos else None

    def _stills(self, episode: Episode, camera: Camera, rows: list[int]) -> Iterator[TimedFrame]:
        if episode.index not in self._first_row:
            raise UnreadableVideo(f"{camera.path} reads differently than before")
        return stills(self._video(camera), camera.path.partition(MARK)[2], self._first_row[episode.index], rows, camera.fps)

    def _video(self, camera: Camera) -> Path:
        try:
            return inside(self._root, camera.path.partition(MARK)[0])
        except LeadsOut as error:
            raise UnreadableVideo(str(error)) from None

    def _episode(self, entry: Entry) -> Episode:
        fps, problems = self._info.fps, list(entry.problems)
        rows = self._rows(entry, problems)
        frames = len(rows) if rows else entry.length or 0
        if rows:
            problems += clock_problems(rows.clock_s, fps)
            if entry.length not in (None, frames):
                problems.append(Problem("frame_count", f"metadata declares {entry.length} frames, telemetry has {frames}", fatal=False))
            if rows.state.shape[1] == 0:
                problems.append(Problem("no_telemetry", f"no column of the rows is called {STATE[0]}, so the state has no numbers", fatal=False))
            if not (np.isfinite(rows.state).all() and np.isfinite(rows.action).all()):
                problems.append(Problem("not_finite", "state or action holds values that are not numbers", fatal=False))
        cameras = tuple(camera for place in entry.videos if (camera := self._camera(place, entry, rows, problems)))
        empty = np.zeros((0, 0), np.float32)
        clock = recorded_clock(rows.clock_s, fps) if rows else None
        return Episode(
            index=entry.index,
            frames=frames,
            fps=fps,
            timestamps_s=np.arange(len(rows) if rows else 0, dtype=np.float64) / fps,
            state=rows.state if rows else empty,
            action=rows.action if rows else empty,
            cameras=cameras,
            task=self._task(entry, rows, problems),
            outcome=_outcome(rows),
            robot=self._robot,
            problems=tuple(problems),
            state_names=self._names("state", rows.state.shape[1] if rows else 0),
            action_names=self._names("action", rows.action.shape[1] if rows else 0),
            clocks={None: clock} if clock else {},
        )

    def _names(self, kind: str, width: int) -> tuple[str, ...]:
        if (kind, width) not in self._told:
            features = self._info.raw["features"]
            self._told[kind, width] = lerobot_names(self._root, features, kind, columns_of(features, STATE if kind == "state" else ACTION), width)
        return self._told[kind, width]

    def _rows(self, entry: Entry, problems: list[Problem]) -> Rows | None:
        where = self._where(entry.data_path)
        if where == "missing":
            problems.append(Problem("missing_telemetry", f"{entry.data_path} does not exist"))
            return None
        try:
            if where != "present":
                raise BrokenTelemetry("the file is empty" if where == "empty" else "it is a link that leads out of the log; copy the log with cp -rL")
            rows = self._layout.rows(entry, _LABELS)
            if len(rows) == 0:
                raise BrokenTelemetry("it holds no row of this episode")
        except BrokenTelemetry as error:
            problems.append(Problem("broken_telemetry", f"{entry.data_path}: {error}"))
            return None
        return rows

    def _camera(self, place: VideoPlace, entry: Entry, rows: Rows | None, problems: list[Problem]) -> Camera | None:
        feature, frames = place.feature, entry.length or (len(rows) if rows else 0)
        if feature.in_rows and feature.refusal is None:
            found = still_camera(self._root, place, rows, self._info.fps) if rows else None
            if isinstance(found, Camera):
                self._first_row[entry.index] = int(rows.places[0])
                return found
            problems += [found] if found else []
            return None
        where = self._where(place.path) if feature.refusal is None else "refused"
        if where == "present":
            height, width = frame_size(self._root, place)
            return Camera(feature.name, place.path, place.offset_s, place.frames or frames, feature.fps, height, width, feature.codec)
        code, message = {
            "refused": ("unsupported_camera", f"camera {feature.name} cannot be used: {feature.refusal}"),
            "missing": ("missing_video", f"{place.path} does not exist"),
            "empty": ("unreadable", f"{place.path} is empty"),
            "outside": ("unreadable", f"{place.path} is a link that leads out of the log; copy the log with cp -rL"),
        }[where]
        problems.append(Problem(code, message, feature.name))
        return None

    def _task(self, entry: Entry, rows: Rows | None, problems: list[Problem]) -> str | None:
        """The instruction: what the rows' task annotation points at, else the first task listed that is not a verdict."""
        verdict = self._pointed(rows, _VALIDITY)
        if {text.strip().lower() for text in (*entry.tasks, verdict or "")} & _INVALID:
            problems.append(Problem("marked_invalid", "the recording's annotators marked this episode invalid"))
        pointed = [self._pointed(rows, label) for label in _TASK_LABELS]
        ranked = [*pointed[:-1], *entry.tasks, pointed[-1]]
        task = self._mapping.task or next((text.strip() for text in ranked if text and text.strip() and text.strip().lower() not in _VALID | _INVALID), None)
        if task is None:
            problems.append(Problem("no_task", "no task text is recorded", fatal=False))
        return task

    def _pointed(self, rows: Rows | None, label: str) -> str | None:
        index = whole(float(rows.labels[label][0])) if rows and label in rows.labels else None
        return None if index is None else self._layout.tasks.get(index)


def _outcome(rows: Rows | None) -> str | None:
    """`success` or `failure` where the simulator or operator recorded it."""
    recorded = rows.labels.get("next.success") if rows else None
    if recorded is None or not np.isfinite(recorded).any():
        return None
    return "success" if np.nanmax(recorded) > 0 else "failure"
