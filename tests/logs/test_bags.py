"""Bags as they should be: the same recording in every kind of file, pictures in every encoding, clocks, roles, several bags in a drop."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import yaml

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from cosmos_ops.logs.bags.roles import camera_name
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.logs.mapping import NAME, mapping_path, mapping_yaml
from cosmos_ops.shards.read import iterate_shard
from cosmos_ops.shards.write import write_shards
from tests.fixtures import bag_factory as make
from tests.fixtures.bag_factory import FPS, JOINTS, KINDS, ROS1, ROS2, Heard, at, recording, write_bag, write_mcap
from tests.shards.lakes import ready_for_shards, small_profile

IMAGE, COMPRESSED, JOINT_STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/JointState"


def only(path):
    reader = open_log(path)
    (episode,) = reader.episodes()
    return reader, episode


def codes(episode, fatal=None):
    return [problem.code for problem in episode.problems if fatal is None or problem.fatal == fatal]


def message(episode, code):
    return next(problem.message for problem in episode.problems if problem.code == code)


def poses(rows, shift=0):
    return np.array([make.pose(row + shift) for row in rows], np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_one_recording_in_every_kind_of_file(tmp_path, kind):
    reader, episode = only(write_bag(tmp_path / "bag", recording(store=ROS1 if kind == "ros1" else ROS2), kind))
    info = reader.info()
    assert (info.format, info.declared_episodes, [problem.code for problem in info.problems]) == ("bag", 1, ["clock_source"])
    assert info.format_version == {"sqlite": "ros2 sqlite3", "ros1": "ros1"}.get(kind, "ros2 mcap")
    assert (episode.frames, episode.fps, episode.task, codes(episode)) == (30, FPS, "push the block", [])
    assert episode.timestamps_s == pytest.approx(np.arange(30) / FPS, abs=1e-9)
    assert np.array_equal(episode.state, poses(range(30))) and np.array_equal(episode.action, poses(range(30), 1))
    assert episode.id == "02ecd482bbccaf32"
    (camera,) = episode.cameras
    assert (camera.name, camera.frames, camera.fps, camera.height, camera.width, camera.codec) == ("front", 30, FPS, make.HEIGHT, make.WIDTH, "mjpeg")
    frames = list(reader.decode(episode, camera))
    assert [frame.time_s for frame in frames] == pytest.approx(episode.timestamps_s) and make.numbers_shown(frames) == list(range(30))
    assert make.numbers_shown(reader.decode(episode, camera, 1.0, 1.5)) == [10, 11, 12, 13, 14]
    assert list(reader.decode(episode, camera, 50.0)) == []
    sample = reader.sample(episode, camera, [0.0, 1.02, 2.0, 9.0])
    assert sample.duration_s == pytest.approx(episode.duration_s) and make.numbers_shown(sample.frames) == [0, 10, 20, 29]


BGR = {"bgr8": (2, 1, 0), "bgra8": (2, 1, 0, 3), "rgba8": (0, 1, 2, 3), "rgb8": (0, 1, 2), "8UC3": (2, 1, 0)}


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("encoding", sorted(BGR))
def test_raw_pictures_in_colour_are_exact(tmp_path, encoding, padding):
    def seen(row):
        rgba = np.concatenate([make.picture(row), np.full((make.HEIGHT, make.WIDTH, 1), 255, np.uint8)], axis=2)
        return make.image(rgba[..., BGR[encoding]], row / FPS, encoding, padding)

    heard = [*recording(6, cameras=()), *(Heard("/cam_high/image_raw", IMAGE, at(row / FPS), seen(row)) for row in range(6))]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    (camera,) = episode.cameras
    assert (camera.name, camera.codec) == ("cam_high", encoding.lower())
    for row, frame in enumerate(reader.decode(episode, camera)):
        assert np.array_equal(frame.image.to_ndarray(format="rgb24"), make.picture(row))


@pytest.mark.parametrize(
    ("encoding", "channels", "value", "rgb"),
    [
        ("mono8", 1, (90,), (90, 90, 90)),
        ("yuv422", 2, ((128, 120), (128, 120)), (121, 121, 121)),
        ("yuv422_yuy2", 2, ((120, 128), (120, 128)), (121, 121, 121)),
        ("bayer_rggb8", 1, (60,), (60, 60, 60)),
    ],
)
def test_other_raw_pictures(tmp_path, encoding, channels, value, rgb):
    pixels = np.tile(np.array(value, np.uint8).reshape(-1, channels), (make.HEIGHT, make.WIDTH // max(1, len(np.atleast_2d(value))), 1))
    pixels = pixels.reshape(make.HEIGHT, make.WIDTH, channels)
    heard = [*recording(4, cameras=()), *(Heard("/cam/image_raw", IMAGE, at(row / FPS), make.image(pixels, row / FPS, encoding)) for row in range(4))]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    frame = next(reader.decode(episode, episode.cameras[0]))
    assert np.abs(frame.image.to_ndarray(format="rgb24").astype(int) - rgb).max() <= 2


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_packed_pictures_and_the_swap_of_red_and_blue(tmp_path, kind):
    heard = [*recording(4, cameras=())]
    heard += [Heard("/cam/image/compressed", COMPRESSED, at(row / FPS), make.compressed(make.picture(row), row / FPS, kind)) for row in range(4)]
    path = write_mcap(tmp_path / "one.mcap", heard)
    for swapped in (False, True):
        reader, episode = only(path)
        for row, frame in enumerate(reader.decode(episode, episode.cameras[0])):
            wanted = make.picture(row)[..., ::-1] if swapped else make.picture(row)
            error = np.abs(frame.image.to_ndarray(format="rgb24").astype(int) - wanted)
            assert error.max() == 0 if kind == "png" else error.mean() < 3
        mapping_path(path).write_text("swap_red_blue: true\n")


def test_depth_and_unknown_pictures_are_no_cameras(tmp_path):
    depth = np.zeros((make.HEIGHT, make.WIDTH, 2), np.uint8)
    heard = recording(5)
    for row in range(5):
        heard.append(Heard("/camera/depth/image_rect_raw", IMAGE, at(row / FPS), make.image(depth, row / FPS, "16UC1")))
        webp = make.compressed(make.picture(0), row / FPS, content=b"RIFF....WEBPVP8 ")
        heard.append(Heard("/odd/compressed", COMPRESSED, at(row / FPS), webp))
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert [camera.name for camera in episode.cameras] == ["front"]
    told = message(episode, "ignored_topics")
    assert "/camera/depth/image_rect_raw (5 sensor_msgs/Image: it holds depth" in told and "/odd/compressed (5" in told and "known are JPEG, PNG" in told


def test_joints_are_ordered_by_name_and_partial_messages_keep_the_others(tmp_path):
    heard = recording(6, task=None)
    shuffled = [
        Heard(topic, kind, log_ns, make.joints(JOINTS[::-1], make.pose(row)[::-1], row / FPS) if topic == "/joint_states" and row % 2 else told)
        for row, (topic, kind, log_ns, told) in ((round((heard_.log_ns - at(0)) / 1e8), heard_) for heard_ in heard)
    ]
    _, episode = only(write_mcap(tmp_path / "one.mcap", shuffled))
    assert np.array_equal(episode.state, poses(range(6)))
    parts = [one for one in recording(6) if one.topic != "/joint_states"]
    for row in range(6):
        parts.append(Heard("/joint_states", JOINT_STATE, at(row / FPS), make.joints(["j2", "j10"], [row, 10 * row], row / FPS)))
        parts.append(Heard("/joint_states", JOINT_STATE, at(row / FPS + 0.05), make.joints(["gripper"], [100 + row], row / FPS + 0.05)))
    _, episode = only(write_mcap(tmp_path / "two.mcap", parts))
    assert episode.timestamps_s == pytest.approx(np.arange(12) / 20)
    assert episode.state[:5].tolist() == [[100, 0, 0], [100, 0, 0], [100, 1, 10], [101, 1, 10], [101, 2, 20]], "gripper, j2, j10"


def test_actions_are_the_last_told_and_velocities_count_where_there_is_no_position(tmp_path):
    heard = [one for one in recording(8) if one.topic != "/joint_commands"]
    heard += [Heard("/leader/joint_states", JOINT_STATE, at(t), make.joints(["a"], [t], t, quantity="velocity")) for t in (0.15, 0.35, 0.351)]
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert episode.action[:, 0].tolist() == pytest.approx([0.15, 0.15, 0.15, 0.15, 0.351, 0.351, 0.351, 0.351])
    assert "stale_telemetry" not in codes(episode)


def test_arrays_of_numbers_are_the_action_where_joints_are_not(tmp_path):
    heard = [one for one in recording(8) if one.topic != "/joint_commands"]
    for row in range(8):
        heard.append(Heard("/arm_controller/commands", "std_msgs/msg/Float64MultiArray", at(row / FPS), make.numbers([row, -row])))
        heard.append(Heard("/force/state", "std_msgs/msg/Float64MultiArray", at(row / FPS), make.numbers([7.0])))
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert episode.action.tolist() == [[row, -row] for row in range(8)] and np.array_equal(episode.state, poses(range(8)))
    assert message(episode, "clock_source") == "times are those in the messages' headers, except for /arm_controller/commands: the recorder's"
    assert message(episode, "ignored_topics") == "1 topics are not used: /force/state (8 std_msgs/Float64MultiArray)"


def test_custom_types_are_counted_and_never_decoded(tmp_path):
    heard = recording(5)
    heard += [Heard("/tf", "geometry_msgs/msg/Point", at(row / FPS), ROS2.types["geometry_msgs/msg/Point"](1.0, 2.0, 3.0)) for row in range(4)]
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert message(episode, "ignored_topics") == "1 topics are not used: /tf (4 geometry_msgs/Point)"
    assert not any(problem.fatal for problem in episode.problems)


def reheard(heard, log_s):
    """The recording with other recorder's times: `log_s(number)` seconds for the message with that number."""
    return [Heard(one.topic, one.type, at(log_s(number)), one.message) for number, one in enumerate(heard)]


