"""The quality stage on real small videos: who is rejected, why, and that one bad camera does not condemn the others."""

import dataclasses
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import index_drop
from cosmos_ops.profiles import QualitySettings, load_profile
from cosmos_ops.quality.assess import CAMERAS_SCHEMA, QUARANTINE_SCHEMA, assess_drop
from tests.fixtures.lerobot_factory import block_path, render, write_lerobot, write_video

NANO = load_profile("nano")


def video(root, episode, camera="front"):
    return root / f"videos/chunk-000/observation.images.{camera}/episode_{episode:06d}.mp4"


def frames(episode, camera="front", count=40):
    return render(block_path(0, episode, count), 96, 128, 0, camera)


def assess(tmp_path, root, profile=NANO):
    lake = Lake(tmp_path / "lake")
    register_drop(lake, root, "toy")
    index_drop(lake, "toy")
    manifest = assess_drop(lake, "toy", profile)
    return manifest, pq.read_table(manifest.file("cameras.parquet")), pq.read_table(manifest.file("quarantine.parquet"))


def test_good_episodes_pass(tmp_path):
    manifest, cameras, quarantine = assess(tmp_path, write_lerobot(tmp_path / "toy", episodes=4, cameras=("front", "side")))
    assert cameras.schema.equals(CAMERAS_SCHEMA) and quarantine.schema.equals(QUARANTINE_SCHEMA)
    rows = cameras.to_pylist()
    assert [(row["index"], row["camera"], row["accepted"]) for row in rows] == [(i, name, True) for i in range(4) for name in ("front", "side")]
    assert all(row["decoded_frames"] >= 14 and row["video_duration_s"] == pytest.approx(4.0) and row["frozen_fraction"] < 0.5 for row in rows)
    assert quarantine.num_rows == 0
    assert manifest.file("filmstrip.png").stat().st_size > 5000
    assert manifest.meta == {"accepted_cameras": 8, "accepted_episodes": 4, "quarantined": 0, "bad_stretches": 0}


def test_each_fault_is_found_and_named(tmp_path):
    root = write_lerobot(tmp_path / "toy", episodes=6, cameras=("front", "side"))
    write_video(video(root, 0), np.zeros_like(frames(0)), 10)
    write_video(video(root, 1), np.repeat(frames(1)[:1], 40, axis=0), 10, gop=12)
    video(root, 2).write_bytes(video(root, 2).read_bytes()[:3000])
    write_video(video(root, 3), frames(3)[:25], 10)
    video(root, 4).unlink()
    _, cameras, quarantine = assess(tmp_path, root)
    expected = {0: ["black"], 1: ["frozen"], 2: ["unreadable"], 3: ["clock_drift"], 4: ["missing_video"]}
    found = {(row["index"], row["camera"]): (row["accepted"], row["reasons"]) for row in cameras.to_pylist()}
    for episode in range(6):
        assert found[episode, "front"] == (episode == 5, expected.get(episode, []))
        assert found[episode, "side"] == (True, [])
    rows = quarantine.to_pylist()
    assert {row["index"]: row["reasons"] for row in rows} == expected
    assert all(row["camera"] == "front" and row["detail"] and "\n" not in row["detail"] for row in rows)


def test_an_episode_without_a_usable_camera_is_quarantined_whole(tmp_path):
    root = write_lerobot(tmp_path / "toy", episodes=2, cameras=("front", "side"))
    video(root, 1).unlink()
    write_video(video(root, 1, "side"), np.zeros_like(frames(1)), 10)
    _, _, quarantine = assess(tmp_path, root)
    assert [(row["index"], row["camera"], row["reasons"]) for row in quarantine.to_pylist()] == [
        (1, None, ["no_usable_camera"]),
        (1, "front", ["missing_video"]),
        (1, "side", ["black"]),
    ]


