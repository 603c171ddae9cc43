"""ROS 2 bags, read back with the public decoder: messages, clocks, the order in which they were heard, and what metadata.yaml says of them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from cosmos_ops.logs import open_log
from cosmos_ops.simulate.mcap_writer import write_ros2_mcap
from cosmos_ops.simulate.tabletop import CAMERAS, FPS, ROBOT

TOPICS = {
    "/task": "std_msgs/msg/String",
    "/joint_states": "sensor_msgs/msg/JointState",
    "/joint_commands": "sensor_msgs/msg/JointState",
    **{f"/camera/{camera}/image_raw/compressed": "sensor_msgs/msg/CompressedImage" for camera in CAMERAS},
}


@pytest.fixture(scope="module")
def root(two_recordings, tmp_path_factory):
    path = tmp_path_factory.mktemp("bags")
    write_ros2_mcap(path, ROBOT, iter(two_recordings))
    return path


def bag(root, episode):
    return root / f"episode_{episode:06d}/episode_{episode:06d}_0.mcap"


def read(path):
    """Topic -> [(log time, publish time, message)] in file order, and the summary."""
    with open(path, "rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        found, last = {}, 0
        for schema, channel, message, decoded in reader.iter_decoded_messages(log_time_order=False):
            assert message.log_time >= last, "a recorder writes what it hears as it hears it"
            last = message.log_time
            assert (schema.encoding, channel.message_encoding) == ("ros2msg", "cdr")
            found.setdefault(channel.topic, []).append((message.log_time, message.publish_time, decoded))
        return found, reader.get_summary()


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_every_row_and_frame_is_a_message(root, two_recordings):
    for episode, recording in enumerate(two_recordings):
        found, summary = read(bag(root, episode))
        assert {channel.topic: summary.schemas[channel.schema_id].name for channel in summary.channels.values()} == TOPICS
        assert [message.data for _, _, message in found["/task"]] == [recording.task]
        for topic, names, rows in (("/joint_states", ROBOT.state_names, recording.state), ("/joint_commands", ROBOT.action_names, recording.action)):
            assert {tuple(message.name) for _, _, message in found[topic]} == {names}
            assert np.array_equal(np.array([message.position for _, _, message in found[topic]], np.float32), rows)
        for camera, frames in recording.frames.items():
            messages = [message for _, _, message in found[f"/camera/{camera}/image_raw/compressed"]]
            assert len(messages) == len(frames) and {(message.format, message.header.frame_id) for message in messages} == {("jpeg", camera)}
            for message, frame in zip(messages, frames, strict=True):
                seen = cv2.cvtColor(cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
                assert np.abs(seen.astype(int) - frame).mean() < 4


def test_stamps_are_the_recordings_clock_and_messages_are_heard_a_little_later(root, two_recordings):
    first = []
    for episode, recording in enumerate(two_recordings):
        found, _ = read(bag(root, episode))
        start = stamp_ns(found["/joint_states"][0][2])
        first.append(start)
        for topic, messages in found.items():
            if topic == "/task":
                continue
            stamps = np.array([stamp_ns(message) - start for _, _, message in messages]) / 1e9
            assert stamps == pytest.approx(np.arange(recording.length) / FPS, abs=1e-6)
            late_s = np.array([heard - stamp_ns(message) for heard, _, message in messages]) / 1e9
            assert late_s.min() > 0 and late_s.max() < 0.02 and np.ptp(late_s) > 1e-4
            assert all(published == stamp_ns(message) for _, published, message in messages)
    assert first[1] - first[0] == 600 * 10**9


def test_a_camera_keeps_its_own_clock_and_rate(two_recordings, tmp_path):
    recording = two_recordings[0]
    twice = np.repeat(recording.frames["front"], 2, axis=0)
    taken = 0.02 + np.arange(len(twice)) / (2 * FPS)
    own = replace(recording, frames={**recording.frames, "front": twice}, frame_times_s={"front": 5.0 + taken}, arrival_times_s={"front": taken})
    write_ros2_mcap(tmp_path, ROBOT, [own])
    found, _ = read(bag(tmp_path, 0))
    start = stamp_ns(found["/joint_states"][0][2])
    front, wrist = (found[f"/camera/{camera}/image_raw/compressed"] for camera in ("front", "wrist"))
    assert len(front) == 2 * len(wrist) == 2 * recording.length
    assert [(stamp_ns(message) - start) / 1e9 for _, _, message in front] == pytest.approx(5.0 + taken, abs=1e-6)
    assert [(published - start) / 1e9 for _, published, _ in front] == pytest.approx(taken, abs=1e-6)
    assert np.abs(np.array([heard - start for heard, _, _ in front]) / 1e9 - taken).max() < 0.02


def test_metadata_says_what_the_bag_holds(root, two_recordings):
    for episode, recording in enumerate(two_recordings):
        path = bag(root, episode)
        told = yaml.safe_load(path.with_name("metadata.yaml").read_text())["rosbag2_bagfile_information"]
        _, summary = read(path)
        statistics = summary.statistics
        counts = {summary.channels[number].topic: count for number, count in statistics.channel_message_counts.items()}
        assert {entry["topic_metadata"]["name"]: entry["message_count"] for entry in told["topics_with_message_count"]} == counts
        assert {entry["topic_metadata"]["name"]: entry["topic_metadata"]["type"] for entry in told["topics_with_message_count"]} == TOPICS
        assert told["message_count"] == statistics.message_count == told["files"][0]["message_count"]
        assert told["starting_time"]["nanoseconds_since_epoch"] == statistics.message_start_time
        assert told["duration"]["nanoseconds"] == statistics.message_end_time - statistics.message_start_time
        assert told["relative_file_paths"] == [path.name] and told["storage_identifier"] == "mcap"
        assert told["custom_data"] == {"robot": "tabletop-arm", "task": recording.task, "success": str(recording.succeeded).lower(), "fps": "8"}
    assert "license: apache-2.0" in (root / "README.md").read_text()


def test_raw_pictures_are_the_pictures(two_recordings, tmp_path):
    write_ros2_mcap(tmp_path, ROBOT, two_recordings[:1], raw_images=True)
    found, _ = read(bag(tmp_path, 0))
    for camera, frames in two_recordings[0].frames.items():
        messages = [message for _, _, message in found[f"/camera/{camera}/image_raw"]]
        assert {(message.height, message.width, message.encoding, message.step) for message in messages} == {(64, 96, "rgb8", 96 * 3)}
        assert np.array_equal(np.stack([np.frombuffer(message.data, np.uint8).reshape(64, 96, 3) for message in messages]), frames)


def test_equal_recordings_give_equal_bytes(root, two_recordings, tmp_path):
    write_ros2_mcap(tmp_path, ROBOT, [*two_recordings, two_recordings[0]], copies={2: 0})
    for episode in (0, 1):
        assert bag(tmp_path, episode).read_bytes() == bag(root, episode).read_bytes()
        assert bag(tmp_path, episode).with_name("metadata.yaml").read_bytes() == bag(root, episode).with_name("metadata.yaml").read_bytes()
    assert bag(tmp_path, 2).read_bytes() == bag(root, 0).read_bytes(), "a copy repeats the clock too"


def test_the_projects_reader_agrees(root, two_recordings):
    log = open_log(root)
    assert (log.info().robot, log.info().licence) == ("tabletop-arm", "Apache-2.0")
    for episode, recording in zip(log.episodes(), two_recordings, strict=True):
        assert (episode.frames, episode.task) == (recording.length, recording.task)
        assert episode.fps == pytest.approx(FPS, abs=0.01)
        # A JointState names its joints, so the reader puts them in the order of their names.
        assert np.array_equal(episode.state, recording.state[:, np.argsort(ROBOT.state_names)])
        assert np.array_equal(episode.action, recording.action[:, np.argsort(ROBOT.action_names)])
        assert {camera.name for camera in episode.cameras} == set(CAMERAS)
        assert not [problem for problem in episode.problems if problem.fatal]
