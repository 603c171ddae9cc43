"""RLDS datasets: what is read of them, from files that another protobuf and another checksum wrote."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.logs.mapping import NAME, mapping_values, mapping_yaml
from cosmos_ops.logs.rlds.crc32c import crc32c
from cosmos_ops.shards.write import write_shards
from cosmos_ops.workers import LocalWorkers
from tests.fixtures.lerobot_factory import block_path, render
from tests.fixtures.rlds_factory import file_name, info, masked_crc, write_rlds
from tests.shards.lakes import ready_for_shards, small_profile

REAL = Path(__file__).parents[2].parent / "shared/data/real/bridge-rlds"


@pytest.mark.parametrize("size", [0, 1, 3, 4, 1023, 1024, 4097, (1 << 20) + 5, (1 << 20) + 2000])
def test_the_checksum_is_that_of_the_standard_in_one_go_and_in_parts(size):
    assert (crc32c(b"123456789"), crc32c(bytes(32)), crc32c(b"\xff" * 32)) == (0xE3069283, 0x8A9136AA, 0x62A8AB43)
    content = random.Random(size).randbytes(size)
    whole = crc32c(content)
    assert ((whole >> 15 | whole << 17) + 0xA282EAD8) & 0xFFFFFFFF == masked_crc(content)
    assert crc32c(content[size // 3 :], crc32c(content[: size // 3])) == whole


def test_episodes_are_what_was_written(tmp_path):
    reader = open_log(write_rlds(tmp_path / "drop", 4, 24, ("image_0", "wrist"), files=2))
    log, episodes = reader.info(), list(reader.episodes())
    assert (log.format, log.format_version, log.declared_episodes, log.robot) == ("rlds", "1.0.0", 4, None)
    assert [problem.code for problem in log.problems] == ["assumed_fps"] and "10 steps a second" in log.problems[0].message
    assert [(e.index, e.frames, e.fps, e.state.shape, e.action.shape) for e in episodes] == [(i, 24, 10, (24, 6), (24, 4)) for i in range(4)]
    assert {e.task for e in episodes} == {"push the block"} and len({e.id for e in episodes}) == 4
    for episode, number in zip(episodes, (0, 2, 1, 3), strict=True):  # the files take turns
        state = np.repeat(block_path(7, number, 24), 3, axis=1).astype(np.float32)
        np.testing.assert_array_equal(episode.state, state)
        np.testing.assert_allclose(episode.action, state[:, :4] + 0.5, rtol=1e-6)
        assert episode.outcome == ("success" if number % 2 == 0 else None)
        assert [(camera.name, camera.frames, camera.height, camera.width, camera.codec) for camera in episode.cameras] == [
            ("image_0", 24, 48, 64, "mjpeg"),
            ("wrist", 24, 48, 64, "mjpeg"),
        ]


@pytest.mark.parametrize(("picture", "tolerance"), [(".jpg", 12), (".png", 1)])
def test_pictures_are_those_written_at_their_times(tmp_path, picture, tolerance):
    reader = open_log(write_rlds(tmp_path / "drop", 3, 20, picture=picture))
    episode = list(reader.episodes())[2]
    film = render(block_path(7, 2, 20), 48, 64, 2, "image_0")
    frames = list(reader.decode(episode, episode.cameras[0], 0.5, 0.9))
    assert [round(frame.time_s, 6) for frame in frames] == [0.5, 0.6, 0.7, 0.8]
    for step, frame in enumerate(frames, start=5):
        assert np.abs(frame.image.to_ndarray(format="rgb24").astype(int) - film[step]).mean() < tolerance
    seen = reader.sample(episode, episode.cameras[0], [0.0, 0.52, 1.9, 99.0])
    assert seen.duration_s == 2.0 and [round(frame.time_s, 6) for frame in seen.frames] == [0.0, 0.5, 1.9]


def test_a_later_episode_needs_no_earlier_one(tmp_path):
    root = write_rlds(tmp_path / "drop", 3, 12)
    path = next(root.rglob("*.tfrecord*"))
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    first, second, third = open_log(root).episodes()
    assert [problem.code for problem in first.problems] == ["unreadable_file"] and "checksum" in first.problems[0].message
    assert (second.index, third.index, second.problems, third.problems) == (1, 2, (), ())


def test_the_mapping_wins_and_its_guess_can_be_saved(tmp_path):
    root = write_rlds(tmp_path / "drop", 1, 12, ("image_0", "wrist"))
    guess = mapping_values(open_log(root).guess())
    assert guess == {
        "fps": 10.0,
        "cameras": {"observation/image_0": "image_0", "observation/wrist": "wrist"},
        "state": ["observation/state"],
        "action": ["action"],
    }
    chosen = {"robot": "widowx", "licence": "MIT", "fps": 5.0, "task": "wipe", "cameras": {"observation/wrist": "hand"}, "action": ["action", "reward"]}
    (root / NAME).write_text(mapping_yaml(guess | chosen))
    reader = open_log(root)
    (episode,) = reader.episodes()
    assert (reader.info().robot, reader.info().licence, reader.info().problems) == ("widowx", "MIT", ())
    assert (episode.fps, episode.task, episode.robot, episode.action.shape) == (5, "wipe", "widowx", (12, 5))
    assert [camera.name for camera in episode.cameras] == ["hand"] and episode.timestamps_s[-1] == pytest.approx(2.2)


def test_what_a_step_holds_is_guessed_from_its_names(tmp_path):
    parts = {"action/world_vector": [0.5] * 16, "action/gripper": [1.0] * 8, "action/terminate_episode": [0.0] * 8}
    parts |= {"observation/joint_pos": [0.1] * 48, "observation/gripper_position": [0.2] * 8, "observation/workspace_bounds": [0.3] * 16}
    points = [*b"push it", *[0] * 93] * 8
    parts |= {"observation/instruction": points, "action": None, "observation/state": None, "language_instruction": None}
    root = write_rlds(tmp_path / "drop", 1, 8, **{f"steps/{name}": values for name, values in parts.items()})
    reader = open_log(root)
    (episode,) = reader.episodes()
    assert reader.guess().state == ("observation/gripper_position", "observation/joint_pos")
    assert reader.guess().action == ("action/gripper", "action/world_vector")
    assert (episode.state.shape, episode.action.shape, episode.action[0].tolist()) == ((8, 7), (8, 3), [1, 0.5, 0.5])
    assert episode.task == "push it" and episode.problems == ()


def test_a_ragged_instruction_and_a_depth_map(tmp_path):
    key = "steps/language_instruction/ragged_flat_values"
    root = write_rlds(tmp_path / "drop", 1, 8, **{"steps/language_instruction": None, key: [b"push", b"shove"] * 8})
    path = next(root.rglob("features.json"))
    described = json.loads(path.read_text())
    steps = described["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    steps["language_instruction"] = {"sequence": {"feature": {"text": {}}}}
    steps["observation"]["featuresDict"]["features"]["depth"] = {"image": {"shape": {"dimensions": ["48", "64", "1"]}, "dtype": "uint16"}}
    path.write_text(json.dumps(described))
    (episode,) = open_log(root).episodes()
    assert episode.task == "push"
    assert [(problem.code, problem.camera) for problem in episode.problems] == [("unsupported_camera", "depth"), ("several_tasks", None)]


@pytest.mark.parametrize(
    ("features", "task"),
    [
        ({"steps/language_instruction": [b""] * 8}, None),
        ({"steps/language_instruction": [b" go\n left "] * 8}, "go left"),
        ({"steps/language_instruction": [b"go"] * 4 + [b"stop"] * 4}, "go"),
        ({"steps/language_instruction": [b"\xff\xfe"] * 8}, "\ufffd\ufffd"),
    ],
)
def test_the_instruction_is_one_line(tmp_path, features, task):
    (episode,) = open_log(write_rlds(tmp_path / "drop", 1, 8, **features)).episodes()
    assert episode.task == task
    assert [problem.code for problem in episode.problems] == ([] if task and task != "go" else ["several_tasks" if task else "no_task"])


def test_a_missing_file_is_said(tmp_path):
    root = write_rlds(tmp_path / "drop", 6, 8, files=3)
    next(root.rglob(file_name(1, 3))).unlink()
    reader = open_log(root / "toy_arm")
    notes = {problem.code: problem.message for problem in reader.info().problems}
    assert "6 episodes are declared, 4 are there" in notes["episode_count"] and "train 1 of 3" in notes["missing_files"]
    assert len(list(reader.episodes())) == 4


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda folder: (folder / "features.json").unlink(), "without features.json"),
        (lambda folder: (folder / "features.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "features.json").write_text("[" * 100_000), "cannot be read"),
        (lambda folder: (folder / "features.json").write_text("[]"), "describes no `steps`"),
        (lambda folder: (folder / "dataset_info.json").write_text("nonsense"), "cannot be read"),
        (lambda folder: folder.rename(folder.with_name("0.9.0")) and write_rlds(folder.parents[1], 1, 4), "holds 2 datasets"),
        (lambda folder: next(folder.glob("*.tfrecord*")).rename(folder / "toy_arm-train.array_record-00000-of-00001"), "no TFRecords"),
    ],
)
def test_what_cannot_be_read_at_all_is_one_line(tmp_path, damage, what):
    root = write_rlds(tmp_path / "drop", 1, 4)
    damage(root / "toy_arm/1.0.0")
    with pytest.raises(UserError, match=what) as caught:
        open_log(root)
    assert "\n" not in str(caught.value)


def test_one_file_alone_is_not_enough(tmp_path):
    with pytest.raises(UserError, match="give the folder"):
        open_log(next(write_rlds(tmp_path / "drop", 1, 4).rglob("*.tfrecord*")))


def test_clips_come_out(tmp_path):
    root = write_rlds(tmp_path / "drop", 2, 24, files=1)
    profile = small_profile()
    assert write_shards(ready_for_shards(tmp_path / "lake", root, profile, "toy"), "toy", profile, workers=LocalWorkers(1)).rows == 4


def test_empty_files_are_right_where_they_are_declared(tmp_path):
    root = write_rlds(tmp_path / "drop", 1, 8)
    folder = root / "toy_arm/1.0.0"
    (folder / file_name(0, 1)).rename(folder / file_name(0, 2))
    (folder / file_name(1, 2)).touch()
    (folder / "dataset_info.json").write_text(json.dumps(info([1, 0])))
    assert [episode.problems for episode in open_log(root).episodes()] == [()]
    (folder / "dataset_info.json").write_text(json.dumps(info([1, 3])))
    whole, empty = open_log(root).episodes()
    assert "is empty; 3 of its 3 episodes are lost" in empty.problems[0].message


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real logs are not on this machine ({REAL})")
def test_bridges_black_camera_is_rejected_and_the_others_are_not(tmp_path):
    root = Path(shutil.copytree(REAL, tmp_path / "bridge"))
    root.chmod(0o755)
    (root / NAME).write_text("robot: widowx\nfps: 5\n")
    found = inspect_log(root, small_profile())
    assert (found["robot"], found["accepted_episodes"], found["mapping"]["fps"]) == ("widowx", 25, 5)
    assert {tuple(episode["accepted_cameras"]) for episode in found["episodes"]} == {("image_0", "image_1", "image_2")}
    assert {(p["code"], p["camera"]) for episode in found["episodes"] for p in episode["problems"] if p["fatal"]} >= {("black", "image_3")}


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real logs are not on this machine ({REAL})")
def test_bridge():
    reader = open_log(REAL)
    log, episodes = reader.info(), list(reader.episodes())
    assert (log.format_version, log.licence, log.declared_episodes) == ("1.0.0", "MIT", 50)
    assert {problem.code for problem in log.problems} == {"episode_count", "missing_files", "assumed_fps"}
    assert len(episodes) == 25 and {(e.frames, e.state.shape[1], e.action.shape[1], len(e.cameras)) for e in episodes} == {(10, 7, 7, 4)}
    assert len({e.task for e in episodes}) == 4 and len({e.id for e in episodes}) == 25 and not any(e.problems for e in episodes)
    brightness = [frame.image.to_ndarray(format="gray").mean() for camera in episodes[3].cameras for frame in reader.decode(episodes[3], camera, 0.45, 0.55)]
    assert len(brightness) == 4 and min(brightness[:3]) > 40 and brightness[3] < 1