def test_the_same_recording_twice_is_kept_once(tmp_path):
    root = write_lerobot(tmp_path / "toy", episodes=3)
    shutil.copy(root / "data/chunk-000/episode_000000.parquet", root / "data/chunk-000/episode_000002.parquet")
    _, cameras, quarantine = assess(tmp_path, root)
    assert cameras["accepted"].to_pylist() == [True, True, False]
    assert [(row["index"], row["camera"], row["reasons"]) for row in quarantine.to_pylist()] == [(2, None, ["duplicate_episode"])]


@pytest.mark.parametrize(("frames_there", "fits"), [(21, True), (20, False)])
def test_an_episode_must_hold_one_clip(tmp_path, frames_there, fits):
    """17 frames at 8 a second span 2.0 s: 21 frames at 10 a second do, 20 do not."""
    _, cameras, quarantine = assess(tmp_path, write_lerobot(tmp_path / "toy", episodes=1, frames=frames_there))
    assert cameras["accepted"].to_pylist() == [fits]
    assert [row["reasons"] for row in quarantine.to_pylist()] == ([] if fits else [["too_short"]])
    assert cameras["decoded_frames"].to_pylist() == [cameras["decoded_frames"][0].as_py() if fits else 0], "what is too short is not decoded"


def test_the_least_length_can_be_set(tmp_path):
    strict = dataclasses.replace(NANO, quality=QualitySettings(min_frames=41))
    _, cameras, _ = assess(tmp_path, write_lerobot(tmp_path / "toy", episodes=1, frames=40), strict)
    assert cameras["reasons"].to_pylist() == [["too_short"]]


def test_broken_telemetry_condemns_the_episode_undecoded(tmp_path):
    root = write_lerobot(tmp_path / "toy", episodes=2)
    (root / "data/chunk-000/episode_000000.parquet").write_bytes(b"PAR1")
    _, cameras, quarantine = assess(tmp_path, root)
    assert cameras["decoded_frames"].to_pylist()[0] == 0
    assert [(row["index"], row["camera"], row["reasons"]) for row in quarantine.to_pylist()] == [(0, None, ["broken_telemetry"])]


def test_a_declared_size_that_is_wrong_is_shown_not_fatal(tmp_path):
    root = write_lerobot(tmp_path / "toy", episodes=1)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.front"]["info"] |= {"video.height": 480, "video.width": 640}
    (root / "meta/info.json").write_text(json.dumps(info))
    from cosmos_ops.logs.inspect import inspect_log

    (episode,) = inspect_log(root, NANO)["episodes"]
    assert episode["accepted"]
    assert [problem["message"] for problem in episode["problems"]] == ["metadata declares 640x480, the video is 128x96"]


def test_assessing_is_done_once_and_is_deterministic(tmp_path):
    versions, strips = [], []
    for place in ("a", "b"):
        root = write_lerobot(tmp_path / place / "toy", episodes=3, cameras=("front", "side"), codec="h264", gop=12)
        manifest, _, _ = assess(tmp_path / place, root)
        versions.append(manifest.data_version)
        strips.append(manifest.file("filmstrip.png").read_bytes())
    assert versions[0] == versions[1] and strips[0] == strips[1]
    lake = Lake(tmp_path / "b/lake")
    before = {path: path.stat().st_mtime_ns for path in manifest.path.rglob("*")}
    again = assess_drop(lake, "toy", NANO)
    assert again.unchanged and again.data_version == versions[0]
    assert {path: path.stat().st_mtime_ns for path in manifest.path.rglob("*")} == before
    other = dataclasses.replace(NANO, quality=QualitySettings(max_frozen_fraction=0.5))
    assert assess_drop(lake, "toy", other).path != manifest.path


def test_the_drop_must_be_indexed_and_unchanged(tmp_path):
    root, lake = write_lerobot(tmp_path / "toy", episodes=1), Lake(tmp_path / "lake")
    register_drop(lake, root)
    with pytest.raises(UserError, match="materialize `episodes` first"):
        assess_drop(lake, "toy", NANO)
    index_drop(lake, "toy")
    video(root, 0).unlink()
    with pytest.raises(UserError, match="immutable"):
        assess_drop(lake, "toy", NANO)
