"""From the names of a log's numbers to the robot's parts: which columns are whose joints, position, orientation or gripper."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cosmos_ops.logs.names import split_unit

_NOT_POSITION = {"vel", "velocity", "velocities", "qvel", "speed", "effort", "efforts", "torque", "current", "force", "accel", "acc", "acceleration"}
_NOT_POSITION |= {"temperature", "voltage", "time", "timestamp", "cos", "sin", "delta"}
_GRIPPER = {"gripper", "grippers", "grip", "finger", "fingers", "jaw", "claw", "knuckle"}
_HAND = {"hand", "thumb", "index", "middle", "ring", "pinky", "little"}
_PLACES = {"leg": {"leg", "hip", "knee", "ankle", "foot"}, "head": {"head", "neck"}, "torso": {"torso", "trunk"}, "base": {"wheel", "odom", "mobile"}}
_JOINT = {"joint", "motor", "axis", "servo", "dof", "q", "j", "arm", "shoulder", "elbow", "wrist", "forearm", "upperarm", "waist", "base", "lift", "link"}
_JOINT |= {"pan", "flex", "roll", "pitch", "yaw", "rotate", "rotation", "angle", "twist", "swivel"}
_POSE = {
    "ee",
    "eef",
    "tcp",
    "tool",
    "pose",
    "pos",
    "position",
    "cartesian",
    "end",
    "effector",
    "endeffector",
    "flange",
    "arm",
    "xyz",
    "quat",
    "rot",
    "orientation",
}
_AXES = ("x", "y", "z")
_QUATERNION = ("qx", "qy", "qz", "qw")
_SIDES = ("left", "right")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
"""By a robot's number, one digit from 0."""
_SILENT = {"pos", "position", "qpos", "joint", "k", "observation", "state", "positions"}
"""Words that say nothing to a reader; `joint` stays where a number follows."""
_CLOSES_HIGH = {"close", "closed", "closedness", "closing", "knuckle"}
_OPENS_HIGH = {"open", "opened", "opening", "width", "aperture"}
_LINEAR = {"slide", "linear", "prismatic", "rail", "gantry", "column"}
_ALOHA = {"waist", "forearm"}


@dataclass(frozen=True)
class Joint:
    """One joint of an arm."""

    column: int
    label: str
    """For people: `waist`, `shoulder pitch`, `joint 2`."""
    unit: str | None
    slides: bool = False
    """By its name it moves along a line: an angle's unit is not its own."""


@dataclass(frozen=True)
class Gripper:
    """The numbers that tell how far a gripper is open."""

    columns: tuple[int, ...]
    commanded: bool
    """Told by actions alone, not measured."""
    closed: str | None
    """`low` or `high`: where it is closed; None where nothing tells."""


@dataclass(frozen=True)
class Limb:
    """An arm, or all there is where no name tells arms apart."""

    name: str
    """`left`, `right`, `first`, `second`, ...; empty for the only one."""
    joints: tuple[Joint, ...] = ()
    position: tuple[int, ...] = ()
    """Columns of x, y, z of the tool, those that are there."""
    axes: tuple[int, ...] = ()
    """Which axes `position` holds, 0 for x."""
    length_unit: str | None = None
    quaternion: tuple[int, ...] = ()
    """Columns of x, y, z, w."""
    gripper: Gripper | None = None
    hand: tuple[int, ...] = ()
    """Columns of a hand's fingers."""


@dataclass(frozen=True)
class Robot:
    """All that the names tell."""

    limbs: tuple[Limb, ...]
    others: tuple[tuple[str, tuple[int, ...]], ...]
    """(part, columns) of what is no arm: `head`, `torso`, `base`, `left leg`."""
    unread: tuple[int, ...]
    """Columns whose names tell no part; all of them where there are no names."""


def robot_parts(state_names: Sequence[str], action_names: Sequence[str], width: int, closed: str | None = None) -> Robot:
    """The parts that `width` numbers of state belong to. A gripper that the state lacks is taken from the actions; `closed` says where it is closed."""
    state, action = _columns(state_names), _columns(action_names)
    sided = any(column.side for column in state if column.kind in _LIMB_KINDS and column.kind != "gripper")
    if sided:
        # A robot with two sides has a waist between them; an arm of its own has one as its first joint.
        state = [replace(column, kind="torso" if "waist" in column.words else "other") if column.apart else column for column in state]
    numbered = len({column.number for column in state if column.number}) > 1
    groups: dict[str, list[_Column]] = {}
    for column in state:
        groups.setdefault(column.group(sided, numbered), []).append(column)
    commands: dict[str, list[_Column]] = {}
    for column in action:
        if column.kind == "gripper":
            commands.setdefault(column.group(sided, numbered), []).append(column)
    names = sorted({name for name, columns in groups.items() if any(column.kind in _LIMB_KINDS for column in columns)})
    limbs = tuple(_limb(name, groups[name], commands.get(name, []), closed) for name in names)
    parts = sorted({(column.kind, column.side) for column in state if column.kind in _PLACES})
    others = tuple((f"{side} {part}".strip(), tuple(column.place for column in state if (column.kind, column.side) == (part, side))) for part, side in parts)
    unread = tuple(column.place for column in state if column.kind == "other") if state else tuple(range(width))
    return Robot(limbs, others, unread)


