"""The episodes stage and `inspect`: tables from telemetry, verdicts in memory."""

import json

import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import SCHEMA, index_drop, read_episodes
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.profiles import load_profile
from tests.fixtures.lerobot_factory import write_lerobot

NANO = load_profile("nano")


def test_the_index_has_a_row_an_episode_and_is_made_once(tmp_path):
    lake = Lake(tmp_path / "lake")
    register_drop(lake, write_lerobot(tmp_path / "toy", episodes=3, cameras=("front", "side")))
    manifest = index_drop(lake, "toy")
    table = read_episodes(lake, "toy")
    assert table.schema.equals(SCHEMA)
    assert manifest.rows == table.num_rows == 3
    row = table.to_pylist()[1]
    assert (row["drop"], row["index"], row["frames"], row["fps"], row["state_dim"], row["action_dim"]) == ("toy", 1, 40, 10.0, 3, 2)
    assert [camera["name"] for camera in row["cameras"]] == ["front", "side"]
    assert row["task"] == "push the red block to the left"
    before = {path: path.stat().st_mtime_ns for path in manifest.path.rglob("*")}
    again = index_drop(lake, "toy")
    assert again.unchanged and again.data_version == manifest.data_version
    assert {path: path.stat().st_mtime_ns for path in manifest.path.rglob("*")} == before


def test_the_index_does_not_depend_on_pixels_or_place(tmp_path):
    versions = []
    for name, gop in (("a", 2), ("b", 8)):
        lake = Lake(tmp_path / name / "lake")
        register_drop(lake, write_lerobot(tmp_path / name / "toy", episodes=2, gop=gop))
        versions.append(index_drop(lake, "toy").data_version)
    assert versions[0] == versions[1]


def test_indexing_needs_the_drop_as_it_was(tmp_path):
    lake = Lake(tmp_path / "lake")
    root = write_lerobot(tmp_path / "toy", episodes=2)
    register_drop(lake, root)
    with pytest.raises(UserError, match="materialize `episodes` first"):
        read_episodes(lake, "toy")
    (root / "meta/tasks.jsonl").write_text("")
    with pytest.raises(UserError, match="immutable"):
        index_drop(lake, "toy")
    with pytest.raises(UserError, match="not in the lake"):
        index_drop(lake, "other")


def test_inspect_says_what_would_become_of_a_log(tmp_path):
    root = write_lerobot(tmp_path / "toy", episodes=3, cameras=("front", "ghost"))
    (root / "README.md").write_text("---\nlicense: cc-by-4.0\n---\nToy data\n")
    (root / "videos/chunk-000/observation.images.ghost/episode_000001.mp4").unlink()
    for camera in ("front", "ghost"):
        (root / f"videos/chunk-000/observation.images.{camera}/episode_000002.mp4").unlink()
    before = sorted(tmp_path.rglob("*"))
    steps = []
    found = inspect_log(root, NANO, lambda done, total, note: steps.append((done, total)))
    assert sorted(tmp_path.rglob("*")) == before, "inspecting writes nothing"
    assert steps == [(1, 3), (2, 3), (3, 3)]
    json.dumps(found, allow_nan=False)
    assert {key: found[key] for key in ("format", "format_version", "robot", "licence", "declared_episodes", "found_episodes", "accepted_episodes")} == {
        "format": "lerobot",
        "format_version": "v2.1",
        "robot": "toy-arm",
        "licence": "CC-BY-4.0",
        "declared_episodes": 3,
        "found_episodes": 3,
        "accepted_episodes": 2,
    }
    assert "17% of front (128x96)" in found["crop"]
    whole, half, none = found["episodes"]
    assert whole["accepted"] and whole["problems"] == [] and whole["cameras"] == whole["accepted_cameras"] == ["front", "ghost"]
    assert half["accepted"] and half["cameras"] == half["accepted_cameras"] == ["front"]
    assert [(problem["code"], problem["camera"], problem["fatal"]) for problem in half["problems"]] == [("missing_video", "ghost", True)]
    assert not none["accepted"]
    assert [problem["code"] for problem in none["problems"]] == ["no_usable_camera", "missing_video", "missing_video"]
    keys = {"id", "index", "frames", "fps", "duration_s", "cameras", "state_dim", "action_dim", "task", "accepted", "problems"}
    assert keys <= set(whole)


def test_nothing_usable_is_one_line(tmp_path):
    root = write_lerobot(tmp_path / "short", episodes=2, frames=6)
    with pytest.raises(UserError, match=r"no episode can be used under profile nano: too_short \(2 of 2\)") as caught:
        inspect_log(root, NANO)
    assert "\n" not in str(caught.value)
