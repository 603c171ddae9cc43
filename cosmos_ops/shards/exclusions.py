"""Which clips a dataset version leaves out, and why. A clip is kept or left out; it never moves between splits.

Two clips are copies of one another when their recordings have the same id, or their videos the same bytes (equal pixels encode to
equal bytes). The first in drop order is kept, so what one drop holds out another cannot bring into training.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, locked, write_json
from cosmos_ops.shards.splits import TRAIN

FORGOTTEN, DUPLICATE_EPISODE, DUPLICATE_CLIP, OVER_CAP = "forgotten", "duplicate_episode", "duplicate_clip", "over_cap"

SCHEMA = pa.schema(
    [
        pa.field("drop", pa.string(), nullable=False),
        pa.field("episode_id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("window", pa.int32(), nullable=False),
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("shard_sha256", pa.string(), nullable=False),
        pa.field("video_sha256", pa.string(), nullable=False),
    ]
)
"""`split` is the one the clip has in its drop."""


def exclude(rows: list[dict], forgotten: dict[str, str], max_train_clips: int | None) -> tuple[list[dict], list[dict]]:
    """Index rows in drop order -> (kept rows, rows of `SCHEMA`), both in that order.

    Reasons: `forgotten` (the episode is to be forgotten, or the clip has the video of one that is), `duplicate_episode`,
    `duplicate_clip`, and `over_cap` for training clips beyond `max_train_clips`, chosen by a hash of their id.
    """
    gone = _videos(rows, forgotten)
    reasons = [_forgotten(row, forgotten, gone) for row in rows]
    episodes: dict[str, dict] = {}
    videos: dict[str, dict] = {}
    for place, row in enumerate(rows):
        if reasons[place] is None:
            reasons[place] = _duplicate(row, episodes.setdefault(row["episode_id"], row), videos.setdefault(row["video_sha256"], row))
    kept = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    over = _over_cap(kept, max_train_clips)
    capped = (OVER_CAP, f"training.max_train_clips is {max_train_clips}")
    excluded = [
        {**{name: row[name] for name in SCHEMA.names if name in row}, "reason": why[0], "detail": why[1]}
        for row, reason in zip(rows, reasons, strict=True)
        if (why := reason or (capped if _clip_key(row) in over else None))
    ]
    return [row for row in kept if _clip_key(row) not in over], excluded


def read_forgotten(lake: Lake) -> dict[str, str]:
    """Episode id -> reason, from the optional `forgotten.json` at the lake's root. Raises `UserError` where it is not such a mapping."""
    path = lake.root / "forgotten.json"
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable as JSON ({error}); it maps episode ids to reasons") from None
    if not isinstance(stored, dict) or not all(isinstance(reason, str) for reason in stored.values()):
        raise UserError(f"{path} must map episode ids to reasons, both texts")
    return stored


def drop_order(lake: Lake, drops: Iterable[str]) -> list[str]:
    """`drops` with the earlier first: those that a dataset of this lake held before in the order they came, then new ones by name.

    The order is kept in `datasets/drop-order.json` and only grows: otherwise a new drop that copies an old one's episodes could, by its
    name alone, replace training clips of the champion by held-out ones.
    """
    path: Path = lake.root / "datasets" / "drop-order.json"
    with locked(path):
        known = json.loads(path.read_text()) if path.is_file() else []
        new = sorted(set(drops) - set(known))
        if new:
            known = known + new
            write_json(path, known)
    return sorted(set(drops), key=known.index)


def _clip_key(row: dict) -> tuple[str, str]:
    return row["drop"], row["clip_id"]


def _videos(rows: list[dict], forgotten: dict[str, str]) -> dict[str, str]:
    """Video hash -> episode id of every clip that is to be forgotten."""
    return {row["video_sha256"]: row["episode_id"] for row in rows if row["episode_id"] in forgotten}


def _forgotten(row: dict, forgotten: dict[str, str], videos: dict[str, str]) -> tuple[str, str] | None:
    if row["episode_id"] in forgotten:
        return FORGOTTEN, forgotten[row["episode_id"]]
    if row["video_sha256"] in videos:
        episode_id = videos[row["video_sha256"]]
        return FORGOTTEN, f"same video as a clip of episode {episode_id}: {forgotten[episode_id]}"
    return None


def _duplicate(row: dict, episode: dict, video: dict) -> tuple[str, str] | None:
    if (episode["drop"], episode["index"]) != (row["drop"], row["index"]):
        return DUPLICATE_EPISODE, f"the same recording as episode {episode['index']} of drop {episode['drop']}"
    if video is not row:
        return DUPLICATE_CLIP, f"the same video as clip {video['clip_id']} of drop {video['drop']}"
    return None


def _over_cap(kept: list[dict], most: int | None) -> set[tuple[str, str]]:
    train = sorted((row for row in kept if row["split"] == TRAIN), key=lambda row: digest(row["clip_id"]))
    return {_clip_key(row) for row in train[most:]} if most is not None else set()
