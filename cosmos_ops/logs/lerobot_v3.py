"""LeRobot v3.0 on disk: several episodes share a Parquet file and a video file; `meta/episodes/` says which part is whose."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from cosmos_ops.errors import UserError
from cosmos_ops.logs.base import Problem
from cosmos_ops.logs.lerobot_meta import CameraFeature, Entry, Info, VideoPlace, as_index, is_number, read_json_lines, whereabouts
from cosmos_ops.logs.parquet import READ_ERRORS, check_size
from cosmos_ops.logs.paths import fill_template
from cosmos_ops.logs.telemetry import BrokenTelemetry, Rows, read_rows

_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES, _TASKS = "meta/episodes", "meta/tasks.parquet"


class LayoutV3:
    """See `lerobot_meta.Layout`. Raises `UserError` where the metadata is damaged."""

    shares_videos = True

    def __init__(self, root: Path, info: Info):
        self._root, self._info = root, info
        self._held: tuple[tuple, Rows] | None = None
        self._where = cache(partial(whereabouts, root))
        self.tasks = self._read_tasks()
        listed = self._read_episodes()
        self.declared = len(listed)
        first = {index: row for index, row in reversed(listed)}
        entries = [self._entry(index, first[index]) for index in sorted(first)]
        self.entries = tuple(entry for entry in entries if self._has_files(entry))
        repeated = sorted({index for index, _ in listed if sum(index == other for other, _ in listed) > 1}) if len(first) < len(listed) else []
        self.problems = tuple(
            Problem("repeated_episode", f"{_EPISODES} lists episode {index} more than once, the first row counts", fatal=False) for index in repeated
        )

    def rows(self, entry: Entry, labels: tuple[str, ...]) -> Rows:
        """The episode's rows of its file, which is kept for the episodes that follow. Raises `BrokenTelemetry`."""
        key = (entry.data_path, labels)
        if self._held is None or self._held[0] != key:
            self._held = None
            self._held = (key, read_rows(self._root / entry.data_path, labels))
        rows = self._held[1]
        if "episode_index" not in rows.labels:
            raise BrokenTelemetry(f"{entry.data_path} has no column episode_index")
        return rows.select(np.flatnonzero(rows.labels["episode_index"] == entry.index))

    def _read_tasks(self) -> dict[int, str]:
        if not (self._root / _TASKS).exists():
            rows = read_json_lines(self._root, "meta/tasks.jsonl", ("task_index", "task"))
        else:
            rows = _read_table(self._root, _TASKS)
        tasks = {}
        for row in rows:
            text = next((value for value in row.values() if isinstance(value, str)), None)
            if as_index(row.get("task_index")) is not None and text is not None:
                tasks[as_index(row["task_index"])] = text
        return tasks

    def _read_episodes(self) -> list[tuple[int, dict[str, Any]]]:
        files = sorted(path.relative_to(self._root).as_posix() for path in (self._root / _EPISODES).glob("*/*.parquet"))
        if not files:
            raise UserError(f"{self._root / _EPISODES} holds no episode list; the dataset is damaged, get it again")
        listed = []
        for file in files:
            for row in _read_table(self._root, file):
                index = as_index(row.get("episode_index"))
                if index is None:
                    raise UserError(f"{self._root / file}: episode_index is {row.get('episode_index')!r}, a whole number is needed; the dataset is damaged")
                listed.append((index, row))
        return listed

    def _entry(self, index: int, row: dict[str, Any]) -> Entry:
        problems: list[Problem] = []
        values = self._place(row, "data", index)
        data_path = fill_template(self._info.data_path or _DATA, values, "data_path in meta/info.json")
        videos = []
        for camera in self._info.cameras:
            place = VideoPlace(camera, data_path) if camera.in_rows and not camera.refusal else self._video(index, row, camera)
            if isinstance(place, Problem):
                problems.append(place)
            elif place:
                videos.append(place)
        tasks = row.get("tasks")
        named = tuple(task if isinstance(task, str) else self.tasks.get(as_index(task)) for task in (tasks if isinstance(tasks, list) else []))
        return Entry(index, as_index(row.get("length")), tuple(filter(None, named)), data_path, tuple(videos), tuple(problems))

    def _video(self, index: int, row: dict[str, Any], camera: CameraFeature) -> VideoPlace | Problem | None:
        if camera.refusal:
            return VideoPlace(camera, camera.key)
        key = f"videos/{camera.key}"
        start_s, stop_s = row.get(f"{key}/from_timestamp"), row.get(f"{key}/to_timestamp")
        if row.get(f"{key}/file_index") is None or start_s is None or stop_s is None:
            return Problem("missing_video", f"{_EPISODES} names no video of camera {camera.name} for episode {index}", camera.name)
        if not (is_number(start_s) and is_number(stop_s) and 0 <= start_s < stop_s < 1e9):
            return Problem("missing_video", f"{_EPISODES} puts episode {index} of camera {camera.name} at {start_s} to {stop_s} s of its video", camera.name)
        values = {**self._place(row, key, index), "video_key": camera.key}
        path = fill_template(self._info.video_path or _VIDEO, values, "video_path in meta/info.json")
        return VideoPlace(camera, path, float(start_s), max(1, round((stop_s - start_s) * camera.fps)))

    def _place(self, row: dict[str, Any], prefix: str, index: int) -> dict[str, int | str]:
        values: dict[str, int | str] = {"episode_index": index}
        for name in ("chunk_index", "file_index"):
            number = as_index(row.get(f"{prefix}/{name}"))
            if number is None:
                raise UserError(f"{self._root / _EPISODES}: {prefix}/{name} of episode {index} is {row.get(f'{prefix}/{name}')!r}; the dataset is damaged")
            values[name] = number
        return values

    def _has_files(self, entry: Entry) -> bool:
        return any(self._where(path) != "missing" for path in [entry.data_path, *(place.path for place in entry.videos)])


def _read_table(root: Path, relative: str) -> list[dict[str, Any]]:
    """The rows of a metadata table, without the statistics. Raises `UserError` in one line."""
    where = whereabouts(root, relative)
    if where != "present":
        raise UserError(f"{root / relative} is {where}; the dataset is damaged, get it again")
    try:
        with pq.ParquetFile(root / relative) as file:
            columns = [name for name in file.schema_arrow.names if not name.startswith("stats/")]
            check_size(file, columns, numbers=False)
            return file.read(columns=columns).to_pylist()
    except READ_ERRORS as error:
        raise UserError(f"{root / relative} is not readable Parquet ({' '.join(str(error).split())[:120]}); the dataset is damaged, get it again") from None
