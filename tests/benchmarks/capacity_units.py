"""What one unit of work costs in the library, the start of a step left out: enough units at once that they can be told from noise."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cosmos_ops.captions.write import caption_drop
from cosmos_ops.evaluation.metrics import resolve_metrics
from cosmos_ops.lake import Lake
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import index_drop
from cosmos_ops.profiles import Profile, load_profile
from cosmos_ops.quality.assess import assess_drop
from cosmos_ops.shards.dataset import build_dataset
from cosmos_ops.shards.plan import plan_clips
from cosmos_ops.shards.validated import TABLES, write_outcomes
from cosmos_ops.shards.write import write_shards
from tests.benchmarks.data_plane_index import write_big_log
from tests.benchmarks.films import FPS, HEIGHT, WIDTH, filmed_log
from tests.evaluation.moving import moving_patch, noisy
from tests.fixtures.lerobot_factory import write_lerobot

Found = dict[str, tuple[float, str]]
INDEXED, FILMED, DRAWN = 2000, 4, (8, 864)
"""Episodes; episodes; episodes and frames of each."""


def unit_costs(folder: Path) -> Found:
    """Name -> value and unit, `stored.` ones with them."""
    cosmos, nano = load_profile("cosmos-predict2.5-2b"), load_profile("nano")
    many, film = _drawn(folder, nano), _filmed(folder, cosmos)
    found = {"index.episode": (_index(folder) / INDEXED, "core-s/episode"), "scoring.video_megapixel": (_score(cosmos), "core-s/megapixel")}
    for stage in ("clips", "captions", "dataset"):
        found[f"{stage}.clip"] = (many["core_s"][stage] / many["clips"], "core-s/clip")
    # Drawn pictures are tiny: what they take is a frame's share. What filmed ones take beyond that goes with their size.
    frame, pixels = _solve(many["core_s"]["quality"], many["looked"], many["source"], film["core_s"]["quality"], film["looked"], film["source"])
    found |= {"quality.looked_frame": (frame, "core-s/frame"), "quality.source_megapixel": (pixels, "core-s/megapixel")}
    frame, pixels = _solve(many["core_s"]["shards"], many["frames"], many["written"], film["core_s"]["shards"], film["frames"], film["written"])
    found |= {"shards.source_frame": (frame, "core-s/frame"), "shards.clip_megapixel": (pixels, "core-s/megapixel")}
    return found | {"stored.shards_clip_megapixel": (film["tar_bytes"] / film["written"], "bytes/megapixel")}


def _solve(first_s: float, first_a: float, first_b: float, second_s: float, second_a: float, second_b: float) -> tuple[float, float]:
    """Two unit costs from two amounts of two units. Raises where noise made one of them negative: measure again."""
    determinant = first_a * second_b - first_b * second_a
    found = (first_s * second_b - first_b * second_s) / determinant, (first_a * second_s - second_a * first_s) / determinant
    assert min(found) > 0, f"a cost below 0 ({found}): the machine was too busy to tell them apart"
    return found


def _core_s(work: Callable[[], object]) -> float:
    before = time.process_time()  # of all threads; nothing here starts processes
    work()
    return time.process_time() - before


def _index(folder: Path) -> float:
    write_big_log(folder / "big", INDEXED)
    lake = Lake(folder / "big-lake")
    return _core_s(lambda: (register_drop(lake, folder / "big", "big"), index_drop(lake, "big")))


def _drawn(folder: Path, profile: Profile) -> dict:
    episodes, frames = DRAWN
    profile = replace(profile, quality=replace(profile.quality, max_frozen_fraction=1.0))
    log = write_lerobot(folder / "drawn", episodes=episodes, frames=frames, fps=8, height=160, width=256)
    return _data_half(Lake(folder / "drawn-lake"), log, profile, episodes * frames, 160 * 256 / 1e6, 8.0)


def _filmed(folder: Path, profile: Profile) -> dict:
    frames = int(profile.clip.frames / profile.clip.max_fps * FPS) + 8
    return _data_half(Lake(folder / "film-lake"), filmed_log(folder / "film", FILMED, frames), profile, FILMED * frames, HEIGHT * WIDTH / 1e6, FPS)


def _data_half(lake: Lake, log: Path, profile: Profile, frames: int, megapixels: float, fps: float) -> dict:
    register_drop(lake, log, "drop")
    index_drop(lake, "drop")
    core_s, made = {}, {}
    stages = {"quality": assess_drop, "clips": plan_clips, "captions": caption_drop, "shards": write_shards}
    for name, stage in stages.items():
        core_s[name] = _core_s(lambda name=name, stage=stage: made.update({name: stage(lake, "drop", profile)}))
    versions = {"episodes": index_drop(lake, "drop").data_version, "cameras": made["quality"].data_version}
    for table in TABLES:
        write_outcomes(lake, "drop", profile.data_fingerprint, table, versions.get(table) or made[table].data_version, [])
    core_s["dataset"] = _core_s(lambda: build_dataset(lake, ["drop"], profile))
    clips = made["shards"].rows
    return {
        "core_s": core_s,
        "clips": clips,
        "frames": frames,
        "looked": frames * min(1.0, profile.quality.sample_fps / fps),
        "source": frames * megapixels,
        "written": clips * profile.clip.frames * profile.clip.height * profile.clip.width / 1e6,
        "tar_bytes": sum(path.stat().st_size for path in made["shards"].path.glob("*.tar")),
    }


def _score(profile: Profile) -> float:
    """A megapixel of a generated video, by the metrics that need no weights, at the 2B model's size."""
    clip = profile.clip
    real = moving_patch(clip.frames // 4, clip.height, clip.width)
    generated = noisy(real, 5)
    metrics = resolve_metrics(profile.evaluation.metrics).sample
    core_s = _core_s(lambda: [metric.measure(metric.reference(real, 1), generated, 1) for metric in metrics])
    return core_s / (real.shape[0] * clip.height * clip.width / 1e6)
