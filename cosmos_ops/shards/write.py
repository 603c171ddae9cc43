"""The shards stage: every planned clip transcoded once, straight into WebDataset tars with an index of where each lies.

Equal clips give equal tars in any lake, on any number of workers, with the same encoder build: that build is part of the stage's key.
"""

import io
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.errors import WorkFailed
from cosmos_ops.hashing import canonical_json, digest, file_sha256
from cosmos_ops.lake import Lake, Manifest, Output, atomic_write, require_manifest, resume_folder
from cosmos_ops.logs.drops import Drop, check_unchanged, load_drop
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.shards.parts import part_path, read_part, write_part
from cosmos_ops.shards.strip import write_strip
from cosmos_ops.shards.tar import Extent, Sample, extent_hashes, write_tar
from cosmos_ops.shards.transcode import EncodedClip
from cosmos_ops.shards.work import Run, transcode_runs
from cosmos_ops.store.notes import share
from cosmos_ops.tables import content_hash, write_table
from cosmos_ops.video.encode import encoder_build
from cosmos_ops.workers import LOCAL, Workers

CODE_VERSION = "2"
INDEX = "index.parquet"
STRIP = "filmstrip.png"

SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("drop", pa.string(), nullable=False),
        pa.field("episode_id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("window", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("frames", pa.int32(), nullable=False),
        pa.field("task", pa.string()),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("captioner", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("shard_sha256", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("offset_bytes", pa.int64(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("sample_sha256", pa.string()),
        pa.field("video_sha256", pa.string(), nullable=False),
        pa.field("likeness", pa.string()),
        pa.field("telemetry_likeness", pa.string()),
    ]
)
"""`shard` is a file name beside the index; `key` the stem of the clip's members in it; `offset_bytes` and `size_bytes` cover the whole
sample, tar headers included, and `sample_sha256` is over those bytes; `video_sha256` is over its MP4. `likeness` and `telemetry_likeness`
are those of `likeness.py`, null where a clip shows or does too little. Indexes of earlier versions lack the nullable columns but `task`."""

_FACTS = ("clip_id", "episode_id", "index", "camera", "window", "split", "fps", "task", "caption", "captioner", "captioner_version")
"""What a sample's JSON says beside its frame times."""


def write_shards(lake: Lake, drop: str, profile: Profile, progress: Progress = silent, workers: Workers = LOCAL) -> Manifest:
    """Write `shard-00000.tar`, ..., `index.parquet` and `filmstrip.png` of a drop's planned and captioned clips.

    A killed call continues at the first shard that is not whole. Clips come from the workers as bytes: only this call writes. Raises
    `UserError` where clips or captions are missing or the drop changed, `WorkFailed` naming the clip that cannot be decoded or has no caption.
    """
    fingerprint = profile.data_fingerprint
    clips = require_manifest(lake.drop_stage(drop, "clips", fingerprint), f"the clip plan of drop {drop}", "materialize `clips` first")
    captions = require_manifest(lake.drop_stage(drop, "captions", fingerprint), f"the captions of drop {drop}", "materialize `captions` first")
    source = load_drop(lake, drop)
    key = digest([clips.data_version, captions.data_version, source.fingerprint, profile.clip, profile.shards, encoder_build(), CODE_VERSION])

    def write(folder: Path) -> Output:
        check_unchanged(lake, source)
        planned = _captioned(clips, captions, drop)
        rows = _write_tars(folder, planned, source, profile, progress, workers)
        write_table(folder / INDEX, rows, SCHEMA)
        write_strip(folder, rows, folder / STRIP)
        return Output(content_hash(rows), len(rows), _meta(folder, rows))

    return resume_folder(lake.drop_stage(drop, "shards", fingerprint), "shards", key, write)


def _write_tars(folder: Path, clips: list[dict], source: Drop, profile: Profile, progress: Progress, workers: Workers) -> list[dict]:
    """Index rows of all clips in order; shards that are whole already are only checked."""
    size = profile.shards.clips_per_shard
    parts = {f"shard-{place:05d}.tar": clips[start : start + size] for place, start in enumerate(range(0, len(clips), size))}
    rows = {shard: read_part(folder, shard) for shard in parts}
    done = sum(len(found) for found in rows.values() if found)
    progress(done, len(clips), f"clips of {source.name} in shards")
    waiting = [Run(shard, part) for shard, part_clips in parts.items() if rows[shard] is None for part in _same_camera(part_clips)]
    for shard, results in groupby(transcode_runs(source, waiting, profile, workers), key=lambda result: result[0].shard):
        pairs = []
        for run, encoded in results:
            pairs += zip(run.clips, encoded, strict=True)
            done += len(encoded)
            progress(done, len(clips), f"clips of {source.name} in shards")
        rows[shard] = _write_shard(folder, shard, pairs)
    return [row for shard in parts for row in rows[shard]]


def _write_shard(folder: Path, shard: str, pairs: list[tuple[dict, EncodedClip]]) -> list[dict]:
    with atomic_write(folder / shard) as part:
        extents = write_tar(part, (_sample(clip, encoded) for clip, encoded in pairs))
        sha256, samples = file_sha256(part), extent_hashes(part, extents)
    rows = [_row(*pair, shard, sha256, extent, sample) for pair, extent, sample in zip(pairs, extents, samples, strict=True)]
    write_part(folder, shard, rows)
    share(folder / shard, part_path(folder, shard))
    return rows


def _sample(clip: dict, encoded: EncodedClip) -> Sample:
    """Nothing of this lake, machine or moment goes in: the same recording gives the same bytes anywhere."""
    facts = {name: clip[name] for name in _FACTS}
    facts |= {"frames": len(encoded.frame_times_s), "frame_times_s": encoded.frame_times_s}
    actions = io.BytesIO()
    np.save(actions, encoded.actions, allow_pickle=False)
    return Sample(clip["clip_id"], {"mp4": encoded.video, "json": canonical_json(facts).encode(), "txt": clip["caption"].encode(), "npy": actions.getvalue()})


def _row(clip: dict, encoded: EncodedClip, shard: str, sha256: str, extent: Extent, sample_sha256: str) -> dict:
    row = {name: clip[name] for name in SCHEMA.names if name in clip}
    return row | {
        "frames": len(encoded.frame_times_s),
        "shard": shard,
        "shard_sha256": sha256,
        "key": clip["clip_id"],
        "offset_bytes": extent.offset_bytes,
        "size_bytes": extent.size_bytes,
        "sample_sha256": sample_sha256,
        "video_sha256": encoded.video_sha256,
        "likeness": encoded.likeness,
        "telemetry_likeness": encoded.telemetry_likeness,
    }


def _captioned(clips: Manifest, captions: Manifest, drop: str) -> list[dict]:
    """Planned clips in order, each with its caption."""
    by_clip = {row["clip_id"]: row for row in pq.read_table(captions.file("captions.parquet")).to_pylist()}
    planned = pq.read_table(clips.file("clips.parquet")).to_pylist()
    without = [clip["clip_id"] for clip in planned if not by_clip.get(clip["clip_id"], {}).get("caption")]
    if without:
        raise WorkFailed(
            f"{len(without)} clips of drop {drop} have no caption, first {without[0]}; add the task text to the log, or set captions.template in the "
            "profile to a text that needs none"
        )
    return [{**clip, **by_clip[clip["clip_id"]]} for clip in planned]


def _same_camera(clips: list[dict]) -> list[list[dict]]:
    return [list(run) for _, run in groupby(clips, key=lambda clip: (clip["index"], clip["camera"]))]


def _meta(folder: Path, rows: list[dict]) -> dict:
    shards = sorted({row["shard"] for row in rows})
    sizes = [(folder / shard).stat().st_size for shard in shards]
    return {
        "shards": len(shards),
        "megabytes": round(sum(sizes) / 1e6, 3),
        "encoder": encoder_build(),
        "captioners": sorted({row["captioner"] for row in rows}),
    }
