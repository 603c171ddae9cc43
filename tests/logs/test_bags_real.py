"""Bags that nobody made for this project, and those of the simulator with its faults."""

from pathlib import Path

import numpy as np
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.logs.mapping import mapping_path
from cosmos_ops.profiles import load_profile
from cosmos_ops.shards.write import write_shards
from cosmos_ops.simulate.drops import write_drop
from cosmos_ops.simulate.mcap_writer import write_ros2_mcap
from cosmos_ops.simulate.tabletop import ROBOT, record_episode
from cosmos_ops.video.transform import FrameFitter
from cosmos_ops.workers import LocalWorkers
from tests.shards.lakes import ready_for_shards, small_profile

REAL = Path(__file__).parents[2].parent / "shared/data/real"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"real logs are not on this machine ({REAL})")


def rgb(reader, episode, camera, **stretch):
    fitter = FrameFitter(96, 128)
    return [fitter.rgb(frame.image) for frame in reader.decode(episode, camera, **stretch)]


@real
def test_cr5_is_the_lerobot_episode_that_it_was_made_from():
    reader, lerobot = open_log(REAL / "cr5-mcap-derived"), open_log(REAL / "cr5-banana")
    (episode,), original = reader.episodes(), next(lerobot.episodes())
    assert (reader.info().format_version, reader.info().licence, episode.id) == ("ros2 mcap", "MIT", "143ecc33402bd921")
    assert np.array_equal(episode.state, original.state) and (episode.frames, episode.fps) == (197, 10) and episode.action.shape == (197, 0)
    assert episode.timestamps_s[0] == 0 and episode.timestamps_s[-1] == pytest.approx(20.516, abs=1e-3), "the recorded, jittered clock"
    (camera,), (top,) = episode.cameras, original.cameras
    assert (camera.frames, camera.fps, camera.height, camera.width) == (197, 10, 480, 640)
    ours, theirs = rgb(reader, episode, camera), rgb(lerobot, original, top)
    errors = [np.abs(one.astype(int) - other).mean() for one, other in zip(ours, theirs, strict=True)]
    assert max(errors) < 4 and np.abs(ours[0].astype(int) - theirs[100]).mean() > 2 * max(errors), "each frame is the one of its number"
    assert [problem.code for problem in episode.problems] == ["no_action", "no_task"]


@real
@pytest.mark.parametrize("single", [False, True])
def test_cr5_becomes_clips(tmp_path, single):
    path = tmp_path / "bag.mcap" if single else tmp_path / "bag"
    for source in sorted((REAL / "cr5-mcap-derived").iterdir()):
        if not single or source.suffix == ".mcap":
            target = path if single else path / source.name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(source.read_bytes())
    mapping_path(path).write_text("robot: cr5\ntask: put the banana on the plate\ncameras: {/camera/color/image_raw/compressed: top}\n")
    found = inspect_log(path, load_profile("nano"))
    assert (found["accepted_episodes"], found["robot"], found["episodes"][0]["cameras"]) == (1, "cr5", ["top"])
    profile = small_profile(frames=17)
    lake = ready_for_shards(tmp_path / "lake", path, profile, "cr5")
    assert write_shards(lake, "cr5", profile, workers=LocalWorkers(2)).rows == 9


@real
def test_twins_in_both_storages_are_equal():
    episodes = [next(open_log(REAL / "rosbags-rs-alltypes" / name).episodes()) for name in ("test_bag_mcap", "test_bag_sqlite3")]
    told = [[(problem.code, problem.message, problem.camera) for problem in episode.problems] for episode in episodes]
    assert told[0] == told[1] and np.array_equal(episodes[0].state, episodes[1].state) and episodes[0].cameras == episodes[1].cameras == ()
    assert {code for code, _, camera in told[0] if camera} == {"unreadable"}
    for path in ("", "test_bag_mcap", "test_bag_sqlite3/test_bag_sqlite3.db3"):
        with pytest.raises(UserError, match="no episode can be used") as caught:
            inspect_log(REAL / "rosbags-rs-alltypes" / path, load_profile("nano"))
        assert "\n" not in str(caught.value)


@real
def test_foxglove_demo():
    reader = open_log(REAL / "mcap-explorer-demo/demo.mcap")
    (episode,) = reader.episodes()
    (camera,) = episode.cameras
    assert (reader.info().format_version, episode.robot, camera.name, camera.frames, camera.fps) == ("mcap", "demo-bot", "front", 30, 10)
    assert (camera.height, camera.width, camera.codec, episode.state.shape) == (240, 320, "png", (30, 0))
    frames = list(reader.decode(episode, camera))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(30) / 10) and np.ptp(frames[0].image.to_ndarray(format="rgb24")) > 100
    assert "/imu/front (150 sensor_msgs/Imu), /odom (150 nav_msgs/Odometry)" in episode.problems[0].message
    assert inspect_log(REAL / "mcap-explorer-demo", load_profile("nano"))["accepted_episodes"] == 1


@pytest.mark.parametrize("raw_images", [False, True])
def test_what_the_simulator_wrote_is_what_is_read(tmp_path, raw_images):
    recording = record_episode(3, 0, height_px=64, width_px=96, frames=24)
    write_ros2_mcap(tmp_path, ROBOT, [recording], raw_images=raw_images)
    reader = open_log(tmp_path)
    (episode,) = reader.episodes()
    assert (reader.info().robot, reader.info().licence, episode.task, episode.outcome) == (ROBOT.name, "Apache-2.0", recording.task, "success")
    assert episode.timestamps_s == pytest.approx(recording.clock_s - recording.clock_s[0], abs=1e-6)
    for given, read, names in ((recording.state, episode.state, ROBOT.state_names), (recording.action, episode.action, ROBOT.action_names)):
        assert np.array_equal(read, given[:, [names.index(name) for name in sorted(names)]])
    assert [camera.name for camera in episode.cameras] == sorted(recording.frames)
    for camera in episode.cameras:
        for frame, image in zip(reader.decode(episode, camera), recording.frames[camera.name], strict=True):
            error = np.abs(frame.image.to_ndarray(format="rgb24").astype(int) - image)
            assert error.max() == 0 if raw_images else error.mean() < 4


FAULTS = ("too_short", "black", "frozen", "truncated_file", "missing_video", "clock_drift", "gap", "duplicate", "wrong_metadata")


def test_the_simulators_faults_are_found(tmp_path):
    planted = {item.fault: item for item in write_drop(tmp_path / "sim", 0, 14, "ros2-mcap", FAULTS, height_px=48, width_px=64)}
    found = {episode["index"]: episode for episode in inspect_log(tmp_path / "sim", small_profile(frames=17))["episodes"]}
    expected = {
        "too_short": "too_short", "black": "black", "frozen": "frozen", "truncated_file": "damaged_log", "missing_video": "missing_video",
        "clock_drift": "clock_drift", "gap": "clock_gap", "duplicate": "duplicate_episode", "wrong_metadata": "missing_video",
    }  # fmt: skip
    assert planted.keys() == expected.keys()
    for fault, code in expected.items():
        episode = found[planted[fault].episode_index]
        assert (code, planted[fault].camera) in [(problem["code"], problem["camera"]) for problem in episode["problems"]] or fault == "wrong_metadata", fault
        assert code in [problem["code"] for problem in episode["problems"]], fault
    for index in found.keys() - {item.episode_index for item in planted.values()}:
        assert found[index]["accepted"] and found[index]["problems"] == []
