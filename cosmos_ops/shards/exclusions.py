"""Which clips a dataset version leaves out, and why. A clip is kept or left out; it never moves between splits.

Two clips are copies of one another when their recordings have the same id, their videos the same bytes (equal pixels encode to equal
bytes), or, in two drops, their likenesses are within `dataset.near_duplicate_bits` and no telemetry says otherwise: the same recording
encoded again. The first in drop order is kept, so what one drop holds out another cannot bring into training.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake
from cosmos_ops.shards.likeness import BITS, nearest_copies
from cosmos_ops.shards.splits import TRAIN
from cosmos_ops.store.notes import read_pointer, update_pointer

FORGOTTEN, OVER_CAP = "forgotten", "over_cap"
DUPLICATE_EPISODE, DUPLICATE_CLIP, NEAR_DUPLICATE = "duplicate_episode", "duplicate_clip", "near_duplicate"

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
        pa.field("of_drop", pa.string()),
        pa.field("of_clip_id", pa.string()),
        pa.field("shard_sha256", pa.string(), nullable=False),
        pa.field("video_sha256", pa.string(), nullable=False),
    ]
)
"""`split` is the one the clip has in its drop; `of_drop` and `of_clip_id` name the clip that a duplicate is left out for."""


@dataclass(frozen=True)
class _Reason:
    """Why one clip is left out."""

    reason: str
    detail: str
    of: dict | None = None
    """The row that is kept instead."""

    def row(self, row: dict) -> dict:
        """A row of `SCHEMA`."""
        of = {"of_drop": self.of["drop"] if self.of else None, "of_clip_id": self.of["clip_id"] if self.of else None}
        return {name: row[name] for name in SCHEMA.names if name in row} | {"reason": self.reason, "detail": self.detail} | of


def exclude(rows: list[dict], forgotten: dict[str, str], max_train_clips: int | None, near_duplicate_bits: int | None = None) -> tuple[list[dict], list[dict]]:
    """Index rows in drop order -> (kept rows, rows of `SCHEMA`), both in that order.

    Reasons: `forgotten` (the episode is to be forgotten, or the clip copies one that is), `duplicate_episode`, `duplicate_clip`,
    `near_duplicate`, and `over_cap` for training clips beyond `max_train_clips`, chosen by a hash of their id.
    """
    reasons = _forgotten(rows, forgotten, near_duplicate_bits)
    episodes: dict[str, dict] = {}
    videos: dict[str, dict] = {}
    for place, row in enumerate(rows):
        if place not in reasons:
            reason = _duplicate(row, episodes.setdefault(row["episode_id"], row), videos.setdefault(row["video_sha256"], row))
            reasons |= {place: reason} if reason else {}
    if near_duplicate_bits is not None:
        reasons |= _near_duplicates(rows, reasons, near_duplicate_bits)
    kept = [row for place, row in enumerate(rows) if place not in reasons]
    over = _over_cap(kept, max_train_clips)
    capped = _Reason(OVER_CAP, f"training.max_train_clips is {max_train_clips}")
    reasons |= {place: capped for place, row in enumerate(rows) if place not in reasons and _clip_key(row) in over}
    return [row for place, row in enumerate(rows) if place not in reasons], [reasons[place].row(rows[place]) for place in sorted(reasons)]


def read_forgotten(lake: Lake) -> dict[str, str]:
    """Episode id -> reason, from the optional `forgotten.json` at the lake's root. Raises `UserError` where it is not such a mapping."""
    path = lake.root / "forgotten.json"
    try:
        text = read_pointer(path)
        stored = json.loads(text) if text is not None else {}
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

    def longer(stored: list[str] | None) -> list[str] | None:
        new = sorted(set(drops) - set(stored or []))
        return [*(stored or []), *new] if new else stored

    known = update_pointer(path, longer) or []
    return sorted(set(drops), key=known.index)


def _clip_key(row: dict) -> tuple[str, str]:
    return row["drop"], row["clip_id"]


def _forgotten(rows: list[dict], forgotten: dict[str, str], bits: int | None) -> dict[int, _Reason]:
    """Place -> reason for clips of forgotten episodes and for copies of them, encoded again or not, in any drop."""
    gone = [row for row in rows if row["episode_id"] in forgotten]
    videos = {row["video_sha256"]: row["episode_id"] for row in gone}
    reasons = {}
    for place, row in enumerate(rows):
        if row["episode_id"] in forgotten:
            reasons[place] = _Reason(FORGOTTEN, forgotten[row["episode_id"]])
        elif row["video_sha256"] in videos:
            episode_id = videos[row["video_sha256"]]
            reasons[place] = _Reason(FORGOTTEN, f"same video as a clip of episode {episode_id}: {forgotten[episode_id]}")
    if gone and bits is not None:
        left = [place for place in range(len(rows)) if place not in reasons]
        for place, copy in nearest_copies([rows[place] for place in left], gone, bits).items():
            episode_id = copy.of["episode_id"]
            reasons[left[place]] = _Reason(FORGOTTEN, f"near-duplicate of a clip of episode {episode_id}: {forgotten[episode_id]}")
    return reasons


def _duplicate(row: dict, episode: dict, video: dict) -> _Reason | None:
    if (episode["drop"], episode["index"]) != (row["drop"], row["index"]):
        return _Reason(DUPLICATE_EPISODE, f"the same recording as episode {episode['index']} of drop {episode['drop']}", episode)
    if video is not row:
        return _Reason(DUPLICATE_CLIP, f"the same video as clip {video['clip_id']} of drop {video['drop']}", video)
    return None


def _near_duplicates(rows: list[dict], reasons: dict[int, _Reason], bits: int) -> dict[int, _Reason]:
    """Place -> reason for clips that copy one that an earlier drop keeps."""
    found: dict[int, _Reason] = {}
    earlier: list[dict] = []
    for _, drop in groupby(range(len(rows)), key=lambda place: rows[place]["drop"]):
        mine = [place for place in drop if place not in reasons]
        for place, copy in nearest_copies([rows[place] for place in mine], earlier, bits).items():
            told = (
                f"near-duplicate of clip {copy.of['clip_id']} of drop {copy.of['drop']}: {copy.bits} of {BITS} bits differ, up to {bits} are the same recording"
            )
            found[mine[place]] = _Reason(NEAR_DUPLICATE, told, copy.of)
        earlier += [rows[place] for place in mine if place not in found]
    return found


def _over_cap(kept: list[dict], most: int | None) -> set[tuple[str, str]]:
    train = sorted((row for row in kept if row["split"] == TRAIN), key=lambda row: digest(row["clip_id"]))
    return {_clip_key(row) for row in train[most:]} if most is not None else set()