_LIMB_KINDS = ("joint", "axis", "quaternion", "gripper", "hand")


@dataclass(frozen=True)
class _Column:
    place: int
    words: tuple[str, ...]
    unit: str | None
    side: str
    number: str
    kind: str

    @property
    def apart(self) -> bool:
        """A limb's number that names no side."""
        return not self.side and not self.number and self.kind in _LIMB_KINDS

    def group(self, sided: bool, numbered: bool) -> str:
        if numbered and self.number:
            return _ORDINALS[int(self.number)]
        return self.side if sided else ""


def _columns(names: Sequence[str]) -> list[_Column]:
    found = []
    for place, name in enumerate(names):
        plain, unit = split_unit(name)
        words = _words(plain)
        side = next((word for word in words if word in _SIDES), "")
        number = next((match[1] for word in words if (match := re.fullmatch(r"robot(\d)", word))), "")
        rest = tuple(word for word in words if word not in _SIDES and not re.fullmatch(r"robot\d?", word))
        found.append(_Column(place, rest, unit, side, number, _kind(rest)))
    return found


def _words(name: str) -> list[str]:
    """`kLeftShoulderPitch` -> left, shoulder, pitch; `panda_joint1` -> panda, joint, 1; `robot0_eef_pos_x` -> robot0, eef, pos, x."""
    name = re.sub(r"^k(?=[A-Z])", "", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    parts = re.findall(r"[A-Za-z][A-Za-z0-9]*|\d+", name)
    split = (re.fullmatch(r"(joint|motor|axis|finger|dof|servo|j|q)(\d+)", part.lower()) for part in parts)
    return [word for part, found in zip(parts, split, strict=True) for word in (found.groups() if found else (part.lower(),))]


def _kind(words: tuple[str, ...]) -> str:
    known = set(words)
    if known & _NOT_POSITION:
        return "rate"
    if known & _GRIPPER:
        return "gripper"
    last, context = (words[-1], known - {words[-1]}) if words else ("", set())
    if context <= _POSE and last in _AXES:
        return "axis"
    if context <= _POSE and last in _QUATERNION:
        return "quaternion"
    if context <= _POSE and last in ("roll", "pitch", "yaw", "rx", "ry", "rz"):
        return "turn"
    if known & _HAND:
        return "hand"
    if "base" in known and last in ("x", "y", "theta", "yaw"):
        return "base"
    place = next((place for place, own in _PLACES.items() if known & own), None)
    return place or ("joint" if known & _JOINT else "other")


def _limb(name: str, columns: list[_Column], commands: list[_Column], closed: str | None) -> Limb:
    axes = {column.words[-1]: column for column in columns if column.kind == "axis"}
    quaternion = {column.words[-1]: column for column in columns if column.kind == "quaternion"}
    held = [axis for axis in _AXES if axis in axes]
    joints = [column for column in columns if column.kind == "joint"]
    measured = [column for column in columns if column.kind == "gripper"]
    aloha = _ALOHA <= {word for column in joints for word in column.words}
    return Limb(
        name,
        joints=tuple(Joint(column.place, _label(column.words), column.unit, _slides(column.words)) for column in joints),
        position=tuple(axes[axis].place for axis in held) if len(held) > 1 else (),
        axes=tuple(_AXES.index(axis) for axis in held) if len(held) > 1 else (),
        length_unit=axes[held[0]].unit if held else None,
        quaternion=tuple(quaternion[part].place for part in _QUATERNION) if len(quaternion) == 4 else (),
        gripper=_gripper(measured or commands, not measured, closed, aloha),
        hand=tuple(column.place for column in columns if column.kind == "hand"),
    )


def _gripper(columns: list[_Column], commanded: bool, closed: str | None, aloha: bool) -> Gripper | None:
    """Where it is closed is told by the profile, by the name, by a length (the fingers' distance grows), or by a convention that the names show:
    LeRobot's `gripper.pos` (0 closed, 100 open) and ALOHA's gripper (0 closed, 1 open)."""
    if not columns:
        return None
    words = {word for column in columns for word in column.words}
    if closed is None and words & _CLOSES_HIGH:
        closed = "high"
    elif closed is None and (words & _OPENS_HIGH or any(column.unit in ("m", "cm", "mm") for column in columns)):
        closed = "low"
    elif closed is None and not commanded and (aloha or all(column.words[-2:] == ("gripper", "pos") for column in columns)):
        closed = "low"
    return Gripper(tuple(column.place for column in columns), commanded, closed)


def _slides(words: tuple[str, ...]) -> bool:
    return bool(_LINEAR & set(words)) or ("lift" in words and "shoulder" not in words)


def _label(words: tuple[str, ...]) -> str:
    words = tuple("joint" if word in ("j", "q", "dof") else word for word in words)
    numbered = any(word.isdecimal() for word in words)
    # A robot's model (`vx300s`, `ur5e`) is no part of a joint's name.
    plain = [word for word in words if word.isalpha() or word.isdecimal()]
    kept = [word for word in plain if word not in _SILENT or (numbered and word == "joint")]
    kept = kept[-3:] or list(words)
    if kept == [word for word in kept if word.isdecimal()]:
        kept = ["joint", *kept]
    if kept[0] == "arm" and len(kept) > 1:
        kept = ["joint", *kept[1:]] if kept[1].isdecimal() else kept[1:]
    return " ".join(kept)