@pytest.mark.parametrize(
    "log_s",
    [lambda n: (n * 7 % 91) / 31, lambda n: n / 31 + n * 7 % 5 / 10, lambda n: 5_000 + n * 1e-4, lambda n: -1e9],
    ids=["in no order", "a little out of order", "written later at once", "long ago"],
)
def test_header_times_are_taken_whatever_the_recorders_are(tmp_path, log_s):
    _, episode = only(write_mcap(tmp_path / "one.mcap", reheard(recording(30), log_s)))
    assert episode.timestamps_s == pytest.approx(np.arange(30) / FPS) and np.array_equal(episode.state, poses(range(30)))
    assert np.array_equal(episode.action, poses(range(30), 1)) and episode.cameras[0].frames == 30
    assert codes(episode) == []


def test_without_header_times_the_recorders_are_taken(tmp_path):
    reader, episode = only(write_mcap(tmp_path / "one.mcap", sorted(recording(12, stamped=False), key=lambda one: one.log_ns % 97)))
    assert episode.timestamps_s == pytest.approx(np.arange(12) / FPS) and np.array_equal(episode.state, poses(range(12)))
    frames = list(reader.decode(episode, episode.cameras[0]))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(12) / FPS + 0.01) and make.numbers_shown(frames) == list(range(12))
    assert "recorder's" in message(episode, "clock_source")


