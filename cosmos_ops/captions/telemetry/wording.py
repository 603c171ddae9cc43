"""From an observation to sentences. A number gets a unit where the log, its format or the profile tells one, a direction a word where they tell which."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosmos_ops.captions.telemetry.grasp import Grasp
from cosmos_ops.captions.telemetry.observe import Observation, Scale
from cosmos_ops.captions.telemetry.parts import Gripper, Limb

STILL_RAD, STILL_M = math.radians(2.0), 0.005
"""Less than this is no move: servos and encoders jitter."""
STILL_SHARE, STILL_HAND_SHARE = 0.05, 0.15
"""Nor is less than this share of the farthest that anything of its kind moves in the drop; fingers follow their arm's jolts."""
_TURN_RAD = math.radians(5.0)
_WORTH = 0.4
"""A joint or direction is told when it moves at least this share of the one that moves most."""
_BACK = 0.3
"""A way back is told when it is at least this share of the way out."""
_MOST_JOINTS = 3
_GRIPPER_SHARE = 0.2
"""A gripper that reaches less than this share of the widest range in the drop was not used."""
_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_OPPOSITE = {"forward": "back", "back": "forward", "left": "right", "right": "left", "up": "down", "down": "up"}


@dataclass(frozen=True)
class Words:
    """What the log does not tell, told by the profile or the log's format."""

    joint_unit: str | None = None
    length_unit: str | None = None
    axes: tuple[str, ...] = ()
    """What +x, +y and +z are: `forward`, `left`, `up`, ...; `x` or nothing keeps the axis' name."""


def describe(seen: Observation, scale: Scale, words: Words) -> str:
    """The sentences of one clip; empty where the telemetry says nothing."""
    robot = seen.robot
    told = [_limb(seen, place, scale, words) for place in range(len(robot.limbs))]
    others = [(part, _moved(seen, columns, scale.reach[list(columns)].max(initial=0.0))) for part, columns in robot.others]
    known = [move for move, _ in told if move is not None] + [part if moved else "" for part, moved in others]
    if not known and not any(grip for _, grip in told):
        return f"The robot {'moves' if _anything_moves(seen, robot.unread, scale) else 'stays still'}." if robot.unread else ""
    # What has a name is still; the whole robot is only where nothing else moves.
    still = bool(known) and not any(known) and not _anything_moves(seen, robot.unread, scale) and all(move is not None for move, _ in told)
    grips = [grip for _, grip in told if grip]
    if still and (len(told) < 2 or not grips):
        return _sentence("The robot", "stays still", grips[0] if grips else "")
    sentences = [_sentence(_subject(limb), move, grip) for limb, (move, grip) in zip(robot.limbs, told, strict=True)]
    sentences += [f"The {part} moves." for part, moved in others if moved]
    return " ".join(filter(None, sentences))


def _subject(limb: Limb) -> str:
    return f"The {limb.name} arm" if limb.name else "The arm"


def _sentence(subject: str, move: str | None, grip: str) -> str:
    if move is None:
        return f"{subject}'s {grip}." if grip else ""
    return f"{subject} {move or 'stays still'}; its {grip}." if grip else f"{subject} {move or 'stays still'}."


def _limb(seen: Observation, place: int, scale: Scale, words: Words) -> tuple[str | None, str]:
    """(what the arm does, empty where it is still and None where nothing tells; what its gripper does, empty where nothing tells)."""
    limb = seen.robot.limbs[place]
    move = _reach(seen, place, scale, words) if limb.position else _turns(seen, limb, scale, words)
    if limb.hand and _moved(seen, limb.hand, scale.reach[_columns_of(seen, "hand")].max(initial=0.0), STILL_HAND_SHARE):
        move = f"{move} and moves its fingers" if move else "moves its fingers"
    return move, _grip(limb.gripper, seen.grasps[place], scale)


def _reach(seen: Observation, place: int, scale: Scale, words: Words) -> str | None:
    """The tool's way: out to where it is farthest from its start, and from there on."""
    limb = seen.robot.limbs[place]
    unit = limb.length_unit or words.length_unit
    columns = list(limb.position)
    far, last = seen.farthest[place][columns] - seen.first[columns], seen.last[columns] - seen.farthest[place][columns]
    if not (np.isfinite(far).all() and np.isfinite(last).all()):
        return None
    least = max(STILL_SHARE * scale.reach[_columns_of(seen, "position")].max(initial=0.0), STILL_M / _METRES[unit] if unit else 0.0)
    parts = []
    if np.linalg.norm(far) > least:
        parts.append(_way(far, limb, unit, words))
        if np.linalg.norm(last) > max(least, _BACK * float(np.linalg.norm(far))):
            parts.append(f"then {_way(last, limb, unit, words)}")
    turn = _turn(seen, limb)
    move = f"moves {', '.join(parts)}" if parts else ""
    if turn > _TURN_RAD:
        move += f"{' and ' if move else ''}turns its tool by {_degrees(turn)}"
    return move


