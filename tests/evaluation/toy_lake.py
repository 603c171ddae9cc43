"""A lake of a few drawn clips: a real shard with its index, a dataset version and an evaluation set over them."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa

from cosmos_ops.hashing import canonical_json, digest, file_sha256
from cosmos_ops.lake import Lake, Manifest, Output, build_folder
from cosmos_ops.shards.dataset import EVALUATION_SCHEMA, SAMPLES_SCHEMA
from cosmos_ops.shards.tar import Sample, write_tar
from cosmos_ops.shards.write import SCHEMA as INDEX_SCHEMA
from cosmos_ops.tables import write_table
from cosmos_ops.video.encode import encode_mp4

EVALUATION = "evaluation0"
DATASET = "dataset0"
SHARD = "drops/toys/shards/fp/shard-00000.tar"
PROMPTS = ("put the cup on the plate", "open the drawer <b>& 'close'</b> it", "push the block", "wipe the table")

Draw = Callable[[int, int], tuple[np.ndarray, np.ndarray]]
"""Episode and window -> frames uint8 [T, H, W, 3] and actions float32 [T, A]."""


def write_shard(lake: Lake, episodes: int, clips_each: int, fps: float, draw: Draw, splits: Callable[[int], str] = lambda episode: "test") -> list[dict]:
    """One real shard with its index; returns the index rows."""
    path = lake.root / SHARD
    path.parent.mkdir(parents=True)
    samples, rows = [], []
    for episode in range(episodes):
        for window in range(clips_each):
            number = episode * clips_each + window
            frames, actions = draw(episode, window)
            clip_id, prompt = digest(["clip", number]), PROMPTS[episode % len(PROMPTS)]
            row = {"clip_id": clip_id, "drop": "toys", "episode_id": f"episode{episode}", "index": episode, "camera": "top", "window": window}
            row |= {"split": splits(episode), "fps": fps, "frames": len(frames), "task": prompt, "caption": prompt, "captioner": "task"}
            members = {"mp4": video_bytes(frames, fps), "json": canonical_json(row).encode(), "txt": prompt.encode(), "npy": array_bytes(actions)}
            samples.append(Sample(clip_id, members))
            rows.append(
                row
                | {"shard": path.name, "key": clip_id, "video_sha256": digest(number, 64)}
                | dict.fromkeys(("sample_sha256", "likeness", "telemetry_likeness"))
            )
    extents = write_tar(path, samples)
    for row, extent in zip(rows, extents, strict=True):
        row |= {"shard_sha256": file_sha256(path), "offset_bytes": extent.offset_bytes, "size_bytes": extent.size_bytes}
    write_table(path.parent / "index.parquet", rows, INDEX_SCHEMA)
    return rows


def write_dataset(lake: Lake, rows: list[dict], version: str = DATASET) -> Manifest:
    """A dataset version of exactly these index rows."""
    placed = [row | {"shard_path": SHARD} for row in rows]
    return build_folder(lake.dataset(version), "dataset", version, lambda work: _table_of(work, version, placed, SAMPLES_SCHEMA))


def evaluation_row(row: dict, seed: int = 0) -> dict:
    kept = {name: row[name] for name in EVALUATION_SCHEMA.names if name in row}
    return kept | {"prompt": row["caption"], "seed": seed, "sample_key": f"{row['clip_id']}-{seed}", "shard_path": SHARD}


def write_evaluation_set(lake: Lake, version: str, rows: list[dict]) -> Manifest:
    """An evaluation set of exactly these rows."""
    return build_folder(lake.evaluation_set(version), "evaluation_set", version, lambda work: _table_of(work, version, rows, EVALUATION_SCHEMA))


def video_bytes(frames: np.ndarray, fps: float) -> bytes:
    target = BytesIO()
    encode_mp4(frames, fps, target)
    return target.getvalue()


def array_bytes(array: np.ndarray) -> bytes:
    target = BytesIO()
    np.save(target, array, allow_pickle=False)
    return target.getvalue()


def _table_of(work: Path, version: str, rows: list[dict], schema: pa.Schema) -> Output:
    write_table(work / "samples.parquet", rows, schema)
    return Output(version, len(rows))
