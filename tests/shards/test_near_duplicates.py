"""The same recording under other bytes is found; what is merely similar is not. Real and simulated drops."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from cosmos_ops.lake import Lake
from cosmos_ops.profiles import DatasetSettings
from cosmos_ops.shards.dataset import build_dataset
from cosmos_ops.shards.likeness import BITS, Likeness, differing_bits, nearest_copies, telemetry_likeness, tells_otherwise
from cosmos_ops.shards.write import write_shards
from cosmos_ops.simulate.drops import write_drop
from tests.fixtures.lerobot_factory import block_path, render
from tests.shards.lakes import REAL, ready_for_shards, real_episodes, small_profile


def encoded_again(source: Path, target: Path, crf: int, width: int) -> Path:
    """A copy of a LeRobot v2 log with another task text and its videos decoded, scaled and encoded as H.264 at another quality."""
    shutil.copytree(source, target)
    for name in ("episodes.jsonl", "tasks.jsonl"):
        path = target / "meta" / name
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        told = [{**line, **({"task": "something else"} if "task" in line else {"tasks": ["something else"]})} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in told))
    for path in sorted(target.rglob("*.mp4")):
        with av.open(str(path)) as before:
            video = before.streams.video[0]
            rate, frames = video.average_rate, [frame.reformat(width=width, height=width * frame.height // frame.width) for frame in before.decode(video)]
        with av.open(str(path), "w", format="mp4") as after:
            stream = after.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
            for number, frame in enumerate(frames):
                frame.pts, frame.time_base = number, 1 / rate
                after.mux(stream.encode(frame))
            after.mux(stream.encode(None))
    return target


def add(lake: Lake, log: Path, name: str, profile) -> None:
    ready_for_shards(lake.root, log, profile, name, lake)
    write_shards(lake, name, profile)


def excluded(manifest) -> list[dict]:
    return pq.read_table(manifest.file("exclusions.parquet")).to_pylist()


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/real is not there")
def test_a_real_recording_encoded_again_is_left_out_and_other_episodes_are_not(tmp_path):
    profile, lake = small_profile(frames=17), Lake(tmp_path / "lake")
    early = real_episodes(tmp_path / "early", 2)
    add(lake, early, "early", profile)
    first = build_dataset(lake, ["early"], profile)
    assert first.meta["excluded"] == {}
    add(lake, real_episodes(tmp_path / "late", 4), "late", profile)
    add(lake, encoded_again(early, tmp_path / "again", crf=34, width=480), "again", profile)
    manifest = build_dataset(lake, ["again", "early", "late"], profile)

    of_again = [row for row in excluded(manifest) if row["drop"] == "again"]
    index = pq.read_table(lake.drop_stage("again", "shards", profile.data_fingerprint) / "index.parquet").to_pylist()
    told = [row for row in index if row["likeness"]]
    assert len(told) >= len(index) - 2 and {row["clip_id"] for row in told} == {row["clip_id"] for row in of_again}
    where = {row["clip_id"]: (row["index"], row["window"]) for row in pq.read_table(first.file("samples.parquet")).to_pylist()}
    for row in of_again:
        assert row["reason"] == "near_duplicate" and row["of_drop"] == "early" and where[row["of_clip_id"]] == (row["index"], row["window"]), row
        assert row["of_clip_id"] in row["detail"] and f"of {BITS} bits" in row["detail"]
    of_late = [row for row in excluded(manifest) if row["drop"] == "late"]
    assert {row["reason"] for row in of_late} == {"duplicate_episode"} and {row["index"] for row in of_late} == {0, 1}
    assert {row["index"] for row in pq.read_table(manifest.file("samples.parquet")).to_pylist() if row["drop"] == "late"} == {2, 3}
    assert manifest.meta["excluded"] == {"duplicate_episode": len(of_late), "near_duplicate": len(of_again)}

    again = build_dataset(lake, ["late", "again", "early"], profile)
    assert again.unchanged and again.data_version == manifest.data_version
    every = build_dataset(lake, ["again", "early", "late"], replace(profile, dataset=DatasetSettings(near_duplicate_bits=None)))
    assert "near_duplicate" not in every.meta["excluded"] and every.data_version != manifest.data_version

    (lake.root / "forgotten.json").write_text(json.dumps({first_episode(lake, first): "operator withdrew"}))
    after = build_dataset(lake, ["again", "early", "late"], profile)
    copies = [row for row in excluded(after) if row["drop"] == "again" and row["reason"] == "forgotten"]
    assert {row["index"] for row in copies} == {0} and all("operator withdrew" in row["detail"] for row in copies)


def first_episode(lake: Lake, manifest) -> str:
    return next(row["episode_id"] for row in pq.read_table(manifest.file("samples.parquet")).to_pylist() if row["index"] == 0)


def test_simulated_drops_of_one_scene_keep_every_clip(tmp_path):
    profile, lake = small_profile(frames=9), Lake(tmp_path / "lake")
    for number, name in enumerate(("monday", "tuesday")):
        write_drop(tmp_path / name, seed=40 + number, episodes=5, height_px=80)
        add(lake, tmp_path / name, name, profile)
    manifest = build_dataset(lake, ["monday", "tuesday"], profile)
    rows = pq.read_table(manifest.file("samples.parquet")).to_pylist()
    assert manifest.meta["excluded"] == {} and sum(row["likeness"] is not None for row in rows) > len(rows) / 2
    told = [row for row in rows if row["likeness"]]
    # Within a drop too: consecutive windows, other episodes and other cameras of one static scene.
    for place, row in enumerate(told):
        assert not nearest_copies([row], told[:place], profile.dataset.near_duplicate_bits), row["clip_id"]


def likeness_of(frames: np.ndarray) -> str | None:
    """Of [T, H, W] luma."""
    made = Likeness(len(frames))
    for luma in frames:
        made.add(np.concatenate([luma, np.full((luma.shape[0] // 2, luma.shape[1]), 128, np.uint8)]))
    return made.bits()


def test_a_still_picture_has_no_likeness_and_noise_changes_few_bits():
    moving = render(block_path(3, 0, 17), 80, 128, 0, "front")[..., 0]
    noise = np.random.default_rng(0).integers(-3, 4, moving.shape)
    assert likeness_of(np.repeat(moving[:1], 17, axis=0)) is None
    assert likeness_of(np.clip(moving[:1].astype(int) + noise, 0, 255).astype(np.uint8)) is None, "noise is no motion"
    assert differing_bits(likeness_of(moving), likeness_of(np.clip(moving + noise, 0, 255).astype(np.uint8))) <= 8
    assert differing_bits(likeness_of(moving), likeness_of(moving[::-1])) > 40, "the same picture, another motion"


def test_bits_never_change():
    """An index keeps them: with others, no earlier drop's copy would be found."""
    luma = (np.add.outer(np.arange(17) * 9, np.add.outer(np.arange(48), 2 * np.arange(64))) % 256).astype(np.uint8)
    assert likeness_of(luma) == "bd37c67573c7a35d4cd68d6e5b91b13c1789748a74c976ec25214c0dcf9905d9"
    assert telemetry_likeness(np.outer(np.arange(9.0) ** 2, [1, -2, 0])) == "3-5c433b3df9192461"


def test_telemetry_decides_where_pictures_cannot():
    rng = np.random.default_rng(0)
    series = np.cumsum(rng.normal(size=(17, 6)), axis=0)
    told, cast, other = telemetry_likeness(series), telemetry_likeness(series.astype(np.float32)), telemetry_likeness(series[::-1])
    assert not tells_otherwise(told, cast) and tells_otherwise(told, other)
    assert not tells_otherwise(told, None) and not tells_otherwise(told, telemetry_likeness(series[:, :3])), "other dimensions say nothing"
    assert telemetry_likeness(np.ones((17, 6))) is None and telemetry_likeness(np.full((17, 2), np.nan)) is None
    rows = [{"clip_id": name, "likeness": "ab" * 32, "telemetry_likeness": motion} for name, motion in (("a", told), ("b", other), ("c", cast))]
    assert nearest_copies([rows[2]], rows[:2], 24)[0].of is rows[0]
    assert nearest_copies([rows[1]], [rows[0]], 24) == {}
