"""Franka: a Panda arm on a table, from the kitchen robot in the `gymnasium_robotics` package."""

import numpy as np

from cosmos_ops.simulate.arms.embodiment import Arm, Embodiment, View
from cosmos_ops.simulate.arms.meshes import lighten
from cosmos_ops.simulate.rendering import package_folder

_JOINTS = tuple(f"joint{number}" for number in range(1, 8))
_STIFFNESS = (3000.0, 3000.0, 2500.0, 2500.0, 800.0, 800.0, 800.0)
"""N m / rad. With the packaged gains the arm trails its targets by more than 0.1 s."""
_MOST_TORQUE_NM = 400.0
"""The real arm's 87 N m would be eaten up by the model's joint damping of 100 N m s / rad."""
_TOOL_M = 0.245
_BASE_Y_M = 0.52


def _build():
    import mujoco

    folder = package_folder("gymnasium_robotics") / "envs/assets/kitchen_franka/franka_assets"
    spec = mujoco.MjSpec.from_string(
        f'<mujoco><include file="{folder}/assets.xml"/><include file="{folder}/actuator.xml"/>'
        f'<compiler meshdir="{folder}/meshes"/><worldbody><include file="{folder}/chain.xml"/></worldbody></mujoco>'
    )
    lighten(spec, folder / "meshes", 0.007)
    base = spec.body("panda0_link0")
    base.pos, base.quat = (0.0, _BASE_Y_M, 0.0), (np.cos(np.pi / 4), 0, 0, -np.sin(np.pi / 4))
    tool = spec.body("panda0_link7").add_site(name="tool", pos=(0, 0, _TOOL_M))
    # The hand sits on the flange turned by -45 degrees; of its two closing directions this one keeps the last joint away from its limits.
    tool.alt.type, tool.alt.xyaxes = mujoco.mjtOrientation.mjORIENTATION_XYAXES, (0, 0, 1, -np.sqrt(0.5), -np.sqrt(0.5), 0)
    for actuator in spec.actuators:
        actuator.name = actuator.target
        if "finger" in actuator.name:
            actuator.set_to_position(kp=2000.0, dampratio=1.0)
            actuator.forcerange = (-40, 40)
            spec.joint(actuator.target).armature = 1.0
        else:
            actuator.set_to_position(kp=_STIFFNESS[int(actuator.name[-1]) - 1], dampratio=1.0)
            actuator.forcerange = (-_MOST_TORQUE_NM, _MOST_TORQUE_NM)
    return spec


FRANKA = Embodiment(
    name="franka",
    fps=10,
    arms=(
        Arm(
            name="",
            joints=tuple(f"robot:panda0_{joint}" for joint in _JOINTS),
            labels=_JOINTS,
            fingers=("robot:panda0_finger_joint1", "robot:panda0_finger_joint2"),
            closed=(0.0, 0.0),
            opened=(0.04, 0.04),
            tool="tool",
            home=(0.0, -0.1, 0.0, -2.2, 0.0, 0.5, 0.0),
            base_m=(0.0, _BASE_Y_M),
            rest_m=(0.0, 0.06, 0.16),
        ),
    ),
    views=(
        View("exterior_1", (0.0, -0.64, 0.42), (0.0, 0.03, 0.08), 38.0),
        View("exterior_2", (0.66, -0.3, 0.4), (0.0, 0.04, 0.08), 38.0),
        View("wrist", (0.07, -0.07, 0.06), (0.0, 0.0, 0.26), 60.0, "panda0_link7", up=(-1.0, 1.0, 0.0)),
    ),
    build=_build,
    table_m=(-0.5, 0.5, -0.34, 0.72),
    places_m=(-0.2, 0.2, -0.14, 0.14),
    thing_m=(0.048, 0.058),
    fingertip_m=0.015,
    pitch_rad=np.deg2rad(88),
    kinds={"place": 4, "push": 3, "stack": 2, "beside": 2},
)
