"""The demo's drops: what they cost is known, and the project's own readers agree with what was written."""

import json
from collections import Counter
from dataclasses import asdict

import av
import pytest

from cosmos_ops.logs import open_log
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.profiles import load_profile
from cosmos_ops.shards.splits import assign_splits
from cosmos_ops.simulate.demo import write_demo_drops

EXPECTED = {"demo-monday": ("v2.1", 16), "demo-tuesday": ("v3.0", 15)}


@pytest.fixture(scope="module")
def drops(tmp_path_factory):
    return write_demo_drops(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def episodes(drops):
    return {drop.name: list(open_log(drop.path).episodes()) for drop in drops}


def test_the_marker_lists_the_planted_faults(drops):
    assert [drop.name for drop in drops] == list(EXPECTED)
    for drop in drops:
        assert json.loads((drop.path / "meta/generator.json").read_text())["planted"] == [asdict(item) for item in drop.planted]
        assert 3 <= len(drop.planted) <= 4


def test_written_again_nothing_is_touched(drops):
    before = {path: path.stat().st_mtime_ns for drop in drops for path in drop.path.rglob("*")}
    seen = []
    again = write_demo_drops(drops[0].path.parent, progress=lambda *call: seen.append(call))
    assert again == drops and seen[-1][:2] == (31, 31)
    assert before == {path: path.stat().st_mtime_ns for drop in drops for path in drop.path.rglob("*")}


def test_readers_find_every_episode_of_one_robot(drops, episodes):
    ids = set()
    for drop in drops:
        version, count = EXPECTED[drop.name]
        info = open_log(drop.path).info()
        assert (info.format_version.lstrip("v"), info.robot, info.declared_episodes) == (version.lstrip("v"), "tabletop-arm", count)
        assert "apache-2.0" in info.licence.lower()
        found = episodes[drop.name]
        assert [episode.index for episode in found] == list(range(count))
        for episode in found:
            assert episode.fps == 8 and episode.state.shape == episode.action.shape == (episode.frames, 5)
            assert episode.task.split()[0] in ("push", "pick")
            missing = {item.camera for item in drop.planted if item.episode_index == episode.index and item.fault == "missing_video"}
            assert {camera.name.rsplit(".", 1)[-1] for camera in episode.cameras} == {"front", "wrist"} - missing
            assert {(problem.camera or "").rsplit(".", 1)[-1] for problem in episode.problems} >= missing
        ids |= {episode.id for episode in found}
    assert len(ids) == sum(count for _, count in EXPECTED.values()), "every episode is its own"


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


def test_the_demo_stays_within_its_budget_of_clips(drops, episodes):
    window = load_profile("nano").clip.frames
    total: Counter = Counter()
    held_out: Counter = Counter()
    for drop in drops:
        lost: Counter = Counter(item.episode_index for item in drop.planted if item.camera is not None)
        kept = [episode for episode in episodes[drop.name] if episode.frames >= window]
        split = assign_splits([episode.id for episode in kept])
        for episode in kept:
            assert episode.frames // window == 2
            total[split[episode.id]] += 2 * (2 - lost[episode.index])
            held_out[split[episode.id]] += 1
    assert sum(total.values()) == 54 + 52
    assert total["train"] <= 88 and 8 <= total["test"] <= 16 and held_out == {"train": 22, "validation": 3, "test": 4}


def test_quality_finds_every_planted_fault_and_no_other(drops):
    reasons = {"truncated_video": "unreadable"}
    for drop in drops:
        found: dict[tuple, set] = {}
        for episode in inspect_log(drop.path, load_profile("nano"))["episodes"]:
            for problem in episode["problems"]:
                found.setdefault((episode["index"], problem["camera"]), set()).add(problem["code"])
        assert found.keys() == {(item.episode_index, item.camera) for item in drop.planted}
        for item in drop.planted:
            assert reasons.get(item.fault, item.fault) in found[item.episode_index, item.camera]
