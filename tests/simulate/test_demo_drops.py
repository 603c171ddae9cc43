"""The drops that the demo runs on: they are in the package, small, and the project's own readers agree with what was written."""

import json
from collections import Counter

import av
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.profiles import load_profile
from cosmos_ops.shards.splits import assign_splits
from cosmos_ops.simulate import demo
from pipelines.sensors import NEW_EPISODES


@pytest.fixture(scope="module")
def drops():
    return demo.demo_drops()


@pytest.fixture(scope="module")
def episodes(drops):
    return {drop.name: list(open_log(drop.path).episodes()) for drop in drops}


@pytest.fixture(scope="module")
def inspected(drops):
    """Every drop as `inspect` sees it: pixels are decoded here, once."""
    return {drop.name: inspect_log(drop.path, load_profile("nano"))["episodes"] for drop in drops}


def test_they_are_small_and_made_as_the_table_says(drops):
    assert sum(path.stat().st_size for drop in drops for path in drop.path.rglob("*") if path.is_file()) <= demo.LIMIT_BYTES
    for drop, (name, fmt, count, faults) in zip(drops, demo.DROPS, strict=True):
        marker = json.loads((drop.path / "meta/generator.json").read_text())
        assert (drop.name, marker["format"], marker["episodes"], marker["generator"]) == (name, fmt, count, demo.ROBOT)
        assert sorted(item.fault for item in drop.planted) == sorted(faults)
        info = json.loads((drop.path / "meta/info.json").read_text())
        shapes = {tuple(feature["shape"]) for feature in info["features"].values() if feature["dtype"] == "video"}
        assert shapes == {(demo.HEIGHT_PX, demo.WIDTH_PX, 3)}


def test_readers_find_every_episode_of_one_robot(drops, episodes):
    ids, robots = set(), set()
    for drop, (_, fmt, count, _) in zip(drops, demo.DROPS, strict=True):
        info = open_log(drop.path).info()
        assert fmt.endswith(info.format_version.lstrip("v")) and info.declared_episodes == count
        assert "apache-2.0" in info.licence.lower()
        found = episodes[drop.name]
        assert [episode.index for episode in found] == list(range(count))
        assert all(episode.task for episode in found)
        ids |= {episode.id for episode in found}
        robots.add(info.robot)
    assert len(ids) == sum(count for _, _, count, _ in demo.DROPS), "every episode is its own"
    assert len(robots) == 1


def test_frames_found_in_videos_equal_telemetry_rows(drops, episodes):
    for drop in drops:
        spoiled = {(item.episode_index, item.camera) for item in drop.planted if item.fault in ("missing_video", "truncated_video")}
        frames: Counter = Counter()
        for episode in episodes[drop.name]:
            for camera in episode.cameras:
                if (episode.index, camera.name.rsplit(".", 1)[-1]) not in spoiled:
                    frames[camera.path] += episode.frames
        for path, rows in frames.items():
            with av.open(str(drop.path / path)) as container:
                assert sum(1 for packet in container.demux(video=0) if packet.size) == rows, path


def test_quality_finds_every_planted_fault_and_no_other(drops, inspected):
    reasons = {"truncated_video": "unreadable"}
    for drop in drops:
        found: dict[tuple, set] = {}
        for episode in inspected[drop.name]:
            for problem in episode["problems"]:
                camera = problem["camera"] and problem["camera"].rsplit(".", 1)[-1]
                found.setdefault((episode["index"], camera), set()).add(problem["code"])
        assert found.keys() == {(item.episode_index, item.camera) for item in drop.planted}
        for item in drop.planted:
            assert reasons.get(item.fault, item.fault) in found[item.episode_index, item.camera]


def test_the_first_is_enough_to_evaluate_on_and_the_second_to_retrain(inspected):
    settings = load_profile("nano").evaluation
    splits = [Counter(assign_splits([episode["id"] for episode in found if episode["accepted"]]).values()) for found in inspected.values()]
    assert splits[0]["test"] >= max(2, settings.min_clips)
    assert splits[1]["train"] >= NEW_EPISODES


def test_they_are_made_by_the_simulator_once(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "ROBOT", "tabletop")
    monkeypatch.setattr(demo, "DROPS", (("one", "lerobot-v2.1", 3, ("too_short", "missing_video")), ("two", "lerobot-v3.0", 2, ("black",))))
    seen = []
    made = demo.write_demo_drops(tmp_path, lambda done, total, note: seen.append((done, total)))
    assert seen == [(number, 5) for number in range(1, 6)]
    assert [(drop.name, len(drop.planted)) for drop in made] == [("one", 2), ("two", 1)]
    before = {path: path.stat().st_mtime_ns for drop in made for path in drop.path.rglob("*")}
    assert demo.write_demo_drops(tmp_path) == made
    assert before == {path: path.stat().st_mtime_ns for drop in made for path in drop.path.rglob("*")}


def test_a_missing_drop_is_told_with_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r"demo-monday.*python -m cosmos_ops\.simulate\.demo"):
        demo.demo_drops(tmp_path)
