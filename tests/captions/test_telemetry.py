"""Sentences from telemetry that is known, through the readers, and from real logs."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_ops.captions.telemetry.captions import telemetry_captions
from cosmos_ops.captions.telemetry.grasp import trace
from cosmos_ops.captions.telemetry.observe import observe, scale_of
from cosmos_ops.captions.telemetry.parts import robot_parts
from cosmos_ops.captions.telemetry.wording import Words, describe
from cosmos_ops.logs import Episode, open_log
from cosmos_ops.logs.drops import Drop
from cosmos_ops.logs.names import lerobot_names
from cosmos_ops.profiles import TelemetrySettings
from tests.fixtures.hdf5_factory import write_aloha, write_robomimic
from tests.fixtures.lerobot_factory import write_lerobot

REAL = Path(__file__).parents[2].parent / "shared/data/real"
FPS = 10
NOTHING = Words()


def episode(state: dict[str, np.ndarray], action: dict[str, np.ndarray] | None = None, index: int = 0) -> Episode:
    """Columns by name, as many rows as they have."""
    action = action or {}
    rows = len(next(iter(state.values())))
    arrays = [np.stack(list(columns.values()), axis=1).astype(np.float32) if columns else np.zeros((rows, 0), np.float32) for columns in (state, action)]
    return Episode(index, rows, FPS, np.arange(rows) / FPS, *arrays, (), None, state_names=tuple(state), action_names=tuple(action))


def told(state, action=None, words=NOTHING, closed=None, window=None) -> str:
    """What is said of a whole episode, or of a window of it (seconds)."""
    made = episode(state, action)
    whole = (0.0, float(made.timestamps_s[-1]))
    (seen, *_), scale = observe(made, [window or whole], closed), scale_of(observe(made, [whole], closed))
    return describe(seen, scale, words)


def ramp(*knots: tuple[float, float], rows: int = 41) -> np.ndarray:
    """Straight lines through (second, value)."""
    return np.interp(np.arange(rows) / FPS, *zip(*knots, strict=True))


def still(value: float = 0.3, rows: int = 41) -> np.ndarray:
    return np.full(rows, value)


def test_positions_give_direction_and_distance():
    pose = {"x": ramp((0, 0.30), (4, 0.42)), "y": ramp((0, 0.1), (4, 0.1)), "z": ramp((0, 0.2), (4, 0.14))}
    assert told(pose) == "The arm moves 0.12 along +x and 0.06 along -z."
    assert told(pose, words=Words(length_unit="m")) == "The arm moves 12 cm along +x and 6 cm along -z."
    assert told(pose, words=Words(length_unit="m", axes=("forward", "left", "up"))) == "The arm moves 12 cm forward and 6 cm down."
    assert told({f"{name} [m]": values for name, values in pose.items()}) == "The arm moves 12 cm along +x and 6 cm along -z."
    assert told({f"tcp.{name}.mm": 1000 * values for name, values in pose.items()}) == "The arm moves 12 cm along +x and 6 cm along -z."


def test_a_way_out_and_back_is_told_as_both():
    pose = {f"ee_pos_{axis} [m]": still() for axis in "xy"} | {"ee_pos_z [m]": ramp((0, 0.3), (2, 0.05), (4, 0.2))}
    assert told(pose) == "The arm moves 25 cm along -z, then 15 cm along +z."
    assert told(pose, window=(0.0, 2.0)) == "The arm moves 25 cm along -z."


def test_a_turn_of_the_tool_is_measured_by_its_quaternion():
    half = np.radians(ramp((0, 0), (4, 45)))
    pose = {f"eef_pos_{axis} [m]": still() for axis in "xyz"} | {"eef_quat_qx": 0 * half, "eef_quat_qy": 0 * half, "eef_quat_qz": np.sin(half)}
    assert told(pose | {"eef_quat_qw": np.cos(half)}) == "The arm turns its tool by 90 degrees."
    assert told(pose | {"eef_quat_qw": -np.cos(half), "eef_quat_qz": -np.sin(half)}) == "The arm turns its tool by 90 degrees."
    assert told(pose | {"eef_quat_qw": 3 * np.cos(half)}) == "The robot stays still.", "numbers that are no unit quaternion are no turn"


def test_joints_give_amounts_and_no_direction():
    joints = {"left_waist": ramp((0, 0), (4, 0.5)), "left_elbow": ramp((0, 0), (2, -0.3), (4, 0)), "right_waist": still(), "right_elbow": still()}
    assert told(joints) == "The left arm moves its waist by 0.5 and elbow by 0.3. The right arm stays still."
    assert told(joints, words=Words("rad")) == "The left arm moves its waist by 29 degrees and elbow by 17 degrees. The right arm stays still."
    by_degrees = {f"{name}.deg": np.degrees(values) for name, values in joints.items()}
    assert told(by_degrees) == "The left arm moves its waist by 29 degrees and elbow by 17 degrees. The right arm stays still."
    lift = {"shoulder_lift": ramp((0, 0), (4, 1)), "lift": ramp((0, 0), (4, 0.5))}
    assert told(lift, words=Words("rad")) == "The arm moves its shoulder lift by 57 degrees and lift by 0.5.", "what slides is no angle"
    small = {"joint_1": ramp((0, 0), (4, 1.0)), "joint_2": ramp((0, 0), (4, 0.39)), "joint_3": still() + 0.001 * np.sin(np.arange(41))}
    assert told(small) == "The arm moves joint 1 by 1.", "what moves far less than the rest is left out"


def test_a_still_clip_is_said_to_be_still():
    noise = 0.002 * np.sin(np.arange(81))
    state = {"joint_1 [rad]": ramp((0, 0), (4, 0), (8, 1), rows=81) + noise, "joint_2 [rad]": noise, "gripper.pos": ramp((0, 5), (4.5, 5), (5, 90), rows=81)}
    assert told(state, window=(0.0, 3.0)) == "The robot stays still; its gripper stays closed."
    assert told(state, window=(4.0, 8.0)) == "The arm moves joint 1 by 57 degrees; its gripper opens at 0.8 s."


def test_the_gripper_closes_and_opens_in_the_clip_s_time():
    arm, grip = ramp((0, 0), (4, 1)), ramp((0, 1), (1, 1), (1.2, 0.4), (3, 0.4), (3.2, 1))
    for name, closed, words in (
        ("gripper_opening", None, "closes at 1.1 s and opens at 3.1 s"),
        ("gripper_closed", None, "opens at 1.1 s and closes at 3.1 s"),
        ("gripper", "low", "closes at 1.1 s and opens at 3.1 s"),
        ("gripper", "high", "opens at 1.1 s and closes at 3.1 s"),
        ("gripper", None, "switches at 1.1 s and at 3.1 s"),
    ):
        assert told({"joint_1": arm, name: grip}, closed=closed) == f"The arm moves joint 1 by 1; its gripper {words}."
    assert told({"joint_1": arm, "gripper": grip}, closed="low", window=(1.0, 2.0)) == "The arm moves joint 1 by 0.25; its gripper closes at 0.1 s."
    assert told({"joint_1": arm, "gripper": grip}, closed="low", window=(2.0, 3.0)) == "The arm moves joint 1 by 0.25; its gripper stays closed."


def test_a_gripper_that_only_actions_tell_is_told_as_a_command():
    arm, grip = ramp((0, 0), (4, 1)), ramp((0, 0), (1.9, 0), (2, 1))
    assert told({"joint_1": arm}, {"joint_1_vel": arm, "gripper": grip}, closed="high") == "The arm moves joint 1 by 1; its gripper is told to close at 1.9 s."
    assert told({"joint_1": arm}, {"gripper": grip}) == "The arm moves joint 1 by 1; its gripper command switches at 1.9 s."
    assert told({"joint_1": arm}, {"gripper": grip}, closed="low", window=(0.0, 1.0)) == "The arm moves joint 1 by 0.25; its gripper is told to stay closed."


def test_noise_creep_and_unused_grippers_switch_nothing():
    rng = np.random.default_rng(0)
    times = np.arange(400) / 50
    noisy = trace(times, (np.where(times < 4, 0.8, 0.1) + rng.normal(0, 0.05, 400))[:, None])
    assert [high for _, high in noisy.within(0.0, 8.0).switches] == [False]
    assert trace(times, np.full((400, 1), np.nan)) is None
    state = {"left_joint_1": ramp((0, 0), (4, 1)), "left_gripper_opening": ramp((0, 1), (2, 0)), "right_joint_1": still()}
    state["right_gripper_opening"] = 0.02 + 0.01 * np.sin(np.arange(41))
    assert told(state) == "The left arm moves joint 1 by 1; its gripper closes at 1.0 s. The right arm stays still."


def test_two_fingers_of_opposite_sign_count_by_their_distance():
    finger = ramp((0, 0.04), (2, 0.01))
    state = {"robot0_eef_pos_x [m]": still(), "robot0_eef_pos_z [m]": ramp((0, 0), (4, 0.2))}
    state |= {"robot0_gripper_qpos_0 [m]": finger, "robot0_gripper_qpos_1 [m]": -finger}
    assert told(state) == "The arm moves 20 cm along +z; its gripper closes at 1.0 s."


def test_numbers_without_names_say_whether_anything_moves_and_no_more():
    moving = {f"{place}": ramp((0, 0), (4, place)) for place in range(3)}
    assert told(moving) == "The robot moves." and told({"a": still(), "b": still()}) == "The robot stays still."
    nameless = replace(episode(moving), state_names=())
    seen = observe(nameless, [(0.0, 4.0)], None)
    assert describe(seen[0], scale_of(seen), Words()) == "The robot moves."


def test_what_is_no_position_is_no_joint():
    state = {"joint_1": still(), "joint_1_vel": ramp((0, 0), (4, 9)), "joint_1_effort": ramp((0, 0), (4, 9)), "eef_vel_x": ramp((0, 0), (4, 9))}
    assert told(state) == "The robot stays still."


def test_stillness_is_claimed_of_nothing_that_is_not_known():
    grip = ramp((0, 1), (2, 0))
    assert told({"gripper_opening": grip}) == "The arm's gripper closes at 1.0 s."
    assert told({"joint_1": still(), "strange": ramp((0, 0), (4, 1))}) == "The arm stays still."
    assert told({"x": np.full(41, np.nan), "y": still(), "gripper_opening": grip}) == "The arm's gripper closes at 1.0 s."


def test_a_waist_belongs_to_its_arm_or_between_two():
    waist = ramp((0, 0), (4, 1))
    assert told({"waist": waist, "elbow": still()}) == "The arm moves its waist by 1."
    assert (
        told({"left_elbow": still(), "right_elbow": still(), "waist_yaw_joint": waist})
        == "The left arm stays still. The right arm stays still. The torso moves."
    )
    assert told({"left_elbow": waist, "right_elbow": still(), "neck_0": still()}) == "The left arm moves its elbow by 1. The right arm stays still."
    assert told({"robot0_joint_pos_0": waist, "robot1_joint_pos_0": still()}) == "The first arm moves joint 0 by 1. The second arm stays still."


def test_rows_that_are_no_numbers_say_nothing():
    broken = ramp((0, 0), (4, 1))
    broken[7] = np.nan
    assert told({"joint_1": broken, "joint_2": ramp((0, 0), (4, 0.5))}) == "The arm moves joint 2 by 0.5."
    none = observe(replace(episode({"a": still()}), state=np.zeros((41, 0), np.float32), state_names=()), [(0.0, 1.0)], None)
    assert none == [None] and observe(episode({"a": still()}), [(90.0, 91.0)], None) == [None]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=2, max_size=12))
def test_no_unit_and_no_direction_is_ever_made_up(rows):
    values = np.array(rows)
    for names in (("joint_1", "joint_2", "gripper"), ("x", "y", "z"), ("left_arm_0", "left_hand_0", "neck")):
        text = told(dict(zip(names, values.T, strict=True)))
        assert text.startswith("The ") and text.endswith(".")
        assert not any(word in text.split() for word in ("degrees", "cm", "m", "forward", "up", "closes", "opens"))


@pytest.mark.parametrize(
    "name, limb, label",
    [
        ("kLeftShoulderPitch", "left", "shoulder pitch"),
        ("left_forearm_roll.pos", "left", "forearm roll"),
        ("vx300s_left/wrist_angle", "left", "wrist angle"),
        ("panda_joint3", "", "panda joint 3"),
        ("shoulder_pan_joint", "", "shoulder pan"),
        ("motor_3", "", "motor 3"),
        ("right_arm_2", "right", "joint 2"),
        ("j4 [rad]", "", "joint 4"),
        ("robot2_joint_pos_3", "third", "joint 3"),
    ],
)
def test_names_are_read_as_people_read_them(name, limb, label):
    others = ("robot0_joint_pos_0",) if name.startswith("robot") else ()
    *_, found = robot_parts((*others, name), (), 1 + len(others)).limbs
    assert (found.name, [joint.label for joint in found.joints]) == (limb, [label])


def test_aloha_files_give_degrees_and_a_gripper(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5", frames=40, cameras=("cam_high",), task="hand it over")
    with h5py.File(path, "a") as file:
        qpos = np.zeros((40, 14))
        qpos[:, 0], qpos[:, 9], qpos[:, 13] = ramp((0, 0), (3.9, 0.5), rows=40), ramp((0, 0), (3.9, 1.0), rows=40), ramp((0, 1), (2, 0), rows=40)
        file["observations/qpos"][...] = qpos
    found = next(iter(open_log(tmp_path).episodes()))
    assert found.state_names[:2] == ("left_waist [rad]", "left_shoulder [rad]") and found.state_names[13] == "right_gripper_opening"
    expected = "The left arm moves its waist by 29 degrees. The right arm moves its elbow by 57 degrees; its gripper closes at 0.2 s."
    (seen,) = observe(found, [(0.0, 3.9)], None)
    assert describe(seen, scale_of([seen]), NOTHING) == expected


def test_robomimic_files_give_metres_and_up(tmp_path):
    path = write_robomimic(tmp_path / "lift.hdf5", episodes=1)
    with h5py.File(path, "a") as file:
        obs = file["data/demo_0/obs"]
        position = np.zeros((30, 3))
        position[:, 2] = ramp((0, 0.8), (2.9, 0.95), rows=30)
        finger = ramp((0, 0.04), (1.2, 0.02), rows=30)
        obs["robot0_eef_pos"][...], obs["robot0_gripper_qpos"][...] = position, np.stack([finger, -finger], axis=1)
    reader = open_log(path)
    found = next(iter(reader.episodes()))
    drop = Drop("lift", str(path), "robomimic-hdf5", "1", None, None, "", {}, False, False)
    clip = {"index": found.index, "episode_id": found.id, "frame_times_s": [number / 20 for number in range(30)]}
    assert telemetry_captions(reader, drop, [clip], TelemetrySettings()) == ["The arm moves 15 cm up; its gripper closes at 0.3 s."]


def test_lerobot_names_in_all_their_shapes(tmp_path):
    root = write_lerobot(tmp_path / "log", episodes=1)
    info = root / "meta/info.json"
    text = info.read_text()
    for names in ('["x", "y", "grip"]', '[["x", "y", "grip"]]', '{"motors": ["x", "y", "grip"]}', '{"grip": 2, "x": 0, "y": 1}'):
        info.write_text(text.replace('["x", "y", "grip"]', names).replace('[\n    "x",\n    "y",\n    "grip"\n   ]', names))
        assert next(iter(open_log(root).episodes())).state_names == ("x", "y", "grip"), names
    for names in ('["x", "y"]', "null", '{"a": 1}', "[1, 2, 3]", '"xyz"'):
        info.write_text(text.replace('[\n    "x",\n    "y",\n    "grip"\n   ]', names))
        found = next(iter(open_log(root).episodes()))
        assert found.state_names == () and found.state.shape[1] == 3, names


@pytest.mark.parametrize(
    "parts, names",
    [
        ('{"left_arm": {"start": 0, "end": 2}, "left_hand": {"start": 2, "end": 3}}', ("left_arm_0", "left_arm_1", "left_hand_0")),
        ('{"left_hand": {"start": 2, "end": 3}, "left_arm": {"start": 0, "end": 2}}', ("left_arm_0", "left_arm_1", "left_hand_0")),
        ('{"arm": {"start": 0, "end": 2}}', ("motor_0", "motor_1", "motor_2")),
        ('{"arm": {"start": -1000000000000, "end": 3}}', ("motor_0", "motor_1", "motor_2")),
        ('{"arm": {"start": 0, "end": 1e999}}', ("motor_0", "motor_1", "motor_2")),
        ('{"arm": {"start": 0, "end": 2}, "hand": {"start": 1, "end": 3}}', ("motor_0", "motor_1", "motor_2")),
        ("[]", ("motor_0", "motor_1", "motor_2")),
    ],
)
def test_limbs_of_a_modality_file(tmp_path, parts, names):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/modality.json").write_text(f'{{"state": {parts}}}')
    features = {"observation.state": {"names": ["motor_0", "motor_1", "motor_2"]}}
    assert lerobot_names(tmp_path, features, "state", ["observation.state"], 3) == names


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
@pytest.mark.parametrize(
    "log, begins, number",
    [
        ("cr5-banana", "The arm moves joint ", "; its gripper command switches at "),
        ("cr5-mcap-derived", "The arm moves joint ", " degrees"),
        ("g1-yellow-bottle", "The left arm stays still. The right arm moves its ", " and moves its fingers."),
        ("groot-dreams-PickNPlace", "The left arm ", "The right arm moves joint "),
        ("robonet-hdf5", "The arm moves 0.", " along -z"),
    ],
)
def test_real_logs(log, begins, number):
    reader = open_log(REAL / log)
    drop = Drop("real", str(REAL / log), reader.format, "1", None, None, "", {}, False, False)
    clips = []
    for found in reader.episodes():
        windows = [(start, min(start + 4.0, found.duration_s)) for start in np.arange(0.0, max(0.5, found.duration_s - 4.0), 4.0)]
        clips += [{"index": found.index, "episode_id": found.id, "frame_times_s": list(window)} for window in windows]
    texts = telemetry_captions(reader, drop, clips, TelemetrySettings())
    assert texts == telemetry_captions(open_log(REAL / log), drop, clips, TelemetrySettings()), "equal logs, equal texts"
    assert all(texts) and any(text.startswith(begins) and number in text for text in texts), texts[:5]
