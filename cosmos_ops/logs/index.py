"""The episodes stage: one row an episode, from telemetry and metadata alone."""

from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, require_manifest
from cosmos_ops.logs import Episode, open_log
from cosmos_ops.logs.drops import check_unchanged, load_drop
from cosmos_ops.tables import content_hash, write_table

CODE_VERSION = "3"
TABLE = "episodes.parquet"

CAMERA = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("offset_s", pa.float64(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("codec", pa.string(), nullable=False),
    ]
)
PROBLEM = pa.struct(
    [
        pa.field("code", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("camera", pa.string()),
        pa.field("fatal", pa.bool_(), nullable=False),
        pa.field("start_s", pa.float64()),
        pa.field("stop_s", pa.float64()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("drop", pa.string(), nullable=False),
        pa.field("episode_id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("robot", pa.string()),
        pa.field("frames", pa.int64(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("state_dim", pa.int32(), nullable=False),
        pa.field("action_dim", pa.int32(), nullable=False),
        pa.field("task", pa.string()),
        pa.field("outcome", pa.string()),
        pa.field("cameras", pa.list_(CAMERA), nullable=False),
        pa.field("problems", pa.list_(PROBLEM), nullable=False),
    ]
)
"""`cameras` are those with a file; a declared camera without one is in `problems`."""


def index_drop(lake: Lake, drop_name: str) -> Manifest:
    """Write `episodes.parquet` of a registered drop. Raises `UserError` when the drop changed, is gone or cannot be read."""
    drop = load_drop(lake, drop_name)
    check_unchanged(lake, drop)

    def write(folder) -> Output:
        rows = [_row(drop_name, episode) for episode in open_log(drop.uri).episodes()]
        if not rows:
            raise UserError(f"drop {drop_name} holds no episode; remove {lake.drop(drop_name)} and ingest a complete delivery")
        write_table(folder / TABLE, rows, SCHEMA)
        problems = sum(problem["fatal"] for row in rows for problem in row["problems"])
        meta = {"frames": sum(row["frames"] for row in rows), "hours": round(sum(row["duration_s"] for row in rows) / 3600, 4), "fatal_problems": problems}
        return Output(content_hash(rows), len(rows), meta)

    return build_folder(lake.drop_stage(drop_name, "episodes"), "episodes", digest([drop.fingerprint, drop.name, CODE_VERSION]), write)


def read_episodes(lake: Lake, drop: str) -> pa.Table:
    """The episodes table of a drop, see `SCHEMA`. Raises `UserError` where it was not indexed."""
    return pq.read_table(episodes_manifest(lake, drop).file(TABLE), schema=SCHEMA)


def episodes_manifest(lake: Lake, drop: str) -> Manifest:
    """Manifest of the episodes stage. Raises `UserError` where the drop was not indexed."""
    return require_manifest(lake.drop_stage(drop, "episodes"), f"the episode index of drop {drop}", "materialize `episodes` first")


def _row(drop: str, episode: Episode) -> dict:
    return {
        "drop": drop,
        "episode_id": episode.id,
        "index": episode.index,
        "robot": episode.robot,
        "frames": episode.frames,
        "fps": episode.fps,
        "duration_s": episode.duration_s,
        "state_dim": episode.state.shape[1],
        "action_dim": episode.action.shape[1],
        "task": episode.task,
        "outcome": episode.outcome,
        "cameras": [asdict(camera) for camera in episode.cameras],
        "problems": [asdict(problem) for problem in episode.problems],
    }
