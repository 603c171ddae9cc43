"""ALOHA and ACT recordings: one HDF5 file an episode, `episode_0.hdf5`, ..., alone or in a folder.

    /observations/qpos, qvel      [T, 14] joints of both arms
    /observations/images/<camera> uint8 [T, H, W, 3], or one JPEG a row, padded with zeros
    /action                       [T, 14]
    attributes sim, compress      and, where a recorder writes them, fps, robot, task, success; some keep the task text in /language_raw

The rate is not in the file; ALOHA's control loop runs at 50 a second. Raw pictures are RGB. A JPEG is shown as any viewer shows it, which is right
where it was encoded from BGR, as OpenCV expects; recorders that gave it RGB need `swap_red_blue` in the mapping.
"""

from typing import TYPE_CHECKING, ClassVar

from cosmos_ops.logs.base import register_reader
from cosmos_ops.logs.hdf5.entries import EpisodeFacts
from cosmos_ops.logs.hdf5.files import attribute, children, find_dataset, find_group, rate_attribute, scalar, text_attribute
from cosmos_ops.logs.hdf5.reader import HDF5Reader
from cosmos_ops.logs.names import with_unit

if TYPE_CHECKING:
    import h5py

_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper_opening")
_OWN = ("aloha", "viperx", "vx300", "widowx", "wx250")
"""Robots whose joints have these names; others record in the same layout."""
_STATE, _ACTION, _IMAGES = "observations/qpos", "action", "observations/images"


@register_reader
class AlohaReader(HDF5Reader):
    """See `hdf5.reader.HDF5Reader`."""

    format: ClassVar[str] = "aloha-hdf5"
    layout: ClassVar[str] = "/action and /observations/qpos, images/<camera>"
    default_fps: ClassVar[float] = 50.0

    @classmethod
    def holds(cls, file: "h5py.File") -> bool:
        below = children(find_group(file, "observations"))
        return _ACTION in children(file) and ("qpos" in below or "images" in below)

    def facts(self, group: "h5py.Group") -> EpisodeFacts:
        spoken = scalar(find_dataset(group, "language_raw"))
        task = spoken.strip() if isinstance(spoken, str) and spoken.strip() else text_attribute(group, "language_instruction", "task")
        success = attribute(group, "success")
        outcome = ("success" if success else "failure") if success in (0, 1) else None
        return EpisodeFacts(text_attribute(group, "robot", "robot_type"), task, rate_attribute(group, "fps"), outcome)

    def series(self, group: "h5py.Group") -> tuple[tuple[str, ...], tuple[str, ...]]:
        return tuple(name for name in (_STATE,) if find_dataset(group, name) is not None), (_ACTION,)

    def column_names(self, group: "h5py.Group", dataset: str, width: int) -> tuple[str, ...]:
        """ALOHA's own order: left arm, right arm, each six joints (rad) and the gripper, 0 closed and 1 open."""
        if width != 2 * len(_JOINTS):
            return super().column_names(group, dataset, width)
        robot = text_attribute(group, "robot", "robot_type")
        own = robot is None or any(name in robot.lower() for name in _OWN)
        joints = _JOINTS if own else (*(f"joint_{place}" for place in range(6)), _JOINTS[-1])
        return tuple(with_unit(f"{side}_{joint}", None if joint == _JOINTS[-1] else "rad") for side in ("left", "right") for joint in joints)

    def cameras(self, group: "h5py.Group") -> dict[str, str]:
        return {f"{_IMAGES}/{name}": name for name in children(find_group(group, _IMAGES))}
