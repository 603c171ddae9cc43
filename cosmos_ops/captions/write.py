"""The captions stage: one row a clip, with the captioner's name and version."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.base_models.token_count import TokenCounter
from cosmos_ops.captions import task
from cosmos_ops.captions.telemetry.captions import VERSION as TELEMETRY_VERSION
from cosmos_ops.captions.telemetry.captions import telemetry_captions
from cosmos_ops.captions.template import CLIP_FIELDS, FIELDS, fill, template_fields
from cosmos_ops.captions.vlm import VERSION as VLM_VERSION
from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, require_manifest
from cosmos_ops.logs import open_log
from cosmos_ops.logs.drops import check_unchanged, load_drop
from cosmos_ops.profiles import CaptionSettings, Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.tables import content_hash, write_table

CODE_VERSION = "3"
CAPTIONERS = ("task", "telemetry", "vlm", "combined")
FALLBACK = "task/telemetry"
"""Captioner of a clip whose log has no task where its caption is to be made of that: what its telemetry tells stands in the task's place."""
_TELEMETRY = f"telemetry {TELEMETRY_VERSION}"

SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("captioner", pa.string(), nullable=False),
        pa.field("captioner_version", pa.string(), nullable=False),
        pa.field("tokens", pa.int32()),
        pa.field("max_tokens", pa.int32()),
        pa.field("task", pa.string()),
    ]
)
"""`caption` is empty where none could be made: the table's check names those clips and stops the drop.
`tokens` is the caption's length for the text encoder, null where nobody counted: characters and words are no honest stand-in. `max_tokens` is
what the profile and the encoder leave room for. `task` is the clip's own, to judge captions that are all the same."""

_IN_VERSION = ("clip_id", "caption", "captioner", "captioner_version")
"""What makes one version of the captions: counting their tokens makes no other."""


@dataclass(frozen=True)
class _Work:
    """What making captions takes besides the clips."""

    lake: Lake
    drop: str
    profile: Profile
    key: str | None
    progress: Progress


def caption_drop(lake: Lake, drop: str, profile: Profile, counter: TokenCounter | None = None, key: str | None = None, progress: Progress = silent) -> Manifest:
    """Write `captions.parquet` for a drop's planned clips by the profile's captioner.

    `counter` counts tokens as the profile's text encoder does; the table's check refuses captions that it would cut. `key` is the secret of the vision
    model's endpoint, it is sent there and kept nowhere. Raises `UserError` for an unknown captioner, a bad template, clips not yet planned or a drop that
    changed, `WorkFailed` where the vision model gives no caption.
    """
    fingerprint, settings = profile.data_fingerprint, profile.captions
    version = _version(settings)
    clips = require_manifest(lake.drop_stage(drop, "clips", fingerprint), f"the clip plan of drop {drop}", "materialize `clips` first")
    episodes = require_manifest(lake.drop_stage(drop, "episodes"), f"the episode index of drop {drop}", "materialize `episodes` first")
    counted = counter.name if counter else None
    stage_key = digest([clips.data_version, episodes.data_version, settings.produced_by(), settings.captioner, version, _TELEMETRY, counted, CODE_VERSION])

    def write(folder: Path) -> Output:
        planned = _planned(clips, episodes)
        captions, meta = _captions(_Work(lake, drop, profile, key, progress), planned)
        limit = min(settings.max_tokens, counter.room) if counter else settings.max_tokens
        rows = [
            {
                "clip_id": clip["clip_id"],
                "caption": caption,
                "captioner": FALLBACK if _falls_back(settings, clip) else settings.captioner,
                "captioner_version": f"{version}, {_TELEMETRY}" if _falls_back(settings, clip) else version,
                "tokens": counter.count(caption) if counter else None,
                "max_tokens": limit,
                "task": clip["task"],
            }
            for clip, caption in zip(planned, captions, strict=True)
        ]
        write_table(folder / "captions.parquet", rows, SCHEMA)
        texts = {row["caption"] for row in rows}
        meta |= {"captioner": settings.captioner, "captioner_version": version, "distinct": len(texts), "empty": sum(not row["caption"] for row in rows)}
        meta["tokens"] = max((row["tokens"] for row in rows), default=0) if counter else "not counted"
        return Output(content_hash([{**{name: row[name] for name in _IN_VERSION}, "tokens": None} for row in rows]), len(rows), meta)

    return build_folder(lake.drop_stage(drop, "captions", fingerprint), "captions", stage_key, write)


def _version(settings: CaptionSettings) -> str:
    """Raised whenever the same clip may get another caption. Raises `UserError` for an unknown captioner or a template that is not usable."""
    if settings.captioner not in CAPTIONERS:
        raise UserError(f"captions.captioner {settings.captioner!r} is unknown; known are {', '.join(CAPTIONERS)}")
    template_fields(settings.text, CLIP_FIELDS if settings.captioner == "task" else FIELDS)
    parts = {"telemetry": _TELEMETRY, "vlm": f"vlm {VLM_VERSION} {settings.vlm.model}"}
    return ", ".join([task.VERSION, *(parts[name] for name in settings.models)])


def _planned(clips: Manifest, episodes: Manifest) -> list[dict]:
    """Rows of the clip plan with the episode's robot and the file of the clip's camera."""
    found = {row["index"]: row for row in pq.read_table(episodes.file("episodes.parquet"), columns=["index", "robot", "cameras"]).to_pylist()}
    rows = []
    for clip in pq.read_table(clips.file("clips.parquet")).to_pylist():
        episode = found[clip["index"]]
        video = next((camera["path"] for camera in episode["cameras"] if camera["name"] == clip["camera"]), "")
        rows.append({**clip, "robot": episode["robot"], "video": video})
    return rows


def _falls_back(settings: CaptionSettings, clip: dict) -> bool:
    """Whether a clip is `FALLBACK`'s."""
    return settings.captioner == "task" and "task" in template_fields(settings.template) and not (clip["task"] or "").strip()


def _captions(work: _Work, clips: list[dict]) -> tuple[list[str], dict[str, Any]]:
    """(one caption a clip, what to say of how they came about); only what the template names is computed."""
    settings = work.profile.captions
    told: dict[str, list[str]] = {}
    meta: dict[str, Any] = {}
    taskless = [clip for clip in clips if _falls_back(settings, clip)]
    if settings.models or taskless:
        source = load_drop(work.lake, work.drop)
        check_unchanged(work.lake, source)
        reader = open_log(source.uri)
        if taskless:
            sentences = telemetry_captions(reader, source, taskless, settings.telemetry, work.progress)
            instead = {clip["clip_id"]: sentence for clip, sentence in zip(taskless, sentences, strict=True)}
            clips = [{**clip, "task": instead.get(clip["clip_id"], clip["task"])} for clip in clips]
            meta["without_task"] = len(taskless)
        if "telemetry" in settings.models:
            told["telemetry"] = telemetry_captions(reader, source, clips, settings.telemetry, work.progress)
        if "vlm" in settings.models:
            from cosmos_ops.captions.vlm.captions import vlm_captions

            told["vlm"], meta["vlm"] = vlm_captions(work.lake, reader, source, clips, work.profile.clip, settings.vlm, work.key, work.progress)
    if settings.captioner == "task":
        return task.task_captions(settings.template, clips), meta
    named = template_fields(settings.text)
    filled = [{**clip, **{name: texts[place] for name, texts in told.items()}} for place, clip in enumerate(clips)]
    return [fill(settings.text, named, values) for values in filled], meta
