"""Every fault that a format allows is really in the files, everything else is whole, and the marker tells the truth about both."""

import json
from collections import Counter
from dataclasses import asdict

import cv2
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from mcap.exceptions import McapError
from mcap_ros2.reader import read_ros2_messages

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from cosmos_ops.simulate.drops import FORMATS, MARKER, write_drop
from cosmos_ops.simulate.faults import DRIFT, GAP_S, copied_episode, plan_faults

CAMERAS, FPS, SHORT = ("front", "wrist"), 8, 9
BAGS, HDF5, V21, V30 = "ros2-mcap", "aloha-hdf5", "lerobot-v2.1", "lerobot-v3.0"


class Drop:
    """A faulty drop, read with nothing of the writers."""

    def __init__(self, root, fmt):
        self.root, self.fmt = root, fmt
        self.planted = write_drop(root, 3, len(FORMATS[fmt]) + 1, fmt, faults=True, height_px=64, width_px=96)

    def of(self, fault):
        return next(item for item in self.planted if item.fault == fault)

    def file(self, episode):
        name = f"episode_{episode:06d}"
        return self.root / (f"episode_{episode}.hdf5" if self.fmt == HDF5 else f"{name}/{name}_0.mcap")

    def telemetry(self, episode):
        """State [T, 5] and its clock in seconds from its start."""
        if self.fmt == HDF5:
            with h5py.File(self.file(episode)) as file:
                state = file["observations/qpos"][()]
            return state, np.arange(len(state)) / FPS
        if self.fmt == BAGS:
            rows = [(stamp(message), message.ros_msg.position) for message in read_ros2_messages(str(self.file(episode)), topics=["/joint_states"])]
            clock = np.array([time for time, _ in rows])
            return np.array([state for _, state in rows], np.float32), clock - clock[0]
        table = pq.read_table(self.root / "data", filters=[("episode_index", "=", episode)])
        return np.stack(table["observation.state"].to_numpy()), table["timestamp"].to_numpy().astype(float)

    def pictures(self, episode, camera):
        """uint8 [T, H, W, 3] and, in bags, stamps in seconds from the telemetry's first."""
        if self.fmt == HDF5:
            with h5py.File(self.file(episode)) as file:
                return np.stack([decoded(row) for row in file[f"observations/images/{camera}"]]), None
        if self.fmt == BAGS:
            messages = list(read_ros2_messages(str(self.file(episode))))
            start = min(stamp(message) for message in messages if message.channel.topic == "/joint_states")
            seen = [message for message in messages if message.channel.topic == f"/camera/{camera}/image_raw/compressed"]
            return np.stack([decoded(message.ros_msg.data) for message in seen]), np.array([stamp(message) for message in seen]) - start
        log = open_log(self.root)
        found = next(item for item in log.episodes() if item.index == episode)
        view = next(item for item in found.cameras if item.name == camera)
        return np.stack([frame.image.to_ndarray(format="rgb24") for frame in log.decode(found, view)]), None


def stamp(message):
    """Seconds since midnight: whole seconds since the epoch would leave no room for the rest."""
    return message.ros_msg.header.stamp.sec % 86400 + message.ros_msg.header.stamp.nanosec / 1e9


def decoded(content):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def still(images):
    """Fraction of steps in which nothing moves."""
    return (np.abs(np.diff(images.astype(int), axis=0)).mean(axis=(1, 2, 3)) < 0.3).mean()


@pytest.fixture(scope="module")
def drops(tmp_path_factory):
    made = {}

    def get(fmt):
        if fmt not in made:
            made[fmt] = Drop(tmp_path_factory.mktemp("faulty") / fmt, fmt)
        return made[fmt]

    return get


@pytest.fixture(params=sorted(FORMATS))
def drop(request, drops):
    return drops(request.param)


@pytest.fixture(params=[V21, V30, BAGS])
def clocked(request, drops):
    """Those whose format keeps a clock."""
    return drops(request.param)


