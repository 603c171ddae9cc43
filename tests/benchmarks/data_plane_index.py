"""Indexing a LeRobot v3.0 dataset of 10,000 episodes: telemetry and metadata, no pixels."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.measuring import Result
from tests.fixtures.lerobot_factory import block_path, render, write_video

EPISODES, PER_FILE, JOINTS, FPS = 10_000, 250, 14, 30
CAMERAS = ("front", "left_wrist", "right_wrist")
LIMIT_S, LIMIT_BYTES = 20.0, 1e9

_CHILD = """
import json, os, resource, sys, time
from cosmos_ops.lake import Lake
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import index_drop
lake = Lake(sys.argv[1])
started = time.perf_counter()
register_drop(lake, sys.argv[2], "big")
registered = time.perf_counter()
rows = index_drop(lake, "big").rows
done = time.perf_counter()
peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
processor_s = sum(os.times()[:2])
print(json.dumps({"rows": rows, "register_s": registered - started, "index_s": done - registered, "processor_s": processor_s, "peak_bytes": peak_bytes}))
"""


def index_part(folder: Path, quick: bool, result: Result) -> None:
    episodes = EPISODES // 10 if quick else EPISODES
    frames = write_big_log(folder / "log", episodes)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder / "lake"), str(folder / "log")], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"] == episodes
    result.row(f"{episodes} episodes, {frames} rows: register (hashing every file)", told["register_s"], "s")
    result.row(f"{episodes} episodes, {frames} rows: index", told["index_s"], "s")
    result.row(f"{episodes} episodes, {frames} rows: processor time, imports included", told["processor_s"], "s")
    result.row(f"{episodes} episodes, {frames} rows: most memory, interpreter included", told["peak_bytes"] / 1e9, "GB")
    result.ratio("index_10000_of_20_s", (told["register_s"] + told["index_s"]) * EPISODES / episodes / LIMIT_S)
    result.ratio("index_memory_of_1_gb", told["peak_bytes"] / LIMIT_BYTES)


def write_big_log(root: Path, episodes: int) -> int:
    """A LeRobot v3.0 dataset with `PER_FILE` episodes a file; returns its rows. Videos are there and not whole: an index does not open them."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(80, 220, episodes)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    for folder in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / folder).mkdir(parents=True)
    write_video(root / "film.mp4", render(block_path(0, 0, 8), 48, 64, 0, "front"), FPS)
    film = (root / "film.mp4").read_bytes()
    (root / "film.mp4").unlink()
    rows = []
    for number, first in enumerate(range(0, episodes, PER_FILE)):
        group = range(first, min(first + PER_FILE, episodes))
        count = int(lengths[first : group.stop].sum())
        motion = np.cumsum(rng.normal(size=(count, JOINTS)).astype(np.float32), axis=0)
        frame = np.concatenate([np.arange(length) for length in lengths[first : group.stop]])
        columns = {
            "observation.state": pa.FixedSizeListArray.from_arrays(motion.ravel(), JOINTS),
            "action": pa.FixedSizeListArray.from_arrays(np.roll(motion, -1, axis=0).ravel(), JOINTS),
            "timestamp": (frame / FPS).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.repeat(np.arange(first, group.stop), lengths[first : group.stop]),
            "index": np.arange(count) + starts[first],
            "task_index": np.repeat(np.arange(first, group.stop) % 20, lengths[first : group.stop]),
        }
        pq.write_table(pa.table(columns), root / f"data/chunk-000/file-{number:03d}.parquet")
        for camera in CAMERAS:
            path = root / f"videos/observation.images.{camera}/chunk-000/file-{number:03d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(film)
        rows += [_episode(episode, number, first, lengths, starts) for episode in group]
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    names = [f"do task number {number}" for number in range(20)]
    pq.write_table(pa.table({"task_index": list(range(20)), "__index_level_0__": names}), root / "meta/tasks.parquet")
    (root / "meta/info.json").write_text(json.dumps(_info(episodes, int(starts[-1]))))
    return int(starts[-1])


def _episode(episode: int, file: int, first: int, lengths: np.ndarray, starts: np.ndarray) -> dict:
    row = {"episode_index": episode, "tasks": [f"do task number {episode % 20}"], "length": int(lengths[episode])}
    row |= {"data/chunk_index": 0, "data/file_index": file, "dataset_from_index": int(starts[episode]), "dataset_to_index": int(starts[episode + 1])}
    for camera in CAMERAS:
        key = f"videos/observation.images.{camera}"
        since_s = float(starts[episode] - starts[first]) / FPS
        row |= {f"{key}/chunk_index": 0, f"{key}/file_index": file, f"{key}/from_timestamp": since_s, f"{key}/to_timestamp": since_s + lengths[episode] / FPS}
    return row


def _info(episodes: int, frames: int) -> dict:
    names = [f"joint_{number}" for number in range(JOINTS)]
    features = {name: {"dtype": "float32", "shape": [JOINTS], "names": names} for name in ("observation.state", "action")}
    about = {"video.height": 480, "video.width": 640, "video.codec": "av1", "video.fps": FPS, "video.channels": 3, "video.is_depth_map": False}
    for camera in CAMERAS:
        features[f"observation.images.{camera}"] = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"], "info": about}
    return {
        "codebase_version": "v3.0",
        "robot_type": "two-arms",
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": 20,
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{episodes}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }
