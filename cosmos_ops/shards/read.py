"""Reading shards: any clip by its key with one range read, or a whole tar in order through webdataset."""

import functools
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake, brought_file
from cosmos_ops.shards.decode import decode_clip
from cosmos_ops.shards.tar import Extent, Sample, read_extent

_INDEX = "index.parquet"


@dataclass(frozen=True, eq=False)
class Clip:
    """One training sample."""

    key: str
    frames: np.ndarray
    """[T, H, W, 3] uint8 RGB."""
    fps: float
    caption: str
    meta: dict[str, Any]
    """The sample's own facts: ids, camera, window, frame times, captioner."""
    actions: np.ndarray
    """[T, A] float32 at the frame times."""


def read_clip(lake: Lake, shard_path: str, key: str, verify: bool = False) -> Clip:
    """Read one clip by its key; `shard_path` is relative to the lake's root, as samples tables have it.

    `verify` compares the video with the hash in the shard's index. Raises `UserError` for a shard or key that is not there,
    `WorkFailed` for a damaged one.
    """
    path = _inside(lake, shard_path)
    row = _located(path).get(key)
    if row is None:
        raise UserError(f"{shard_path} holds no clip {key!r}; the samples table is of another version of this shard")
    try:
        sample = read_extent(path, Extent(row["offset_bytes"], row["size_bytes"]))
        if sample.key != key:
            raise ValueError(f"clip {sample.key} lies where its index has {key}")
        if verify:
            _check_video(sample, row["video_sha256"])
        return _clip(sample.key, sample.members)
    except (OSError, ValueError, KeyError) as error:
        raise WorkFailed(f"{shard_path}, clip {key}: {error}; remove {path.parent} and ingest the drop again") from None


def read_video(lake: Lake, shard_path: str, key: str) -> bytes:
    """The MP4 of one clip as stored, e.g. for a report. Errors as in `read_clip`."""
    path = _inside(lake, shard_path)
    row = _located(path).get(key)
    if row is None:
        raise UserError(f"{shard_path} holds no clip {key!r}; the samples table is of another version of this shard")
    try:
        return read_extent(path, Extent(row["offset_bytes"], row["size_bytes"])).members["mp4"]
    except (OSError, ValueError, KeyError) as error:
        raise WorkFailed(f"{shard_path}, clip {key}: {error}; remove {path.parent} and ingest the drop again") from None


def iterate_shard(lake: Lake, shard_path: str, verify: bool = False) -> Iterator[Clip]:
    """Every clip of a shard in order, read as a stream by webdataset. Errors as in `read_clip`."""
    import webdataset as wds

    path = _inside(lake, shard_path)
    rows = _located(path)
    found = 0
    try:
        for sample in wds.WebDataset(str(path), shardshuffle=False, empty_check=False):
            members = {name: content for name, content in sample.items() if not name.startswith("__")}
            if verify:
                _check_video(Sample(sample["__key__"], members), rows[sample["__key__"]]["video_sha256"])
            found += 1
            yield _clip(sample["__key__"], members)
    except (OSError, ValueError, KeyError) as error:
        raise WorkFailed(f"{shard_path}: {error}; remove {path.parent} and ingest the drop again") from None
    if found != len(rows):
        raise WorkFailed(f"{shard_path} holds {found} clips, its index {len(rows)}; remove {path.parent} and ingest the drop again")


def _clip(key: str, members: dict[str, bytes]) -> Clip:
    meta = json.loads(members["json"])
    actions = np.load(io.BytesIO(members["npy"]), allow_pickle=False)
    return Clip(key, decode_clip(members["mp4"]), meta["fps"], members["txt"].decode(), meta, actions)


def _check_video(sample: Sample, expected: str) -> None:
    if hashlib.sha256(sample.members["mp4"]).hexdigest() != expected:
        raise ValueError(f"the video of {sample.key} is not the one in the index")


def _inside(lake: Lake, shard_path: str) -> Path:
    path = (lake.root / shard_path).resolve()
    if not path.is_relative_to(lake.root.resolve()):
        raise UserError(f"{shard_path} leads out of the lake {lake.root}; use the samples table of this lake")
    if not brought_file(path).is_file():
        raise UserError(f"{shard_path} is not in the lake {lake.root}; ingest its drop again")
    return path


def _located(path: Path) -> dict[str, dict]:
    index = brought_file(path.parent / _INDEX)
    try:
        return _index(index, index.stat().st_mtime_ns).get(path.name, {})
    except OSError as error:
        raise UserError(f"{index} cannot be read ({error}); ingest the drop again") from None


@functools.lru_cache(maxsize=256)
def _index(path: Path, mtime_ns: int) -> dict[str, dict[str, dict]]:
    """Shard -> key -> where it lies; kept while the index file is the same."""
    rows = pq.read_table(path, columns=["shard", "key", "offset_bytes", "size_bytes", "video_sha256"]).to_pylist()
    shards: dict[str, dict[str, dict]] = {}
    for row in rows:
        shards.setdefault(row["shard"], {})[row["key"]] = row
    return shards