def test_one_of_each_is_planted_and_the_marker_tells_of_it(drop):
    assert sorted(item.fault for item in drop.planted) == sorted(FORMATS[drop.fmt])
    assert len({item.episode_index for item in drop.planted}) == len(drop.planted)
    assert json.loads((drop.root / MARKER).read_text())["planted"] == [asdict(item) for item in drop.planted]
    assert all(item.detail for item in drop.planted)


def test_black_and_frozen_cameras_have_moving_telemetry(drop):
    for fault in ("black", "frozen"):
        item = drop.of(fault)
        images, _ = drop.pictures(item.episode_index, item.camera)
        other, _ = drop.pictures(item.episode_index, next(camera for camera in CAMERAS if camera != item.camera))
        state, _ = drop.telemetry(item.episode_index)
        assert len(images) == len(other) == len(state)
        assert images.max() < 16 if fault == "black" else images.std() > 10
        assert still(images) > 0.75 and still(other) < 0.3
        assert np.ptp(state, axis=0).max() > 0.2


def test_a_short_episode_has_nine_rows(drop):
    item = drop.of("too_short")
    assert item.camera is None and len(drop.telemetry(item.episode_index)[0]) == SHORT
    assert {len(drop.pictures(item.episode_index, camera)[0]) for camera in CAMERAS} == {SHORT}


def test_a_duplicate_is_an_exact_copy(drop):
    item = drop.of("duplicate")
    original = copied_episode(item, drop.planted)
    assert original < item.episode_index and item.detail.endswith(f"episode {original}")
    for one, other in zip(drop.telemetry(original), drop.telemetry(item.episode_index), strict=True):
        assert np.array_equal(one, other)
    if drop.fmt in (HDF5, BAGS):
        assert drop.file(original).read_bytes() == drop.file(item.episode_index).read_bytes()
    elif drop.fmt == V21:
        for camera in CAMERAS:
            one, other = (drop.root / f"videos/chunk-000/observation.images.{camera}/episode_{index:06d}.mp4" for index in (original, item.episode_index))
            assert one.read_bytes() == other.read_bytes()
    for camera in CAMERAS:  # v3.0 encodes both into one stream, so its pictures are equal but for what the encoder leaves out
        one, other = (drop.pictures(index, camera)[0].astype(int) for index in (original, item.episode_index))
        assert np.abs(one - other).mean() < 1.0
    others = [index for index in range(len(drop.planted) + 1) if index not in {planted.episode_index for planted in drop.planted}]
    assert others == [original]


def test_a_gap_is_missing_from_rows_frames_and_clocks(clocked):
    index = clocked.of("gap").episode_index
    state, clock = clocked.telemetry(index)
    steps = np.diff(clock)
    jump = int(steps.argmax())
    assert steps[jump] == pytest.approx(GAP_S + 1 / FPS, abs=0.01) and steps[jump] >= 1.0
    assert np.delete(steps, jump) == pytest.approx(1 / FPS, abs=1e-3)
    assert 0.3 < jump / len(state) < 0.7, "in the middle"
    for camera in CAMERAS:
        images, stamps = clocked.pictures(index, camera)
        assert len(images) == len(state)
        assert stamps is None or stamps == pytest.approx(clock, abs=1e-3)


def test_a_clock_drifts_by_the_stated_amount(clocked):
    item = clocked.of("clock_drift")
    rate = 1 + DRIFT if "fast" in item.detail else 1 - DRIFT
    assert f"{DRIFT:.0%}" in item.detail
    state, clock = clocked.telemetry(item.episode_index)
    if clocked.fmt == BAGS:
        assert clock == pytest.approx(np.arange(len(state)) / FPS, abs=1e-3)
        for camera in CAMERAS:
            _, stamps = clocked.pictures(item.episode_index, camera)
            assert stamps == pytest.approx(clock * (rate if camera == item.camera else 1.0), abs=1e-3)
        messages = read_ros2_messages(str(clocked.file(item.episode_index)), topics=[f"/camera/{item.camera}/image_raw/compressed"])
        heard = np.array([message.log_time_ns for message in messages]) / 1e9
        assert heard[-1] - heard[0] == pytest.approx(clock[-1], abs=0.03), "the recorder's clock is right"
    else:
        assert item.camera is None
        assert clock == pytest.approx(np.arange(len(state)) / FPS * rate, abs=1e-3)
        assert {len(clocked.pictures(item.episode_index, camera)[0]) for camera in CAMERAS} == {len(state)}


def test_wrong_metadata_is_wrong_and_the_data_are_whole(drop):
    item = drop.of("wrong_metadata")
    state, clock = drop.telemetry(item.episode_index)
    assert {len(drop.pictures(item.episode_index, camera)[0]) for camera in CAMERAS} == {len(state)}
    if drop.fmt == HDF5:
        rates = Counter()
        for index in range(len(drop.planted) + 1):
            if index != drop.of("truncated_file").episode_index:
                with h5py.File(drop.file(index)) as file:
                    rates[int(file.attrs["fps"])] += 1
                    assert (file.attrs["fps"] == FPS) == (index != item.episode_index)
        assert set(rates) == {FPS, 2 * FPS}
    elif drop.fmt == BAGS:
        told = yaml.safe_load(drop.file(item.episode_index).with_name("metadata.yaml").read_text())["rosbag2_bagfile_information"]
        declared = {entry["topic_metadata"]["name"] for entry in told["topics_with_message_count"]}
        held = {message.channel.topic for message in read_ros2_messages(str(drop.file(item.episode_index)))}
        assert declared - held == {"/camera/rear/image_raw/compressed"} and held < declared
    else:
        found = next(episode for episode in open_log(drop.root).episodes() if episode.index == item.episode_index)
        assert [problem.code for problem in found.problems] == ["frame_count"]
        assert f"declares {len(state) + len(state) // 2} frames" in found.problems[0].message


def test_a_truncated_file_cannot_be_read_to_its_end(drops):
    hdf5, bags = drops(HDF5), drops(BAGS)
    with pytest.raises(OSError, match="truncated"):
        h5py.File(hdf5.file(hdf5.of("truncated_file").episode_index))
    with pytest.raises(McapError):
        list(read_ros2_messages(str(bags.file(bags.of("truncated_file").episode_index))))


def test_a_lost_camera_is_nowhere_and_the_other_is_whole(drops):
    for drop in (drops(HDF5), drops(BAGS)):
        item = drop.of("missing_video")
        other = next(camera for camera in CAMERAS if camera != item.camera)
        assert len(drop.pictures(item.episode_index, other)[0]) == len(drop.telemetry(item.episode_index)[0])
        with pytest.raises((KeyError, ValueError)):
            drop.pictures(item.episode_index, item.camera)


def test_what_is_not_planted_is_whole(drop):
    clean = next(index for index in range(len(drop.planted) + 1) if index not in {item.episode_index for item in drop.planted})
    state, clock = drop.telemetry(clean)
    assert clock == pytest.approx(np.arange(len(state)) / FPS, abs=1e-3)
    for camera in CAMERAS:
        images, _ = drop.pictures(clean, camera)
        assert len(images) == len(state) and still(images) < 0.3 and images.mean() > 40


@pytest.mark.parametrize("fmt", sorted(FORMATS))
def test_a_name_may_be_repeated_and_every_duplicate_has_a_clean_original(fmt):
    wanted = ("duplicate", "duplicate", "frozen", "duplicate", "black")
    for seed in range(40):
        planted = plan_faults(wanted, 6, CAMERAS, seed, fmt)
        spoiled = [item.episode_index for item in planted]
        assert spoiled == sorted(set(spoiled)) and Counter(item.fault for item in planted) == Counter(wanted)
        for item in planted:
            if item.fault == "duplicate":
                assert copied_episode(item, planted) < item.episode_index and copied_episode(item, planted) not in spoiled
    with pytest.raises(UserError, match="as many episodes and one to copy"):
        plan_faults(wanted, 5, CAMERAS, 0, fmt)
