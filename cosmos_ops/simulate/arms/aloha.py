"""ALOHA: two ViperX 300 arms facing each other over a table, from the model in the `gym_aloha` package."""

import numpy as np

from cosmos_ops.simulate.arms.embodiment import Arm, Embodiment, View
from cosmos_ops.simulate.arms.meshes import lighten
from cosmos_ops.simulate.rendering import package_folder

_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
_STIFFNESS = {"waist": 700.0, "shoulder": 900.0, "elbow": 700.0, "forearm_roll": 200.0, "wrist_angle": 200.0, "wrist_rotate": 100.0}
"""N m / rad. The packaged gains go with 50 N m of dry friction, in which the arms stop several degrees short of their targets."""
_ANODISED = (0.2, 0.2, 0.22, 1.0)
_BASE_X_M = 0.469
_FINGERTIPS_M = 0.138
_MODEL_Y_M = 0.5
"""The model's bases stand at this y."""


def _build():
    import mujoco

    assets = package_folder("gym_aloha") / "assets"
    spec = mujoco.MjSpec.from_file(str(assets / "bimanual_viperx_transfer_cube.xml"))
    lighten(spec, assets)
    for name in ("box", "table", "midair"):
        spec.delete(spec.body(name))
    for item in [*spec.lights, *spec.cameras, *spec.keys]:
        spec.delete(item)
    for side in ("left", "right"):
        prefix = f"vx300s_{side}/"
        base = spec.body(f"vx300s_{side}")
        for geom in base.find_all("geom"):
            geom.rgba = _ANODISED
        base.pos = (base.pos[0], base.pos[1] - _MODEL_Y_M, 0.0)
        spec.body(f"{prefix}gripper_link").add_site(name=f"{side}_tool", pos=(_FINGERTIPS_M, 0, 0))
        for joint in _JOINTS:
            made = spec.joint(prefix + joint)
            made.frictionloss, made.armature = 0.3, 0.2
        for finger, inward in (("left_finger", -1.0), ("right_finger", 1.0)):
            made = spec.joint(prefix + finger)
            made.frictionloss, made.armature = 0.5, 0.5
            for geom in spec.body(f"{prefix}{finger}_link").geoms:
                geom.contype = geom.conaffinity = 0
            # The convex hull of the bent finger has no flat face to hold with; a pad on its inner side has.
            spec.body(f"{prefix}{finger}_link").add_geom(
                name=f"{side}_{finger}_pad",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=(0.0655, inward * 0.0184, 0),
                size=(0.0195, 0.004, 0.009),
                group=4,
                condim=4,
                friction=(1.5, 0.02, 0.0005),
                priority=1,
                mass=0.01,
            )
    for actuator in spec.actuators:
        joint = actuator.target.split("/")[1]
        actuator.name = actuator.target
        if joint in _STIFFNESS:
            actuator.set_to_position(kp=_STIFFNESS[joint], dampratio=1.0)
            actuator.forcerange = (-80, 80)
        else:
            actuator.set_to_position(kp=1500.0, dampratio=1.0)
            actuator.forcelimited, actuator.forcerange = mujoco.mjtLimited.mjLIMITED_TRUE, (-18, 18)
    return spec


def _arm(side: str) -> Arm:
    prefix, sign = f"vx300s_{side}/", -1.0 if side == "left" else 1.0
    return Arm(
        name=side,
        joints=tuple(prefix + joint for joint in _JOINTS),
        labels=_JOINTS,
        fingers=(f"{prefix}left_finger", f"{prefix}right_finger"),
        closed=(0.021, -0.021),
        opened=(0.057, -0.057),
        tool=f"{side}_tool",
        home=(0.0, -0.7, 0.7, 0.0, 1.0, 0.0),
        base_m=(sign * _BASE_X_M, 0.0),
        rest_m=(sign * 0.2, 0.0, 0.16),
    )


ALOHA = Embodiment(
    name="aloha",
    fps=10,
    arms=(_arm("left"), _arm("right")),
    views=(
        View("cam_high", (0.0, -0.55, 0.62), (0.0, 0.04, 0.05), 35.0),
        View("cam_low", (0.0, -0.62, 0.22), (0.0, 0.0, 0.08), 36.0),
        View("cam_left_wrist", (-0.06, 0.0, 0.11), (0.17, 0.0, 0.0), 60.0, "vx300s_left/gripper_link"),
        View("cam_right_wrist", (-0.06, 0.0, 0.11), (0.17, 0.0, 0.0), 60.0, "vx300s_right/gripper_link"),
    ),
    build=_build,
    table_m=(-0.61, 0.61, -0.36, 0.42),
    places_m=(-0.2, 0.2, -0.12, 0.16),
    thing_m=(0.048, 0.056),
    fingertip_m=0.0155,
    pitch_rad=np.deg2rad(68),
    kinds={"place": 4, "push": 2, "stack": 2, "beside": 1, "hand": 3},
)