def test_a_camera_on_another_clock_falls_back_on_the_recorders(tmp_path):
    heard = [one for one in recording(12) if one.type != COMPRESSED]
    heard += [Heard("/cam/image", COMPRESSED, at(row / FPS + 0.01), make.compressed(make.picture(row), row / FPS - 3600)) for row in range(12)]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert "except for /cam/image: the recorder's" in message(episode, "clock_source")
    assert [frame.time_s for frame in reader.decode(episode, episode.cameras[0])] == pytest.approx(np.arange(12) / FPS + 0.01)


@pytest.mark.parametrize(("rate", "fatal"), [(1.06, False), (0.94, False), (1.3, True)])
def test_a_clock_that_runs_away_is_told_and_replaced(tmp_path, rate, fatal):
    heard = [one for one in recording(40) if one.type != COMPRESSED]
    heard += [Heard("/cam/image", COMPRESSED, at(row / FPS + 0.01), make.compressed(make.picture(row), row / FPS * rate)) for row in range(40)]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    (drift,) = [problem for problem in episode.problems if problem.code == "clock_drift"]
    assert (drift.fatal, drift.camera) == (fatal, "cam") and ("gain" if rate > 1 else "lose") in drift.message
    assert [frame.time_s for frame in reader.decode(episode, episode.cameras[0])] == pytest.approx(np.arange(40) / FPS, abs=0.03)


