"""A lake with real shards and dataset versions of small synthetic clips, without the stages before them."""

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from cosmos_ops.base_models.nano.build import synthetic_clips
from cosmos_ops.hashing import digest, file_sha256
from cosmos_ops.lake import Lake, Output, build_folder
from cosmos_ops.profiles import ClipGeometry, Profile
from cosmos_ops.shards.tar import Sample, write_tar
from cosmos_ops.shards.write import SCHEMA
from cosmos_ops.tables import write_table
from cosmos_ops.video.encode import encode_mp4

FRAMES, HEIGHT, WIDTH = 9, 48, 64
CAPTIONS = ("push the red cube to the left", "open the drawer")


def small(profile: Profile, spec) -> Profile:
    """The profile on tiny clips of 9 frames, 48 x 64, with a given base model."""
    return replace(profile, base_model=spec, clip=ClipGeometry(FRAMES, HEIGHT, WIDTH, 8.0))


def add_shard(lake: Lake, name: str, clips: int, seed: int, size: tuple[int, int, int] = (FRAMES, HEIGHT, WIDTH)) -> list[dict]:
    """Write one shard of synthetic clips (frames, height, width) below `drops/<name>` and return its index rows, `shard_path` added."""
    folder = lake.root / "drops" / name
    folder.mkdir(parents=True)
    videos = ((synthetic_clips(clips, seed, *size) + 1) * 127.5).round().to(torch.uint8).movedim(1, -1).numpy()
    samples = []
    for number, frames in enumerate(videos):
        target, actions = io.BytesIO(), io.BytesIO()
        encode_mp4(frames, 8.0, target)
        np.save(actions, np.zeros((size[0], 2), np.float32))
        caption = CAPTIONS[number % len(CAPTIONS)]
        members = {"mp4": target.getvalue(), "json": json.dumps({"fps": 8.0}).encode(), "npy": actions.getvalue(), "txt": caption.encode()}
        samples.append(Sample(f"{name}-{number}", members))
    extents = write_tar(folder / "shard-00000.tar", samples)
    sha = file_sha256(folder / "shard-00000.tar")
    rows = [
        {
            "clip_id": f"clip-{sample.key}",
            "drop": name,
            "episode_id": f"episode-{sample.key}",
            "index": number,
            "camera": "front",
            "window": 0,
            "split": "train",
            "fps": 8.0,
            "frames": size[0],
            "task": None,
            "caption": sample.members["txt"].decode(),
            "captioner": "task",
            "shard": "shard-00000.tar",
            "shard_sha256": sha,
            "key": sample.key,
            "offset_bytes": extent.offset_bytes,
            "size_bytes": extent.size_bytes,
            "sample_sha256": None,
            "video_sha256": digest(sample.key),
            "likeness": None,
            "telemetry_likeness": None,
        }
        for number, (sample, extent) in enumerate(zip(samples, extents, strict=True))
    ]
    write_table(folder / "index.parquet", rows, SCHEMA)
    return [row | {"shard_path": f"drops/{name}/shard-00000.tar"} for row in rows]


def add_dataset(lake: Lake, rows: list[dict]) -> str:
    """Write a dataset version of these samples and return it."""
    version = digest([row["clip_id"] for row in rows])

    def write(folder):
        pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
        return Output(version, len(rows))

    build_folder(lake.dataset(version), "dataset", version, write)
    return version
