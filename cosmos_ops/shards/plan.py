"""The clips stage: which window of which camera becomes a clip, and in which split. A table; no pixel is touched."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.errors import WorkFailed
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, require_manifest
from cosmos_ops.logs.index import episodes_manifest, read_episodes
from cosmos_ops.profiles import ClipGeometry, Profile
from cosmos_ops.quality.stretches import good_spans
from cosmos_ops.shards.splits import SPLITS, assign_splits
from cosmos_ops.tables import content_hash, write_table
from cosmos_ops.video.resample import clip_rate, sample_times

CODE_VERSION = "2"
TABLE = "clips.parquet"

SCHEMA = pa.schema(
    [
        pa.field("drop", pa.string(), nullable=False),
        pa.field("episode_id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("window", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("frame_times_s", pa.list_(pa.float64()), nullable=False),
        pa.field("source_width", pa.int32(), nullable=False),
        pa.field("source_height", pa.int32(), nullable=False),
        pa.field("crop_px", pa.list_(pa.int32()), nullable=False),
        pa.field("task", pa.string()),
    ]
)
"""`window` counts whole windows between bad stretches from the episode's start, those left out by the profile's cap included. Rows are in clip order:
by `index`, `camera`, `window`. `crop_px` are black bars to cut off: top, bottom, left, right. `frame_times_s` are the moments asked for, on the
episode's clock; the nearest recorded frame is taken."""


def plan_clips(lake: Lake, drop: str, profile: Profile) -> Manifest:
    """Write `clips.parquet`: non-overlapping windows of every accepted camera of a drop, laid out between its bad stretches.

    Raises `UserError` where the drop was not assessed and `WorkFailed` when no camera was accepted, or an accepted one holds no whole
    window (quality must have put that into quarantine: nothing gets lost between the two stages).
    """
    fingerprint = profile.data_fingerprint
    episodes = episodes_manifest(lake, drop)
    quality = require_manifest(lake.drop_stage(drop, "quality", fingerprint), f"the quality of drop {drop}", "materialize `quality` first")
    key = digest([episodes.data_version, quality.data_version, profile.clip, CODE_VERSION])

    def write(folder: Path) -> Output:
        accepted = [row for row in pq.read_table(quality.file("cameras.parquet")).to_pylist() if row["accepted"]]
        if not accepted:
            raise WorkFailed(f"drop {drop} has no accepted camera; read the reasons in {quality.file('quarantine.parquet')}")
        bad = pq.read_table(quality.file("stretches.parquet")).to_pylist()
        rows = _plan(drop, read_episodes(lake, drop).to_pylist(), accepted, bad, profile.clip)
        write_table(folder / TABLE, rows, SCHEMA)
        return Output(content_hash(rows), len(rows), _meta(rows))

    return build_folder(lake.drop_stage(drop, "clips", fingerprint), "clips", key, write)


def clip_id(episode_id: str, camera: str, frame_times_s: list[float], geometry: ClipGeometry, crop_px: Sequence[int] = ()) -> str:
    """16 hex digits over what a clip shows: which moments of which camera of which recording, at which size, less which bars."""
    cropped = [list(crop_px)] if any(crop_px) else []
    return digest([episode_id, camera, [round(time_s, 6) for time_s in frame_times_s], geometry.height, geometry.width, geometry.fit, *cropped])


def window_numbers(windows: int, most: int | None) -> list[int]:
    """Which of an episode's whole windows are used: all, or `most` spread evenly from the first to the last (one: the middle)."""
    if most is None or windows <= most:
        return list(range(windows))
    if most == 1:
        return [windows // 2]
    return [(2 * place * (windows - 1) + most - 1) // (2 * (most - 1)) for place in range(most)]


def _plan(drop: str, episodes: list[dict], accepted: list[dict], bad: list[dict], geometry: ClipGeometry) -> list[dict]:
    """Rows in clip order. Quality has put a second copy of an episode into quarantine, so ids are unique here."""
    by_index = {episode["index"]: episode for episode in episodes}
    splits = assign_splits(row["episode_id"] for row in accepted)
    return [
        {**window, "split": splits[row["episode_id"]]}
        for row in sorted(accepted, key=lambda row: (row["index"], row["camera"]))
        for window in _windows(drop, by_index[row["index"]], row, [one for one in bad if _concerns(one, row)], geometry)
    ]


def _concerns(bad: dict, row: dict) -> bool:
    return bad["index"] == row["index"] and bad["camera"] in (None, row["camera"])


def _windows(drop: str, episode: dict, row: dict, bad: list[dict], geometry: ClipGeometry) -> list[dict]:
    """One accepted camera's windows, without their split."""
    camera = next(camera for camera in episode["cameras"] if camera["name"] == row["camera"])
    fps = clip_rate(camera["fps"], geometry.max_fps)
    # A clip needs both pixels and telemetry: the shorter of the two ends the episode.
    length_s = min(row["video_duration_s"], episode["duration_s"])
    spans = good_spans(length_s - 1.0 / camera["fps"], [(one["start_s"], one["stop_s"]) for one in bad])
    starts_s = [span.start_s + number * geometry.frames / fps for span in spans for number in range(span.frames(fps) // geometry.frames)]
    if not starts_s:
        raise WorkFailed(
            f"drop {drop}, episode {episode['index']} ({episode['episode_id']}), camera {camera['name']}: {length_s:.2f} s at {fps:g} frames a second hold "
            f"no clip of {geometry.frames} frames, yet quality accepted it; leave quality.min_frames unset in the profile, or raise it"
        )
    crop_px = list(row["crop_px"] or (0, 0, 0, 0))
    made = []
    for number in window_numbers(len(starts_s), geometry.max_windows_per_episode):
        times_s = [round(float(time_s), 6) for time_s in sample_times(starts_s[number], geometry.frames, fps)]
        made.append(
            {
                "drop": drop,
                "episode_id": episode["episode_id"],
                "index": episode["index"],
                "camera": camera["name"],
                "clip_id": clip_id(episode["episode_id"], camera["name"], times_s, geometry, crop_px),
                "window": number,
                "fps": fps,
                "frame_times_s": times_s,
                "source_width": camera["width"],
                "source_height": camera["height"],
                "crop_px": crop_px,
                "task": episode["task"],
            }
        )
    return made


def _meta(rows: list[dict]) -> dict:
    return {
        "clips_by_split": {split: sum(row["split"] == split for row in rows) for split in SPLITS},
        "episodes_by_split": {split: len({row["episode_id"] for row in rows if row["split"] == split}) for split in SPLITS},
        "cameras": sorted({row["camera"] for row in rows}),
        "rates_fps": sorted({row["fps"] for row in rows}),
        "seconds": round(sum(len(row["frame_times_s"]) / row["fps"] for row in rows), 2),
    }
