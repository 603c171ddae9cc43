"""What a simulated robot is to the rest of the room: arms, tool, cameras and where its table stands.

World frame of every robot: metres, the table top is z = 0, x to the right and y away as the first camera sees them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cosmos_ops.simulate.recording import RobotSpec

if TYPE_CHECKING:
    import mujoco


@dataclass(frozen=True)
class Arm:
    """One arm of the model; joints, fingers and tool are named as the model names them."""

    name: str
    """`left` or `right`, empty for an only arm. Prefix of its telemetry columns and the word in the task text."""
    joints: tuple[str, ...]
    labels: tuple[str, ...]
    """The joints' names in telemetry."""
    fingers: tuple[str, ...]
    closed: tuple[float, ...]
    opened: tuple[float, ...]
    """Finger joint positions (m) of the shut and of the open gripper."""
    tool: str
    """Site between the fingertips: x is the approach direction, y the closing direction."""
    home: tuple[float, ...]
    """Joint positions (rad) that inverse kinematics starts from and that spare joints are drawn to."""
    base_m: tuple[float, float]
    """x, y of its shoulder: the tool points away from it."""
    rest_m: tuple[float, float, float]
    """Where the tool waits."""


@dataclass(frozen=True)
class View:
    """A camera: fixed in the room where `body` is None, else carried by that body and given in its frame."""

    name: str
    eye_m: tuple[float, float, float]
    look_at_m: tuple[float, float, float]
    fovy_deg: float
    """Vertical field of view."""
    body: str | None = None
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def axes(self, eye: np.ndarray, look_at: np.ndarray) -> np.ndarray:
        """[6] x and y axis, as MuJoCo wants them, of this camera moved to `eye` and aimed at `look_at`."""
        away = look_at - eye
        away /= np.linalg.norm(away)
        right = np.cross(away, self.up)
        right /= np.linalg.norm(right)
        return np.concatenate([right, np.cross(right, away)])


@dataclass(frozen=True)
class Embodiment:
    """A robot model and everything that is particular to it."""

    name: str
    fps: int
    """Rate of telemetry and cameras."""
    arms: tuple[Arm, ...]
    views: tuple[View, ...]
    """The first gives words like "left" their meaning; the first two are the usual pair."""
    build: Callable[[], "mujoco.MjSpec"]
    """A fresh model of the robot alone: no table, light or camera; position actuators named after their joints."""
    table_m: tuple[float, float, float, float]
    """x from, x to, y from, y to of the table top."""
    places_m: tuple[float, float, float, float]
    """x from, x to, y from, y to of where things may lie."""
    thing_m: tuple[float, float]
    """Narrowest and widest thing that suits the gripper."""
    fingertip_m: float
    """How far the fingertips reach beyond the tool's middle."""
    pitch_rad: float
    """How steeply the tool points down when it picks; pi/2 is straight down."""
    kinds: dict[str, int]
    """Kind of task -> how often, relative."""

    @property
    def spec(self) -> RobotSpec:
        prefixes = [f"{arm.name}_" if arm.name else "" for arm in self.arms]
        names = [f"{prefix}{label}" for arm, prefix in zip(self.arms, prefixes, strict=True) for label in (*arm.labels, "gripper")]
        return RobotSpec(self.name, tuple(f"{name}.pos" for name in names), tuple(f"{name}.command" for name in names))

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(view.name for view in self.views)
