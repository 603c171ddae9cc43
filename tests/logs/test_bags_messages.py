"""Bags: the same recording in every kind of file, pictures in every encoding, joints and numbers."""

import subprocess
import sys

import numpy as np
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from cosmos_ops.logs.mapping import mapping_path
from tests.fixtures import bag_factory as make
from tests.fixtures.bag_factory import FPS, JOINTS, KINDS, ROS1, ROS2, Heard, at, recording, write_bag, write_mcap
from tests.logs.reading import COMPRESSED, IMAGE, JOINT_STATE, codes, message, only, poses


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


def test_importing_the_readers_imports_no_bag_library():
    code = "import sys, cosmos_ops.logs; print([name for name in ('mcap', 'rosbags', 'google.protobuf', 'lz4', 'zstandard') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_missing_library_is_one_line(tmp_path, monkeypatch):
    path = write_mcap(tmp_path / "one.mcap", recording(3))
    monkeypatch.setitem(sys.modules, "cosmos_ops.logs.bags.mcap_file", None)
    with pytest.raises(UserError, match="pip install"):
        list(open_log(path).episodes())