def _way(way: np.ndarray, limb: Limb, unit: str | None, words: Words) -> str:
    """`12 cm forward and 5 cm down`, the longest first."""
    order = sorted(range(len(way)), key=lambda axis: -abs(way[axis]))
    told = [axis for axis in order if abs(way[axis]) >= _WORTH * abs(way[order[0]])]
    return _joined([f"{_length(abs(float(way[axis])), unit)} {_direction(limb.axes[axis], way[axis] > 0, words.axes)}" for axis in told])


def _direction(axis: int, positive: bool, axes: Sequence[str]) -> str:
    word = axes[axis] if axis < len(axes) else ""
    if word in _OPPOSITE:
        return word if positive else _OPPOSITE[word]
    return f"along {'+' if positive else '-'}{'xyz'[axis]}"


def _turn(seen: Observation, limb: Limb) -> float:
    """Angle (rad) between the tool's orientations at both ends of the clip: 2 arccos |q1 . q2| of unit quaternions; 0 without."""
    if not limb.quaternion:
        return 0.0
    ends = [row[list(limb.quaternion)] for row in (seen.first, seen.last)]
    lengths = [float(np.linalg.norm(end)) for end in ends]
    if not all(abs(length - 1.0) < 0.05 for length in lengths):
        return 0.0
    return 2.0 * math.acos(min(1.0, abs(float(ends[0] @ ends[1])) / (lengths[0] * lengths[1])))


def _turns(seen: Observation, limb: Limb, scale: Scale, words: Words) -> str | None:
    """The joints that move most, by how far each goes in the clip; no word on directions, which joints alone do not tell."""
    widest = scale.reach[_columns_of(seen, "joints")].max(initial=0.0)
    reach = {joint: float(seen.reach[joint.column]) for joint in limb.joints if np.isfinite(seen.reach[joint.column])}
    if not reach:
        return "" if limb.hand else None
    units = {joint: joint.unit or (None if joint.slides else words.joint_unit) for joint in reach}
    turning = {joint: how for joint, how in reach.items() if how > max(STILL_SHARE * widest, _least(units[joint]))}
    if not turning:
        return ""
    most = max(turning.values())
    told = sorted((joint for joint in turning if turning[joint] >= _WORTH * most), key=lambda joint: (-turning[joint], joint.column))[:_MOST_JOINTS]
    moves = _joined([f"{joint.label} by {_amount(turning[joint], units[joint])}" for joint in told])
    return f"moves {'' if told[0].label.startswith('joint') else 'its '}{moves}"


def _least(unit: str | None) -> float:
    return {"rad": STILL_RAD, "deg": math.degrees(STILL_RAD)}.get(unit or "", STILL_M / _METRES[unit] if unit in _METRES else 0.0)


def _grip(gripper: Gripper | None, grasp: Grasp | None, scale: Scale) -> str:
    if gripper is None or grasp is None or grasp.range <= _GRIPPER_SHARE * scale.grasp or grasp.range <= 1e-3 * max(grasp.largest, 1e-3):
        return ""
    what = "gripper is told to" if gripper.commanded else "gripper"
    if gripper.closed is None:
        times = [f"at {time_s:.1f} s" for time_s, _ in grasp.switches]
        return f"gripper{' command' if gripper.commanded else ''} switches {_joined(times)}" if times else ""
    closes_high = gripper.closed == "high"
    if not grasp.switches:
        state = "closed" if grasp.starts_high == closes_high else "open"
        return f"{what} stay {state}" if gripper.commanded else f"gripper stays {state}"
    ending = "" if gripper.commanded else "s"
    return f"{what} " + _joined([f"{'close' if high == closes_high else 'open'}{ending} at {time_s:.1f} s" for time_s, high in grasp.switches])


def _moved(seen: Observation, columns: Sequence[int], widest: float, share: float = STILL_SHARE) -> bool:
    reach = seen.reach[list(columns)]
    return bool((reach[np.isfinite(reach)] > max(share * widest, 1e-9)).any())


def _anything_moves(seen: Observation, columns: Sequence[int], scale: Scale) -> bool:
    """Of numbers without a meaning: whether any goes a notable share of its own range in the drop."""
    reach, widest = seen.reach[list(columns)], scale.reach[list(columns)]
    known = np.isfinite(reach) & (widest > 1e-6)
    return bool((reach[known] > STILL_SHARE * widest[known]).any())


def _columns_of(seen: Observation, kind: str) -> list[int]:
    """Columns of all limbs' joints, positions or hands: what is small for one is judged by all."""
    found = {"joints": [], "position": [], "hand": []}
    for limb in seen.robot.limbs:
        found["joints"] += [joint.column for joint in limb.joints]
        found["position"] += limb.position
        found["hand"] += limb.hand
    return found[kind]


def _amount(value: float, unit: str | None) -> str:
    if unit in ("rad", "deg"):
        return _degrees(value if unit == "rad" else math.radians(value))
    return _length(value, unit)


def _degrees(angle_rad: float) -> str:
    return f"{round(math.degrees(angle_rad))} degrees"


def _length(value: float, unit: str | None) -> str:
    if unit in _METRES:
        metres = value * _METRES[unit]
        return f"{metres:.1f} m" if metres >= 0.995 else f"{max(1, round(100 * metres))} cm"
    return f"{value:.0f}" if value >= 10 else np.format_float_positional(value, precision=2, fractional=False, trim="-")


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
