"""Layouts that public datasets have and that are not quite the ones of the formats' own tools: read, or refused with a line that helps."""

import json

import h5py
import numpy as np
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from tests.fixtures import bag_factory as bags
from tests.fixtures.hdf5_factory import write_aloha, write_robomimic
from tests.fixtures.lerobot_factory import write_lerobot
from tests.fixtures.video_factory import write_video


def droid(root):
    with h5py.File(root / "trajectory.h5", "w") as file:
        file["action/joint_position"], file["observation/robot_state/joint_positions"] = np.zeros((10, 7)), np.zeros((10, 7))
    write_video(root / "recordings/MP4/123.mp4", 12)


def maniskill(root):
    with h5py.File(root / "trajectory.h5", "w") as file:
        file["traj_0/actions"], file["traj_0/obs/state"] = np.zeros((10, 7)), np.zeros((11, 7))


def hub_cache(root):
    kept = write_lerobot(root.parent / "blobs", episodes=1, frames=12)
    for path in [path for path in kept.rglob("*") if path.is_file()]:
        link = root / path.relative_to(kept)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def of_version_1(root):
    (root / "meta_data").mkdir()
    (root / "meta_data/info.json").write_text('{"codebase_version": "v1.6", "fps": 30}')


def of_version_1_6(root):
    write_lerobot(root, episodes=1, frames=12)
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"codebase_version": "v1.6"}))


def several(root):
    for name in ("a", "b"):
        write_lerobot(root / name, episodes=1, frames=12)


def tasks(root):
    for name in ("pour", "wipe"):
        write_aloha(root / name / "episode_0.hdf5", 4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (droid, "HDF5 in no known layout"),
        (maniskill, "HDF5 in no known layout"),
        (hub_cache, r"a link that leads out of the log; copy the log .*cp -rL"),
        (of_version_1, "LeRobot dataset of version 1; .* convert"),
        (of_version_1_6, "'v1.6'; .* convert"),
        (several, r"2 LeRobot datasets further down \(first a\)"),
        (tasks, r"HDF5 files only further down \(first pour/episode_0.hdf5\)"),
        (lambda root: (root / "data.pkl").write_bytes(b"\x80\x04."), "no known log format"),
    ],
)
def test_what_is_not_read_is_told_with_what_to_do(tmp_path, make, words):
    root = tmp_path / "log"
    root.mkdir()
    make(root)
    with pytest.raises(UserError, match=words) as caught:
        list(open_log(root).episodes())
    assert "\n" not in str(caught.value)


def test_mobile_aloha_with_what_it_keeps_beside(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5", 40, fps=50.0)
    with h5py.File(path, "r+") as file:
        file["base_action"], file["compress_len"], file["observations/effort"] = np.zeros((40, 2)), np.zeros((2, 40)), np.zeros((40, 14))
        file["observations/images_depth/cam_high"] = np.zeros((40, 48, 64), np.uint16)
    (episode,) = open_log(path).episodes()
    assert [camera.name for camera in episode.cameras] == ["cam_high", "cam_wrist"] and not any(problem.fatal for problem in episode.problems)
    assert (episode.state.shape, episode.action.shape) == ((40, 14), (40, 14))


def test_robomimic_with_depth_and_next_pictures(tmp_path):
    path = write_robomimic(tmp_path / "image.hdf5", 2, 20, ("agentview", "robot0_eye_in_hand"), 32, 32)
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            demo["obs/agentview_depth"], demo["next_obs/agentview_image"] = np.zeros((20, 32, 32, 1), np.float32), np.zeros((20, 32, 32, 3), np.uint8)
    for episode in open_log(path).episodes():
        assert [camera.name for camera in episode.cameras] == ["agentview", "robot0_eye_in_hand"] and not any(problem.fatal for problem in episode.problems)


def test_a_lerobot_dataset_without_its_lists(tmp_path):
    root = write_lerobot(tmp_path, episodes=3, frames=12)
    for name in ("tasks.jsonl", "episodes.jsonl"):
        (root / "meta" / name).unlink()
    reader = open_log(root)
    episodes = list(reader.episodes())
    assert [(episode.frames, [problem.code for problem in episode.problems]) for episode in episodes] == [(12, ["not_listed", "no_task"])] * 3


def test_a_bag_of_a_real_sensor_driver(tmp_path):
    """Infrared in grey, depth packed as a picture, the gripper on a topic of its own at another rate."""
    heard = bags.recording(20)
    for row in range(20):
        seconds = row / bags.FPS
        depth = bags.compressed(bags.picture(row), seconds, "png")
        depth.format = "16UC1; compressedDepth png"
        gray = bags.image(bags.picture(row)[..., :1], seconds, "mono8")
        heard += [
            bags.Heard("/camera/depth/image_rect_raw/compressedDepth", "sensor_msgs/msg/CompressedImage", bags.at(seconds), depth),
            bags.Heard("/camera/infra1/image_rect_raw", "sensor_msgs/msg/Image", bags.at(seconds), gray),
        ]
        for part in range(3):
            told = bags.joints(["finger"], [seconds + part], seconds + part / 30)
            heard.append(bags.Heard("/gripper/joint_states", "sensor_msgs/msg/JointState", bags.at(seconds + part / 30), told))
    (episode,) = open_log(bags.write_mcap(tmp_path / "one.mcap", heard)).episodes()
    assert [camera.name for camera in episode.cameras] == ["front", "infra1"] and episode.state.shape[1] == 4
    told = next(problem.message for problem in episode.problems if problem.code == "ignored_topics")
    assert "compressedDepth (20 sensor_msgs/CompressedImage: it holds depth" in told
