"""The evaluation set's samples, and reading the videos that belong to them."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from cosmos_ops.errors import WorkFailed
from cosmos_ops.lake import Lake, require_manifest
from cosmos_ops.shards.decode import decode_clip
from cosmos_ops.shards.read import read_clip

STRIP_FRAMES = 8
"""Frames of a clip on a film strip."""


@dataclass(frozen=True)
class Sample:
    """One video to generate: a held-out clip and a seed."""

    sample_key: str
    clip_id: str
    drop: str
    episode_id: str
    index: int
    camera: str
    window: int
    """Which part of the episode; cameras of one window show the same time."""
    task: str | None
    prompt: str
    fps: float
    seed: int
    shard_path: str
    """Shard with the real clip, relative to the lake's root."""
    key: str
    """Stem of the clip's members in the shard."""


def read_samples(lake: Lake, evaluation_version: str) -> list[Sample]:
    """Samples of an evaluation set, in its order. Raises `UserError` where this lake lacks it."""
    manifest = require_manifest(lake.evaluation_set(evaluation_version), f"evaluation set {evaluation_version}", "use the lake that it was made in")
    names = [field.name for field in fields(Sample)]
    return [Sample(**row) for row in pq.read_table(manifest.file("samples.parquet"), columns=names).to_pylist()]


def real_frames(lake: Lake, sample: Sample) -> np.ndarray:
    """The real clip of a sample, uint8 [T, H, W, 3]."""
    return read_clip(lake, sample.shard_path, sample.key).frames


def read_video(path: Path, frames: int) -> np.ndarray:
    """A generated video, uint8 RGB [T, H, W, 3], decoded as clips are. Raises `WorkFailed` where it is damaged or not `frames` long."""
    try:
        decoded = decode_clip(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WorkFailed(f"{path} cannot be read ({error}); remove its folder and generate again") from None
    if len(decoded) != frames:
        raise WorkFailed(f"{path} has {len(decoded)} frames, {frames} are needed; remove its folder and generate again")
    return decoded


def spread(items: list, count: int) -> list:
    """At most `count` of the items, evenly spread over their order, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, count)]
