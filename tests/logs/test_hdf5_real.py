"""HDF5 logs that nobody made for this project, and those of the simulator."""

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
from cosmos_ops.workers import LocalWorkers
from tests.shards.lakes import ready_for_shards, small_profile

REAL = Path(__file__).parents[2].parent / "shared/data/real"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"real logs are not on this machine ({REAL})")


@real
def test_robonet():
    reader = open_log(REAL / "robonet-hdf5")
    info, (sawyer, franka) = reader.info(), reader.episodes()
    assert (info.format, info.format_version, info.robot, info.declared_episodes) == ("robonet-hdf5", "0.1.0", "franka+sawyer", 2)
    assert [(e.index, e.robot, e.frames, e.fps, len(e.cameras), e.state.shape, e.action.shape, e.task) for e in (sawyer, franka)] == [
        (1, "sawyer", 31, 10, 5, (31, 5), (30, 4), None),
        (3389, "franka", 31, 10, 3, (31, 5), (30, 4), None),
    ]
    assert [e.id for e in (sawyer, franka)] == ["ab344c55146c0312", "7eb0f6057cf61a74"]
    for camera in sawyer.cameras:
        frames = list(reader.decode(sawyer, camera, 1.0, 2.0))
        assert [round(frame.time_s, 3) for frame in frames] == [round(1 + row / 10, 3) for row in range(10)]
        assert frames[0].image.height == 240 and np.ptp(frames[0].image.to_ndarray(format="rgb24")) > 200


@real
def test_every_robonet_camera_is_good_enough():
    found = inspect_log(REAL / "robonet-hdf5", load_profile("nano"))
    assert [len(episode["accepted_cameras"]) for episode in found["episodes"]] == [5, 3]
    assert [problem["code"] for problem in found["episodes"][0]["problems"]] == ["no_task"]
    with pytest.raises(UserError, match="too_short.*3.1 s hold 31 frames at 10 a second, a clip needs 93"):
        inspect_log(REAL / "robonet-hdf5", load_profile("cosmos-predict2.5-2b"))


@real
def test_one_robonet_file_becomes_clips(tmp_path):
    path = tmp_path / "stanford_franka_traj3389.hdf5"
    path.write_bytes((REAL / "robonet-hdf5" / path.name).read_bytes())
    mapping_path(path).write_text("task: push objects around the bin\nstate: [env/qpos, env/qvel]\n")
    assert next(open_log(path).episodes()).state.shape == (31, 18)
    profile = small_profile(frames=17)
    assert write_shards(ready_for_shards(tmp_path / "lake", path, profile, "robonet"), "robonet", profile, workers=LocalWorkers(2)).rows == 3


@real
@pytest.mark.parametrize("name", ["", "can_low_dim.hdf5", "lift_low_dim.hdf5"])
def test_robomimic_without_pictures_is_one_line(name):
    with pytest.raises(UserError, match="episodes without pictures") as caught:
        open_log(REAL / "robomimic-low-dim" / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw_images", [False, True])
def test_the_simulators_drops_and_their_faults(tmp_path, raw_images):
    faults = ("black", "truncated_file", "missing_video", "wrong_metadata")
    planted = {item.fault: item for item in write_drop(tmp_path / "sim", 0, 5, "aloha-hdf5", faults, height_px=48, width_px=64, raw_images=raw_images)}
    found = {episode["index"]: episode for episode in inspect_log(tmp_path / "sim", small_profile())["episodes"]}
    expected = {"black": "black", "truncated_file": "unreadable_file", "missing_video": "missing_video", "wrong_metadata": "odd_rate"}
    for fault, code in expected.items():
        assert code in [problem["code"] for problem in found[planted[fault].episode_index]["problems"]], fault
    (sound,) = set(found) - {item.episode_index for item in planted.values()}
    assert found[sound]["accepted"] and found[sound]["problems"] == [] and found[sound]["task"] and found[sound]["outcome"] == "success"
