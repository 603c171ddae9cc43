"""Fetch: a mobile manipulator that stands at a table, from the model in the `gymnasium_robotics` package."""

import numpy as np

from cosmos_ops.simulate.arms.embodiment import Arm, Embodiment, View
from cosmos_ops.simulate.arms.meshes import lighten
from cosmos_ops.simulate.rendering import package_folder

_JOINTS = ("shoulder_pan", "shoulder_lift", "upperarm_roll", "elbow_flex", "forearm_roll", "wrist_flex", "wrist_roll")
_STIFFNESS = (2500.0, 2500.0, 1500.0, 1500.0, 1200.0, 1000.0, 1000.0)
"""N m / rad. The packaged model has no arm actuators: its gripper hangs on a motion-capture body."""
_GROUND_M = -0.42
_BASE_Y_M = 0.64
_TORSO_LIFT_M = 0.12
_HEAD_TILT_RAD = 0.75
_FIXED_JOINTS = ("slide0", "slide1", "slide2", "torso_lift_joint", "head_pan_joint", "head_tilt_joint")


def _build():
    import mujoco

    assets = package_folder("gymnasium_robotics") / "envs/assets"
    spec = mujoco.MjSpec.from_file(str(assets / "fetch/pick_and_place.xml"))
    lighten(spec, assets / "stls/fetch")
    for equality in spec.equalities:
        spec.delete(equality)
    for name in ("robot0:mocap", "object0", "table0", "floor0"):
        spec.delete(spec.body(name))
    spec.delete(spec.geom("floor0"))
    for item in [*spec.lights, *spec.cameras, *(texture for texture in spec.textures)]:
        spec.delete(item)
    # The base stands still, the torso is up and the head looks at the table: what does not move needs no joint.
    for name in _FIXED_JOINTS:
        spec.delete(spec.joint(f"robot0:{name}"))
    base, torso, head = (spec.body(f"robot0:{name}") for name in ("base_link", "torso_lift_link", "head_tilt_link"))
    base.pos, base.quat = (0.0, _BASE_Y_M, _GROUND_M), (np.cos(np.pi / 4), 0, 0, -np.sin(np.pi / 4))
    torso.pos = torso.pos + np.array([0, 0, _TORSO_LIFT_M])
    head.quat = (np.cos(_HEAD_TILT_RAD / 2), 0, np.sin(_HEAD_TILT_RAD / 2), 0)
    spec.body("robot0:gripper_link").add_site(name="tool", pos=(0.02, 0, 0))
    for name, stiffness in zip(_JOINTS, _STIFFNESS, strict=True):
        actuator = spec.add_actuator(name=f"robot0:{name}_joint", target=f"robot0:{name}_joint", trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_position(kp=stiffness, dampratio=1.0)
    for side in ("l", "r"):
        joint = spec.joint(f"robot0:{side}_gripper_finger_joint")
        joint.armature = 1.0
        actuator = spec.actuator(f"robot0:{side}_gripper_finger_joint")
        actuator.forcelimited, actuator.forcerange = mujoco.mjtLimited.mjLIMITED_TRUE, (-150, 150)
    return spec


FETCH = Embodiment(
    name="fetch",
    fps=10,
    arms=(
        Arm(
            name="",
            joints=tuple(f"robot0:{joint}_joint" for joint in _JOINTS),
            labels=_JOINTS,
            fingers=("robot0:l_gripper_finger_joint", "robot0:r_gripper_finger_joint"),
            closed=(0.0, 0.0),
            opened=(0.05, 0.05),
            tool="tool",
            home=(0.0, -0.3, 0.0, 1.3, 0.0, 0.55, 0.0),
            base_m=(0.0, _BASE_Y_M - 0.03),
            rest_m=(0.0, 0.05, 0.17),
        ),
    ),
    views=(
        View("external_camera", (0.0, -0.64, 0.42), (0.0, 0.02, 0.09), 39.0),
        View("side_camera", (0.6, -0.32, 0.4), (0.0, 0.02, 0.08), 37.0),
        View("gripper_camera", (-0.06, 0.0, 0.1), (0.1, 0.0, 0.0), 60.0, "robot0:gripper_link"),
    ),
    build=_build,
    table_m=(-0.45, 0.45, -0.32, 0.26),
    places_m=(-0.19, 0.19, -0.14, 0.14),
    thing_m=(0.05, 0.06),
    fingertip_m=0.0185,
    pitch_rad=np.deg2rad(88),
    kinds={"place": 4, "push": 3, "stack": 2, "beside": 2},
)
