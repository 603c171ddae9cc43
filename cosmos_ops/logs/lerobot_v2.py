"""LeRobot v2.0 and v2.1 on disk: one Parquet file an episode, one video an episode and camera, episodes listed in JSON lines."""

import re
from pathlib import Path

import numpy as np

from cosmos_ops.errors import UserError
from cosmos_ops.logs.base import Problem
from cosmos_ops.logs.lerobot_meta import Entry, Info, VideoPlace, as_index, read_json_lines, whereabouts
from cosmos_ops.logs.paths import fill_template
from cosmos_ops.logs.telemetry import Rows, read_rows

_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_EPISODES, _TASKS = "meta/episodes.jsonl", "meta/tasks.jsonl"


class LayoutV2:
    """See `lerobot_meta.Layout`. Raises `UserError` where the metadata is damaged."""

    shares_videos = False

    def __init__(self, root: Path, info: Info):
        self._root, self._info = root, info
        self.tasks = {}
        for row in read_json_lines(root, _TASKS, ("task_index", "task")):
            if as_index(row.get("task_index")) is not None and isinstance(row.get("task"), str):
                self.tasks[as_index(row["task_index"])] = row["task"]
        declared, repeated = self._declared()
        self.declared = len(declared)
        on_disk = self._on_disk()
        indices = sorted({index for index in declared if index in on_disk or self._has_video(index)} | on_disk)
        self.entries = tuple(self._entry(index, declared.get(index)) for index in indices)
        self.problems = tuple(
            Problem("repeated_episode", f"{_EPISODES} lists episode {index} more than once, the first line counts", fatal=False) for index in repeated
        )

    def rows(self, entry: Entry, labels: tuple[str, ...]) -> Rows:
        """The episode's telemetry. Raises `BrokenTelemetry`."""
        rows = read_rows(self._root / entry.data_path, labels)
        return rows.select(np.arange(len(rows)))

    def _declared(self) -> tuple[dict[int, dict], list[int]]:
        declared, repeated = {}, []
        for row in read_json_lines(self._root, _EPISODES, ("episode_index", "tasks", "length")):
            index = as_index(row.get("episode_index"))
            if index is None:
                raise UserError(f"{self._root / _EPISODES}: episode_index is {row.get('episode_index')!r}, a whole number is needed; the dataset is damaged")
            if index in declared:
                repeated.append(index)
            declared.setdefault(index, row)
        return declared, sorted(set(repeated))

    def _on_disk(self) -> set[int]:
        """Episodes whose telemetry file is there, listed or not."""
        template = self._info.data_path or _DATA
        fill_template(template, self._values(0), "data_path in meta/info.json")
        pattern = re.compile("".join(_place_pattern(part) for part in re.split(r"(\{.*?\})", template)))
        found = set()
        for path in self._root.glob(re.sub(r"\{.*?\}", "*", template)):
            match = pattern.fullmatch(path.relative_to(self._root).as_posix())
            if match and "index" in pattern.groupindex and match["index"].isdecimal():
                found.add(int(match["index"]))
        return found

    def _has_video(self, index: int) -> bool:
        return any(whereabouts(self._root, place.path) != "missing" for place in self._videos(index))

    def _entry(self, index: int, declared: dict | None) -> Entry:
        problems = () if declared else (Problem("not_listed", f"{_EPISODES} does not list this episode", fatal=False),)
        tasks = declared.get("tasks") if declared else None
        named = tuple(text for text in map(self._task_text, tasks if isinstance(tasks, list) else []) if text)
        return Entry(index, as_index(declared.get("length")) if declared else None, named, self._data_path(index), self._videos(index), problems)

    def _videos(self, index: int) -> tuple[VideoPlace, ...]:
        template, where = self._info.video_path or _VIDEO, "video_path in meta/info.json"
        films = [VideoPlace(camera, fill_template(template, {**self._values(index), "video_key": camera.key}, where)) for camera in self._info.cameras]
        return tuple(VideoPlace(film.feature, self._data_path(index)) if film.feature.in_rows else film for film in films)

    def _data_path(self, index: int) -> str:
        return fill_template(self._info.data_path or _DATA, self._values(index), "data_path in meta/info.json")

    def _values(self, index: int) -> dict[str, int | str]:
        return {"episode_chunk": index // self._info.chunks_size, "episode_index": index}

    def _task_text(self, task) -> str | None:
        return task if isinstance(task, str) else self.tasks.get(as_index(task))


def _place_pattern(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    return r"(?P<index>\d+)" if part.startswith("{episode_index") else r"[^/]*"
