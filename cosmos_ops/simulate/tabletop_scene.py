"""A table, an arm with two links, a lift and a gripper, a tray and a few coloured things: geometry, kinematics, random scenes.

World frame: metres, x right and y away as the front camera sees them, z up, the table top is z = 0.
"""

from dataclasses import dataclass

import numpy as np

JOINTS = ("shoulder", "elbow", "wrist", "lift")
"""Three revolute joints (rad) and one prismatic (m above the table)."""
STATE_NAMES = (*(f"{joint}.pos" for joint in JOINTS), "gripper.pos")
ACTION_NAMES = (*(f"{joint}.vel" for joint in JOINTS), "gripper.command")

ARM_BASE_M = (0.0, 0.53)
LINKS_M = (0.27, 0.25)
GRIPPER_MAX_OPENING_M = 0.095
TABLE_M = ((-0.56, -0.16), (0.56, 0.66))
TRAY_HALF_M = (0.085, 0.07)
TRAY_FLOOR_M = 0.006

COLOURS = {
    "red": (214, 48, 44),
    "blue": (38, 92, 214),
    "green": (40, 158, 72),
    "yellow": (240, 196, 36),
    "purple": (142, 62, 178),
}
"""Name in the task text -> RGB, 0-255."""
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "front": (0.0, -1.0)}
_PLACES_M = ((-0.27, 0.05), (0.27, 0.32))
_CLEARANCE_M = 0.115


@dataclass(frozen=True)
class Thing:
    """Something that can be moved."""

    shape: str
    """`block` (a cube) or `disc` (a flat cylinder)."""
    colour: str
    """A name in `COLOURS`."""
    radius_m: float
    """Half the side of a block, the radius of a disc."""
    height_m: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Light:
    """One lamp and what it does to colours."""

    direction: tuple[float, float, float]
    """Unit vector from the table towards the lamp."""
    gain: tuple[float, float, float]
    """RGB gain of everything lit."""
    ambient: float
    """Share of light that has no direction, 0-1."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything drawn at random before an episode starts; things[0] is the one the task is about."""

    kind: str
    """`push` or `place`."""
    task: str
    things: tuple[Thing, ...]
    poses: np.ndarray
    """[N, 4] x, y, z (m) of the underside's centre and yaw (rad) at the start."""
    tray_m: tuple[float, float]
    goal_m: tuple[float, float]
    """Where things[0] should end."""
    elbow: int
    """+1 or -1: to which side the elbow bends."""
    light: Light


def sample_scene(rng: np.random.Generator) -> Scene:
    """A scene whose task can be done: everything within reach, nothing in the way."""
    kind = "push" if rng.random() < 0.5 else "place"
    names = rng.permutation(list(COLOURS))[: int(rng.integers(2, 4))]
    things = tuple(_sample_thing(rng, str(name)) for name in names)
    while True:
        side = float(rng.choice((-1.0, 1.0)))
        tray = (side * rng.uniform(0.19, 0.25), rng.uniform(0.08, 0.17))
        poses = np.array([(*rng.uniform(*_PLACES_M), 0.0, rng.uniform(-0.5, 0.5)) for _ in things])
        if kind == "push":
            word = str(rng.choice(list(DIRECTIONS)))
            task = f"push the {things[0].name} to the {word}"
            goal = poses[0, :2] + np.array(DIRECTIONS[word]) * rng.uniform(0.13, 0.18)
        else:
            task = f"pick up the {things[0].name} and place it in the tray"
            goal = np.array(tray) + rng.uniform(-0.015, 0.015, 2)
        if _feasible(kind, poses, np.array(tray), goal):
            elbow = -1 if poses[0, 0] + goal[0] > 0 else 1
            return Scene(kind, task, things, poses, tray, (float(goal[0]), float(goal[1])), elbow, _sample_light(rng))