def test_headers_that_start_again_are_no_clock(tmp_path):
    heard = [one for one in recording(40) if one.type != COMPRESSED]
    heard += [Heard("/cam/image", COMPRESSED, at(row / FPS), make.compressed(make.picture(row), row % 20 / FPS - 0.001 * row)) for row in range(40)]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert "except for /cam/image: the recorder's" in message(episode, "clock_source")
    assert make.numbers_shown(reader.decode(episode, episode.cameras[0])) == list(range(40))


def test_a_few_wild_header_times_are_mended(tmp_path):
    heard = [one for one in recording(40) if one.type != COMPRESSED]
    for row in range(40):
        seconds = {0: -500.0, 7: 900.0}.get(row, row / FPS)
        heard.append(Heard("/cam/image", COMPRESSED, at(row / FPS + 0.01), make.compressed(make.picture(row), seconds)))
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    frames = list(reader.decode(episode, episode.cameras[0]))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(40) / FPS) and make.numbers_shown(frames) == list(range(40))


def test_rows_are_those_of_the_state_while_cameras_see(tmp_path):
    heard = [one for one in recording(40) if one.type != JOINT_STATE and 1.0 <= (one.log_ns - at(0)) / 1e9 < 3.0 or one.topic == "/task"]
    heard += [Heard("/joint_states", JOINT_STATE, at(tick / 100), make.joints(["a"], [tick], tick / 100)) for tick in range(400)]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert (episode.frames, episode.fps, len(episode.timestamps_s)) == (20, FPS, 211)
    assert episode.state[0, 0] == 90 and episode.timestamps_s[10] == pytest.approx(0.1)
    assert message(episode, "trimmed") == "rows of telemetry without pictures are left out: 90 before and 99 after the cameras'"
    assert next(reader.decode(episode, episode.cameras[0])).time_s == pytest.approx(0.1)


@pytest.mark.parametrize("lost", [range(12, 27), range(0, 15)])
def test_a_pause_of_a_camera_is_a_cut(tmp_path, lost):
    heard = recording(40, cameras=("front", "wrist"))
    heard = [one for one in heard if "wrist" not in one.topic or round((one.log_ns - at(0.015)) / 1e8) not in lost]
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    (problem,) = [problem for problem in episode.problems if problem.fatal]
    assert (problem.code, problem.camera) == ("clock_gap", "wrist")
    verdict = inspect_log(tmp_path / "one.mcap", small_profile())["episodes"][0]
    assert verdict["accepted_cameras"] == ["front", "wrist"] and "clock_gap" in {problem["code"] for problem in verdict["problems"]}
    assert inspect_log(tmp_path / "one.mcap", small_profile(frames=25))["episodes"][0]["accepted_cameras"] == ["front"], (
        "no whole clip is left beside the pause"
    )


def test_cameras_and_telemetry_of_different_days_are_not_matched(tmp_path):
    heard = [one for one in recording(20, stamped=False) if one.type == COMPRESSED]
    heard += [one._replace(log_ns=one.log_ns + 86_400 * 10**9) for one in recording(20, stamped=False) if one.type == JOINT_STATE]
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert "never recorded at the same time" in message(episode, "clock_drift") and episode.cameras == ()


def test_a_pause_of_telemetry_condemns_the_episode(tmp_path):
    heard = [one for one in recording(40) if one.topic != "/joint_states" or not 1.0 < (one.log_ns - at(0)) / 1e9 < 2.2]
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert codes(episode, fatal=True) == ["clock_gap"]


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
    assert write_shards(lake, "toy", profile, workers=2).rows == 2
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


def test_importing_the_readers_imports_no_bag_library():
    code = "import sys, cosmos_ops.logs; print([name for name in ('mcap', 'rosbags', 'google.protobuf', 'lz4', 'zstandard') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_missing_library_is_one_line(tmp_path, monkeypatch):
    path = write_mcap(tmp_path / "one.mcap", recording(3))
    monkeypatch.setitem(sys.modules, "cosmos_ops.logs.bags.mcap_file", None)
    with pytest.raises(UserError, match="pip install"):
        list(open_log(path).episodes())
