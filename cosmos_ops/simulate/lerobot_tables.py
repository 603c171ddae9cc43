"""The parts that LeRobot v2.1 and v3.0 share: feature descriptions, telemetry tables, statistics."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.simulate.recording import Recording, RobotSpec

CHUNK_SIZE = 1000
_SUCCESS = "next.success"
_COUNTERS = ("frame_index", "episode_index", "index", "task_index")
_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


def video_key(camera: str) -> str:
    """Feature name of a camera."""
    return f"observation.images.{camera}"


def features(robot: RobotSpec, recording: Recording, outcomes: bool = False) -> dict[str, dict]:
    """The `features` of info.json, in LeRobot's order of use: vectors, cameras, counters."""
    vector = {
        "action": {"dtype": "float32", "shape": [len(robot.action_names)], "names": list(robot.action_names)},
        "observation.state": {"dtype": "float32", "shape": [len(robot.state_names)], "names": list(robot.state_names)},
    }
    cameras = {video_key(camera): _video_feature(frames, recording.fps) for camera, frames in recording.frames.items()}
    clock = {"timestamp": {"dtype": "float32", "shape": [1], "names": None}}
    success = {_SUCCESS: {"dtype": "bool", "shape": [1], "names": None}} if outcomes else {}
    return {**vector, **cameras, **success, **clock, **{name: {"dtype": "int64", "shape": [1], "names": None} for name in _COUNTERS}}


def telemetry(recording: Recording, episode: int, first_index: int, task_index: int, outcomes: bool = False) -> pa.Table:
    """One row a frame; `timestamp` in seconds from the episode's start, by the telemetry's clock."""
    rows = recording.length
    frame_index = np.arange(rows, dtype=np.int64)
    return pa.table(
        {
            "action": _vectors(recording.action),
            "observation.state": _vectors(recording.state),
            **({_SUCCESS: pa.array((frame_index == rows - 1) & recording.succeeded)} if outcomes else {}),
            "timestamp": pa.array((recording.clock_s - recording.clock_s[0]).astype(np.float32)),
            "frame_index": pa.array(frame_index),
            "episode_index": pa.array(np.full(rows, episode, np.int64)),
            "index": pa.array(frame_index + first_index),
            "task_index": pa.array(np.full(rows, task_index, np.int64)),
        }
    )


def write_parquet(tables: list[pa.Table], path: Path) -> None:
    """One row group a table, fixed settings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, tables[0].schema, compression="snappy", version="2.6") as writer:
        for table in tables:
            writer.write_table(table)


def episode_stats(recording: Recording, table: pa.Table, quantiles: bool) -> dict[str, dict[str, np.ndarray]]:
    """Feature -> min, max, mean, std, count (and quantiles, v3.0); cameras as [3, 1, 1] in 0-1 from sampled pixels."""
    stats = {}
    for name in table.column_names:
        values = np.stack(table[name].to_numpy()) if pa.types.is_fixed_size_list(table.schema.field(name).type) else table[name].to_numpy()[:, None]
        stats[name] = _summary(values.astype(np.float64), recording.length, quantiles)
    for camera, frames in recording.frames.items():
        chosen = frames[np.unique(np.linspace(0, len(frames) - 1, 10).round().astype(int)), ::4, ::4]
        summary = _summary(chosen.reshape(-1, 3) / 255.0, len(chosen), quantiles)
        stats[video_key(camera)] = {key: value if key == "count" else value.reshape(3, 1, 1) for key, value in summary.items()}
    return stats


def aggregate_stats(episodes: list[dict[str, dict[str, np.ndarray]]]) -> dict[str, dict[str, np.ndarray]]:
    """Statistics of several episodes from those of each: pooled mean and variance, outer envelope for extremes and quantiles."""
    total = {}
    for name in episodes[0]:
        column = {key: np.stack([stats[name][key] for stats in episodes]) for key in episodes[0][name]}
        weight = column["count"].reshape(-1, *[1] * (column["mean"].ndim - 1)) / column["count"].sum()
        mean = (column["mean"] * weight).sum(axis=0)
        variance = ((column["std"] ** 2 + (column["mean"] - mean) ** 2) * weight).sum(axis=0)
        merged = {"min": column["min"].min(axis=0), "max": column["max"].max(axis=0), "mean": mean, "std": np.sqrt(variance)}
        merged["count"] = column["count"].sum(axis=0)
        for key, share in _QUANTILES.items():
            if key in column:
                merged[key] = column[key].min(axis=0) if share <= 0.5 else column[key].max(axis=0)
        total[name] = merged
    return total


def as_json(value):
    """Nested mappings of arrays as plain lists."""
    return {key: as_json(item) for key, item in value.items()} if isinstance(value, dict) else value.tolist()


def _video_feature(frames: np.ndarray, fps: int) -> dict:
    _, height, width, channels = frames.shape
    info = {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": channels,
        "has_audio": False,
    }
    return {"dtype": "video", "shape": [height, width, channels], "names": ["height", "width", "channels"], "info": info}


def _vectors(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _summary(values: np.ndarray, count: int, quantiles: bool) -> dict[str, np.ndarray]:
    stats = {"min": values.min(axis=0), "max": values.max(axis=0), "mean": values.mean(axis=0), "std": values.std(axis=0), "count": np.array([count])}
    if quantiles:
        stats |= {key: np.quantile(values, share, axis=0) for key, share in _QUANTILES.items()}
    return stats