def tool_position(joints: np.ndarray, base: tuple[float, float] = ARM_BASE_M) -> np.ndarray:
    """Elbow and tool in the table's plane for joints [4]: [2, 2] metres."""
    first, second = joints[0], joints[0] + joints[1]
    elbow = np.array([base[0] + LINKS_M[0] * np.cos(first), base[1] + LINKS_M[0] * np.sin(first)])
    return np.stack([elbow, elbow + LINKS_M[1] * np.array([np.cos(second), np.sin(second)])])


def solve_joints(target: np.ndarray, elbow: int) -> np.ndarray:
    """Joints [4] that put the tool at target (x, y, z m, yaw rad); law of cosines, clipped to what is within reach."""
    dx, dy = target[0] - ARM_BASE_M[0], target[1] - ARM_BASE_M[1]
    cosine = (dx * dx + dy * dy - LINKS_M[0] ** 2 - LINKS_M[1] ** 2) / (2 * LINKS_M[0] * LINKS_M[1])
    bend = elbow * np.arccos(np.clip(cosine, -0.999, 0.999))
    shoulder = np.arctan2(dy, dx) - np.arctan2(LINKS_M[1] * np.sin(bend), LINKS_M[0] + LINKS_M[1] * np.cos(bend))
    # The table lies on the -y side of the base, so angles stay inside (-2 pi, 0) and never wrap.
    shoulder = shoulder - 2 * np.pi if shoulder > np.pi / 2 else shoulder
    return np.array([shoulder, bend, target[3] - shoulder - bend - np.pi / 2, target[2]])


def in_tray(xy: np.ndarray, tray_m: tuple[float, float]) -> bool:
    """True when a point lies over the tray's floor."""
    return bool(np.all(np.abs(np.asarray(xy) - tray_m) < TRAY_HALF_M))


def _sample_thing(rng: np.random.Generator, colour: str) -> Thing:
    if rng.random() < 0.55:
        half = float(rng.uniform(0.032, 0.037))
        return Thing("block", colour, half, 2 * half)
    return Thing("disc", colour, float(rng.uniform(0.037, 0.042)), 0.036)


def _sample_light(rng: np.random.Generator) -> Light:
    azimuth, elevation = rng.uniform(0.15, 0.85) * np.pi, rng.uniform(0.8, 1.1)
    direction = (np.cos(azimuth) * np.cos(elevation), -0.75 * np.sin(azimuth) * np.cos(elevation), np.sin(elevation))
    warmth, level = rng.uniform(-0.07, 0.07), rng.uniform(0.88, 1.06)
    return Light(tuple(np.array(direction) / np.linalg.norm(direction)), (level * (1 + warmth), level, level * (1 - warmth)), float(rng.uniform(0.5, 0.6)))


def _feasible(kind: str, poses: np.ndarray, tray: np.ndarray, goal: np.ndarray) -> bool:
    low, high = np.array(_PLACES_M)
    if np.any(goal < low - 0.02) or np.any(goal > high):
        return False
    spots = np.concatenate([poses[:, :2], tray[None]])
    gaps = np.linalg.norm(spots[:, None] - spots[None], axis=-1)[np.triu_indices(len(spots), 1)]
    if gaps.min() < _CLEARANCE_M or np.linalg.norm(poses[:, :2] - tray, axis=1).min() < 0.17:
        return False
    start = poses[0, :2]
    # The tool starts a push behind the thing, so the swept line begins there.
    behind = start - (goal - start) / np.linalg.norm(goal - start) * 0.09 if kind == "push" else start
    if np.linalg.norm(goal - start) < 0.12 or np.any(behind < low - 0.09) or np.any(behind > high + 0.03):
        return False
    others = spots[1:] if kind == "push" else spots[1:-1]
    along = np.clip(((others - behind) @ (goal - behind)) / np.sum((goal - behind) ** 2), 0, 1)[:, None]
    reach = np.linalg.norm(np.stack([behind, goal]) - ARM_BASE_M, axis=1)
    margin = _CLEARANCE_M if kind == "push" else 0.07
    return bool(np.linalg.norm(others - (behind + along * (goal - behind)), axis=1).min() > margin and reach.max() < sum(LINKS_M) - 0.005)
