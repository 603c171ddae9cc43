"""The captions stage: one row a clip, with the captioner's name and version."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.captions import task
from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, require_manifest
from cosmos_ops.profiles import CaptionSettings, Profile
from cosmos_ops.tables import content_hash, write_table

CODE_VERSION = "1"

SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("captioner", pa.string(), nullable=False),
        pa.field("captioner_version", pa.string(), nullable=False),
        pa.field("tokens", pa.int32()),
    ]
)
"""`caption` is empty where none could be made: the table's check names those clips and stops the drop.
`tokens` is the length the text encoder sees, null where nobody counted: characters and words are no honest stand-in."""


@dataclass(frozen=True)
class Captioner:
    """A way to describe clips."""

    name: str
    version: str
    """Raised whenever the same clip may get another caption."""
    captions: Callable[[CaptionSettings, list[Mapping]], list[str]]
    """Settings and clips (`task`, `robot`, `camera`, ... each) to one caption a clip."""


CAPTIONERS = {task.NAME: Captioner(task.NAME, task.VERSION, lambda settings, clips: task.task_captions(settings.template, clips))}


def caption_drop(lake: Lake, drop: str, profile: Profile, count_tokens: Callable[[str], int] | None = None) -> Manifest:
    """Write `captions.parquet` for a drop's planned clips.

    `count_tokens` is the text encoder's own count; with it, a caption longer than `captions.max_tokens` is a `WorkFailed`,
    because the encoder would cut it silently. Raises `UserError` for an unknown captioner, a bad template, or clips not yet planned.
    """
    fingerprint = profile.data_fingerprint
    settings = profile.captions
    captioner = _captioner(settings)
    clips = require_manifest(lake.drop_stage(drop, "clips", fingerprint), f"the clip plan of drop {drop}", "materialize `clips` first")
    episodes = require_manifest(lake.drop_stage(drop, "episodes"), f"the episode index of drop {drop}", "materialize `episodes` first")
    key = digest([clips.data_version, episodes.data_version, settings, captioner.name, captioner.version, count_tokens is not None, CODE_VERSION])

    def write(folder) -> Output:
        planned = pq.read_table(clips.file("clips.parquet"), columns=["clip_id", "index", "camera", "task"]).to_pylist()
        robots = {row["index"]: row["robot"] for row in pq.read_table(episodes.file("episodes.parquet"), columns=["index", "robot"]).to_pylist()}
        captions = captioner.captions(settings, [{**clip, "robot": robots[clip["index"]]} for clip in planned])
        rows = [
            {
                "clip_id": clip["clip_id"],
                "caption": caption,
                "captioner": captioner.name,
                "captioner_version": captioner.version,
                "tokens": count_tokens(caption) if count_tokens else None,
            }
            for clip, caption in zip(planned, captions, strict=True)
        ]
        _refuse_long(rows, settings)
        write_table(folder / "captions.parquet", rows, SCHEMA)
        texts = {row["caption"] for row in rows}
        meta = {"captioner": captioner.name, "captioner_version": captioner.version, "distinct": len(texts), "empty": sum(not row["caption"] for row in rows)}
        return Output(content_hash(rows), len(rows), meta)

    return build_folder(lake.drop_stage(drop, "captions", fingerprint), "captions", key, write)


def _captioner(settings: CaptionSettings) -> Captioner:
    if settings.captioner not in CAPTIONERS:
        raise UserError(f"captions.captioner {settings.captioner!r} is unknown; known are {', '.join(sorted(CAPTIONERS))}")
    return CAPTIONERS[settings.captioner]


def _refuse_long(rows: list[dict], settings: CaptionSettings) -> None:
    long = [row for row in rows if row["tokens"] is not None and row["tokens"] > settings.max_tokens]
    if long:
        raise WorkFailed(
            f"{len(long)} captions are longer than captions.max_tokens ({settings.max_tokens}), first clip {long[0]['clip_id']} with "
            f"{long[0]['tokens']} tokens; shorten captions.template or raise captions.max_tokens"
        )
