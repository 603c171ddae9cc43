"""Small lakes with real videos, taken through the stages before shards."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from cosmos_ops.captions.write import caption_drop
from cosmos_ops.lake import Lake
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import index_drop
from cosmos_ops.profiles import ClipGeometry, Profile, ShardSettings, load_profile
from cosmos_ops.quality.assess import assess_drop
from cosmos_ops.shards.plan import plan_clips

REAL = Path(__file__).parents[2].parent / "shared/data/real"


def small_profile(frames: int = 9, max_fps: float = 8.0, clips_per_shard: int = 8, **changes) -> Profile:
    """nano at 48x64 pixels."""
    clip = ClipGeometry(frames=frames, height=48, width=64, max_fps=max_fps)
    return replace(load_profile("nano"), clip=clip, shards=ShardSettings(clips_per_shard=clips_per_shard), **changes)


def ready_for_shards(home: Path, log: Path, profile: Profile, drop: str = "toy", lake: Lake | None = None) -> Lake:
    """A lake below `home` (or the one given) with `log` registered, indexed, assessed, planned and captioned."""
    lake = lake or Lake(home)
    register_drop(lake, log, drop)
    index_drop(lake, drop)
    assess_drop(lake, drop, profile)
    plan_clips(lake, drop, profile)
    caption_drop(lake, drop, profile)
    return lake


def real_episodes(target: Path, count: int) -> Path:
    """The first episodes of the real CR5 log as a log of their own."""
    source = REAL / "cr5-banana"
    (target / "meta").mkdir(parents=True)
    info = json.loads((source / "meta/info.json").read_text())
    (target / "meta/info.json").write_text(json.dumps(info | {"total_episodes": count, "total_videos": count, "splits": {"train": f"0:{count}"}}))
    for name in ("episodes.jsonl", "tasks.jsonl"):
        lines = (source / "meta" / name).read_text().splitlines()
        (target / "meta" / name).write_text("\n".join(lines[:count]) + "\n")
    for path in sorted(source.rglob("episode_*")):
        if int(path.stem.split("_")[1]) < count:
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)
    return target
