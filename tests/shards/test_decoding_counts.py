"""How often the data half looks at pixels: once small for quality, once in full for shards, and not in between."""

from collections import Counter
from pathlib import Path

import pytest

from cosmos_ops.captions.write import caption_drop
from cosmos_ops.lake import Lake
from cosmos_ops.logs import open_log
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import index_drop
from cosmos_ops.quality.assess import assess_drop
from cosmos_ops.shards.plan import plan_clips
from cosmos_ops.shards.write import write_shards
from cosmos_ops.simulate.drops import write_drop
from cosmos_ops.video import decode
from tests.shards.lakes import small_profile

EPISODES = 4


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """Counts of opened videos of the log and of frames that came out of a decoder for them, at the one place that each passes. What is written is
    looked at too, for the film strip: that is not counted."""
    counts = Counter()
    open_video, time_of = decode._opened, decode._time_s

    def in_log(path) -> bool:
        return isinstance(path, Path) and path.is_relative_to(tmp_path / "log")

    def opening(path, threads):
        counts["opened"] += in_log(path)
        return open_video(path, threads)

    def timing(frame, stream, path):
        counts["decoded"] += in_log(path)
        return time_of(frame, stream, path)

    monkeypatch.setattr(decode, "_opened", opening)
    monkeypatch.setattr(decode, "_time_s", timing)
    return counts


@pytest.mark.parametrize("fmt", ["lerobot-v2.1", "lerobot-v3.0"])
def test_pixels_are_decoded_once_for_quality_and_once_for_shards(tmp_path, counted, fmt):
    write_drop(tmp_path / "log", 7, EPISODES, fmt, height_px=48)
    profile, lake = small_profile(), Lake(tmp_path / "lake")
    register_drop(lake, tmp_path / "log", "monday")
    frames = sum(episode.frames * len(episode.cameras) for episode in open_log(tmp_path / "log").episodes())
    cameras = 2 * EPISODES
    seen = {}
    for name, stage in {
        "episodes": lambda: index_drop(lake, "monday"),
        "quality": lambda: assess_drop(lake, "monday", profile),
        "clips": lambda: plan_clips(lake, "monday", profile),
        "captions": lambda: caption_drop(lake, "monday", profile),
        "shards": lambda: write_shards(lake, "monday", profile),
    }.items():
        counted.clear()
        stage()
        seen[name] = (counted["opened"], counted["decoded"])
    assert {name: decoded for name, (_, decoded) in seen.items() if name not in ("quality", "shards")} == {"episodes": 0, "clips": 0, "captions": 0}
    shards = len(list(lake.drop_stage("monday", "shards", profile.data_fingerprint).glob("*.tar")))
    for name in ("quality", "shards"):
        opened, decoded = seen[name]
        # Quality reads the times of a video's packets first, which decodes nothing; an episode whose clips lie in two shards is opened for each of them.
        most = 2 * cameras if name == "quality" else cameras + shards - 1
        assert cameras <= opened <= most, (name, opened)
        # A file of several episodes is entered at the key frame before the wanted one, so a frame beside it may come along.
        assert 0.6 * frames < decoded <= frames + cameras, (name, decoded, frames)
    again = [index_drop, lambda lake, drop: assess_drop(lake, drop, profile), lambda lake, drop: write_shards(lake, drop, profile)]
    counted.clear()
    assert all(stage(lake, "monday").unchanged for stage in again) and not counted.total()
