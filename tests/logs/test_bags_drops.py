"""Bags: which of them lie in a drop, what their topics are taken for, and what the mapping changes."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import yaml

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from cosmos_ops.logs.bags.roles import camera_name
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.logs.mapping import NAME, mapping_yaml
from cosmos_ops.shards.read import iterate_shard
from cosmos_ops.shards.write import write_shards
from cosmos_ops.workers import LocalWorkers
from tests.fixtures import bag_factory as make
from tests.fixtures.bag_factory import FPS, ROS1, ROS2, Heard, at, recording, write_bag, write_mcap
from tests.logs.reading import IMAGE, JOINT_STATE, codes, message, only, poses
from tests.shards.lakes import ready_for_shards, small_profile


def test_what_a_bag_does_not_hold_is_one_line_each(tmp_path):
    full = recording(30, task=None)
    _, blind = only(write_mcap(tmp_path / "blind.mcap", [one for one in full if one.type == JOINT_STATE]))
    assert codes(blind, fatal=True) == ["no_camera"] and "no_task" in codes(blind)
    with pytest.raises(UserError, match="no topic of pictures is in the bag") as caught:
        inspect_log(tmp_path / "blind.mcap", small_profile())
    assert "\n" not in str(caught.value)
    _, single = only(write_mcap(tmp_path / "single.mcap", [full[0]]))
    assert (single.fps, single.duration_s, codes(single, fatal=True)) == (1.0, 1.0, ["no_camera"])
    reader, numb = only(write_mcap(tmp_path / "numb.mcap", [one for one in full if one.type != JOINT_STATE]))
    assert codes(numb) == ["no_telemetry", "no_task"] and (numb.state.shape, numb.action.shape, numb.frames) == ((30, 0), (30, 0), 30)
    assert make.numbers_shown(reader.decode(numb, numb.cameras[0])) == list(range(30))
    assert inspect_log(tmp_path / "numb.mcap", small_profile())["accepted_episodes"] == 1


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("/camera/color/image_raw/compressed", "camera"),
        ("/camera/wrist/color/image_raw", "wrist"),
        ("/cam_high/image_raw", "cam_high"),
        ("/camera/left/image", "left"),
        ("/image", "image"),
        ("/a/b c/rgb", "a_b_c"),
        ("/", "camera"),
    ],
)
def test_names_of_cameras(topic, name):
    assert camera_name(topic) == name


def test_a_camera_recorded_raw_and_packed_is_one(tmp_path):
    heard = recording(10)
    heard += [Heard("/camera/front/image_raw", IMAGE, at(row / FPS), make.image(make.picture(row), row / FPS)) for row in range(5)]
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert [(camera.name, camera.frames) for camera in episode.cameras] == [("front", 10)]
    assert message(episode, "ignored_topics") == "1 topics are not used: /camera/front/image_raw (5 sensor_msgs/Image)"


def test_a_drop_of_several_bags(tmp_path):
    for name, kind, length in (("run_10", "mcap", 12), ("run_2", "sqlite", 11), ("loose", "bare-mcap", 10), ("old/run", "ros1", 9)):
        write_bag(tmp_path / name, recording(length, store=ROS1 if kind == "ros1" else ROS2), kind)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    reader = open_log(tmp_path)
    episodes = list(reader.episodes())
    assert [(episode.index, episode.frames) for episode in episodes] == [(0, 10), (1, 9), (2, 11), (3, 12)], "in the natural order of their names"
    assert (reader.info().declared_episodes, reader.info().licence) == (4, "MIT")
    assert [camera.path for episode in episodes for camera in episode.cameras] == ["loose.mcap", "old/run.bag", "run_2/run_2.db3", "run_10/run_10.mcap"]
    with ThreadPoolExecutor(4) as pool:
        shown = list(pool.map(lambda episode: make.numbers_shown(reader.decode(episode, episode.cameras[0])), episodes))
    assert shown == [list(range(episode.frames)) for episode in episodes]


@pytest.mark.parametrize("kind", ["mcap", "sqlite"])
def test_a_bag_split_over_files_is_one_episode(tmp_path, kind):
    heard, root = recording(30), tmp_path / "bag"
    halves = [write_bag(tmp_path / f"half_{number}", part, kind) for number, part in enumerate((heard[:40], heard[40:]))]
    files = [path for half in halves for path in half.iterdir() if path.name != "metadata.yaml"]
    told = yaml.safe_load((halves[0] / "metadata.yaml").read_text())
    told["rosbag2_bagfile_information"].update(relative_file_paths=[f"recorded/here/{path.name}" for path in files], message_count=len(heard))
    root.mkdir()
    for path in files:
        path.rename(root / path.name)
    (root / "metadata.yaml").write_text(yaml.safe_dump(told))
    reader, episode = only(root)
    assert episode.frames == 30 and codes(episode) == []
    assert make.numbers_shown(reader.decode(episode, episode.cameras[0])) == list(range(30))
    (root / files[1].name).unlink()
    _, episode = only(root)
    assert codes(episode)[:2] == ["missing_file", "message_count"] and codes(episode, fatal=True) == [] and episode.frames == 13


def test_cameras_that_most_bags_have_are_missed(tmp_path):
    for number, cameras in enumerate((("front",), ("front", "wrist"), ("front", "wrist"))):
        write_bag(tmp_path / f"bag_{number}", recording(10 + number, cameras=cameras))
    first, second, _ = open_log(tmp_path).episodes()
    assert [(problem.code, problem.camera) for problem in first.problems if problem.fatal] == [("missing_video", "wrist")]
    assert codes(second, fatal=True) == []
    metadata = tmp_path / "bag_1/metadata.yaml"
    metadata.write_text(metadata.read_text().replace("/camera/wrist/", "/camera/rear/"))
    _, second, _ = open_log(tmp_path).episodes()
    assert [(problem.code, problem.camera) for problem in second.problems if problem.fatal] == [("missing_video", "rear")]


def test_metadata_name_robot_task_and_outcome(tmp_path):
    path = write_bag(tmp_path / "bag", recording(5, task=None), robot="ur5e", task="stack the cups", success="false")
    reader, episode = only(path)
    assert (episode.robot, episode.task, episode.outcome, reader.info().robot) == ("ur5e", "stack the cups", "failure", "ur5e")
    heard = [*recording(5, task=None), Heard("/robot_description", "std_msgs/msg/String", at(0), make.text('<?xml?><robot x="1" name="panda"><link/></robot>'))]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard, metadata={"session": {"Task": "wipe", "license": "MIT"}}))
    assert (episode.robot, episode.task, reader.info().licence) == ("panda", "wipe", "MIT")


def test_the_mapping_wins_over_the_guess(tmp_path):
    path = write_bag(tmp_path / "bag", recording(12, cameras=("front", "wrist")))
    (path / NAME).write_text(
        "robot: toy\nlicence: MIT\ntask: do it\ncameras: {/camera/wrist/image_raw/compressed: top, /nowhere: rear}\n"
        "state: [/joint_commands]\naction: [/joint_states]\n"
    )
    reader, episode = only(path)
    assert (reader.info().robot, reader.info().licence, episode.robot, episode.task) == ("toy", "MIT", "toy", "do it")
    assert [camera.name for camera in episode.cameras] == ["top"] and np.array_equal(episode.state, poses(range(12), 1))
    assert [(problem.code, problem.camera) for problem in episode.problems if problem.fatal] == [("missing_video", "rear")]
    assert "/camera/front/image_raw/compressed (12" in message(episode, "ignored_topics")
    (path / NAME).write_text("fps: 30\n")
    reader, episode = only(path)
    assert episode.fps == FPS and "fps in cosmos-drop.yaml is not used" in reader.info().problems[1].message


def test_the_guess_saved_changes_nothing(tmp_path):
    for number, task in enumerate(("one", "two")):
        write_bag(tmp_path / f"bag_{number}", recording(30 + number, cameras=("front", "wrist"), task=task))
    found = inspect_log(tmp_path, small_profile())
    assert found["mapping"] == {
        "cameras": {"/camera/front/image_raw/compressed": "front", "/camera/wrist/image_raw/compressed": "wrist"},
        "state": ["/joint_states"],
        "action": ["/joint_commands"],
    }
    (tmp_path / NAME).write_text(mapping_yaml(found["mapping"]))
    again = inspect_log(tmp_path, small_profile())
    assert again["episodes"] == found["episodes"] and again["mapping"] == found["mapping"]


@pytest.mark.parametrize("single", [False, True])
def test_bags_become_shards_with_the_right_frames_and_actions(tmp_path, single):
    heard = recording(40)
    path = write_mcap(tmp_path / "one.mcap", heard) if single else write_bag(tmp_path / "bag", heard, "sqlite")
    profile = small_profile(frames=9, max_fps=5.0)
    lake = ready_for_shards(tmp_path / "lake", path, profile)
    assert write_shards(lake, "toy", profile, workers=LocalWorkers(2)).rows == 2
    clips = [clip for shard in sorted(lake.root.rglob("*.tar")) for clip in iterate_shard(lake, shard.relative_to(lake.root))]
    assert sorted(clip.meta["window"] for clip in clips) == [0, 1]
    for clip in clips:
        rows = clip.meta["window"] * 18 + 2 * np.arange(9)
        assert clip.fps == 5 and np.array_equal(clip.actions, poses(rows, 1))


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.mcap")
    write_mcap(tmp_path / "b.mcap", recording(5))
    reader, episode = only(tmp_path)
    assert episode.frames == 5
