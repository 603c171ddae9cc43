"""Complete LeRobot datasets on disk: v2.1 (a file an episode) and v3.0 (several episodes a parquet and a video file).

Layouts as the LeRobot library reads them (src/lerobot/datasets/utils.py and its v2.1 to v3.0 converter).
"""

import json
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow as pa

from cosmos_ops.simulate.card import write_card
from cosmos_ops.simulate.lerobot_tables import (
    CHUNK_SIZE,
    aggregate_stats,
    as_json,
    episode_stats,
    features,
    telemetry,
    video_key,
    write_parquet,
)
from cosmos_ops.simulate.recording import Recording, RobotSpec

V21_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
V21_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
V30_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
V30_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
V21_EPISODES = "meta/episodes.jsonl"
V30_EPISODES = "meta/episodes/chunk-000/file-000.parquet"
_GOP = 24
CRF = 20
"""x264's constant rate factor: compression is not to be seen."""


def write_lerobot_v21(
    root: Path, robot: RobotSpec, recordings: Iterable[Recording], simulator: str = "tabletop", outcomes: bool = False, crf: int = CRF
) -> None:
    """Write a v2.1 dataset into the empty folder `root`; recordings are taken one at a time.

    `simulator` is named on the card; `outcomes` adds LeRobot's `next.success`, true in the last row of an episode that succeeded.
    """
    tasks: dict[str, int] = {}
    episodes, stats, described, frames = [], [], {}, 0
    for index, recording in enumerate(recording.on_rows() for recording in recordings):
        place = {"episode_chunk": index // CHUNK_SIZE, "episode_index": index}
        table = telemetry(recording, index, frames, tasks.setdefault(recording.task, len(tasks)), outcomes)
        write_parquet([table], root / V21_DATA.format(**place))
        for camera, images in recording.frames.items():
            with VideoFile(root / V21_VIDEO.format(video_key=video_key(camera), **place), recording.fps, crf) as video:
                video.append(images)
        episodes.append({"episode_index": index, "tasks": [recording.task], "length": recording.length})
        stats.append({"episode_index": index, "stats": as_json(episode_stats(recording, table, quantiles=False))})
        described = described or {"fps": recording.fps, "features": features(robot, recording, outcomes)}
        frames += recording.length
    cameras = sum(feature["dtype"] == "video" for feature in described["features"].values())
    info = {
        "codebase_version": "v2.1",
        "robot_type": robot.name,
        "total_episodes": len(episodes),
        "total_frames": frames,
        "total_tasks": len(tasks),
        "total_videos": len(episodes) * cameras,
        "total_chunks": (len(episodes) - 1) // CHUNK_SIZE + 1,
        "chunks_size": CHUNK_SIZE,
        "fps": described["fps"],
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": V21_DATA,
        "video_path": V21_VIDEO,
        "features": described["features"],
    }
    _write_root(root, robot, info, simulator)
    _write_lines(root / V21_EPISODES, episodes)
    _write_lines(root / "meta/episodes_stats.jsonl", stats)
    _write_lines(root / "meta/tasks.jsonl", [{"task_index": index, "task": task} for task, index in tasks.items()])


def write_lerobot_v30(
    root: Path,
    robot: RobotSpec,
    recordings: Iterable[Recording],
    simulator: str = "tabletop",
    outcomes: bool = False,
    episodes_per_data_file: int = 8,
    episodes_per_video_file: int = 5,
    crf: int = CRF,
) -> None:
    """Write a v3.0 dataset into the empty folder `root`; recordings are taken one at a time. `simulator` and `outcomes` as for v2.1."""
    tasks: dict[str, int] = {}
    rows, stats, described, frames = [], [], {}, 0
    tables: list[pa.Table] = []
    videos: dict[str, VideoFile] = {}
    for index, recording in enumerate(recording.on_rows() for recording in recordings):
        task_index = tasks.setdefault(recording.task, len(tasks))
        table = telemetry(recording, index, frames, task_index, outcomes)
        row = {"episode_index": index, "tasks": [recording.task], "length": recording.length}
        data_file, video_file = index // episodes_per_data_file, index // episodes_per_video_file
        row |= {"data/chunk_index": data_file // CHUNK_SIZE, "data/file_index": data_file % CHUNK_SIZE}
        row |= {"dataset_from_index": frames, "dataset_to_index": frames + recording.length}
        tables.append(table)
        if len(tables) == episodes_per_data_file:
            _write_v30_data(root, data_file, tables)
        for camera, images in recording.frames.items():
            key = video_key(camera)
            place = {"chunk_index": video_file // CHUNK_SIZE, "file_index": video_file % CHUNK_SIZE}
            if index % episodes_per_video_file == 0:
                videos[key] = VideoFile(root / V30_VIDEO.format(video_key=key, **place), recording.fps, crf)
            start_s, stop_s = videos[key].append(images)
            row |= {f"videos/{key}/{name}": value for name, value in place.items()}
            row |= {f"videos/{key}/from_timestamp": start_s, f"videos/{key}/to_timestamp": stop_s}
            if (index + 1) % episodes_per_video_file == 0:
                videos.pop(key).close()
        stats.append(episode_stats(recording, table, quantiles=True))
        rows.append(row)
        described = described or {"fps": recording.fps, "features": features(robot, recording, outcomes)}
        frames += recording.length
    for video in videos.values():
        video.close()
    if tables:
        _write_v30_data(root, (len(rows) - 1) // episodes_per_data_file, tables)
    info = {
        "codebase_version": "v3.0",
        "fps": described["fps"],
        "features": {key: feature if feature["dtype"] == "video" else {**feature, "fps": described["fps"]} for key, feature in described["features"].items()},
        "total_episodes": len(rows),
        "total_frames": frames,
        "total_tasks": len(tasks),
        "chunks_size": CHUNK_SIZE,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": V30_DATA,
        "video_path": V30_VIDEO,
        "robot_type": robot.name,
        "splits": {"train": f"0:{len(rows)}"},
    }
    _write_root(root, robot, info, simulator)
    _write_json(root / "meta/stats.json", as_json(aggregate_stats(stats)))
    # LeRobot looks tasks up by the frame's index, so pandas' own metadata has to be in the file.
    frame = pd.DataFrame({"task_index": list(tasks.values())}, index=pd.Index(list(tasks), name="task"))
    write_parquet([pa.Table.from_pandas(frame)], root / "meta/tasks.parquet")
    write_parquet([_v30_episodes(rows, stats)], root / V30_EPISODES)


class VideoFile:
    """An h264 MP4 written by one encoder thread, a key frame at the start of every `append`: equal frames give equal bytes on one build."""

    def __init__(self, path: Path, fps: int, crf: int = CRF):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fps = fps
        self._crf = crf
        self._frames = 0
        # Bit-exact muxing leaves out the library's version and the time of writing.
        self._container = av.open(str(path), "w", format="mp4", container_options={"fflags": "+bitexact"})
        self._stream = None

    def append(self, images: np.ndarray) -> tuple[float, float]:
        """Encode uint8 [T, H, W, 3] RGB; returns where they start and stop in the file, seconds."""
        if self._stream is None:
            self._stream = self._open_stream(*images.shape[1:3])
        first = self._frames
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = self._frames
            frame.pict_type = av.video.frame.PictureType.I if self._frames == first else av.video.frame.PictureType.NONE
            self._container.mux(self._stream.encode(frame))
            self._frames += 1
        return first / self._fps, self._frames / self._fps

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def _open_stream(self, height: int, width: int):
        # Without the macroblock tree: with it equal frames now and then give other bytes.
        options = {"preset": "veryfast", "crf": str(self._crf), "threads": "1", "x264-params": "bframes=0:force-cfr=1:mbtree=0"}
        stream = self._container.add_stream("libx264", rate=self._fps, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", _GOP
        stream.codec_context.thread_count = 1
        return stream

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.close()


def _write_v30_data(root: Path, file: int, tables: list[pa.Table]) -> None:
    write_parquet(tables, root / V30_DATA.format(chunk_index=file // CHUNK_SIZE, file_index=file % CHUNK_SIZE))
    tables.clear()


def _v30_episodes(rows: list[dict], stats: list[dict]) -> pa.Table:
    columns = {key: pa.array([row[key] for row in rows]) for key in rows[0]}
    for name in stats[0]:
        for key in stats[0][name]:
            columns[f"stats/{name}/{key}"] = pa.array([entry[name][key].tolist() for entry in stats])
    place = pa.array(np.zeros(len(rows), np.int64))
    return pa.table({**columns, "meta/episodes/chunk_index": place, "meta/episodes/file_index": place})


def _write_root(root: Path, robot: RobotSpec, info: dict, simulator: str) -> None:
    _write_json(root / "meta/info.json", info)
    write_card(root, robot, info["total_episodes"], f"LeRobot {info['codebase_version']}", simulator)


def _write_json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=4, allow_nan=False) + "\n")


def _write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
