"""What the operator is asked to do, and whether the world shows that it was done."""

from dataclasses import dataclass

import numpy as np

from cosmos_ops.simulate.arms.embodiment import Embodiment
from cosmos_ops.simulate.arms.props import COLOURS, Container, Thing, contrasting_container, sample_thing

DIRECTIONS = {"to the left": (-1.0, 0.0), "to the right": (1.0, 0.0), "to the back": (0.0, 1.0), "to the front": (0.0, -1.0)}
"""As the first camera sees them."""
PUSH_M = (0.11, 0.15)
_BESIDE_M = 0.095
_CLEARANCE_M = 0.105
_REACH_M = 0.56
"""How far from its shoulder one of two arms is asked to work."""


@dataclass(frozen=True)
class Task:
    """One request and what lies on the table for it."""

    kind: str
    """`place`, `beside`, `stack`, `push` or `hand` (from one arm to the other)."""
    text: str
    things: tuple[Thing, ...]
    """things[0] is to be moved; for `stack` and `beside` things[1] is what it goes to; the others are in the way."""
    container: Container | None
    arms: tuple[int, ...]
    """Who does it: one arm, or the giving and the receiving one."""
    goal_m: tuple[float, float]
    """Where things[0] should end; for `hand`, where it changes hands."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the world looks like when the recording ends."""

    positions: np.ndarray
    """[N, 3] centres of the things, m."""
    uprights: np.ndarray
    """[N] cosine of each thing's tilt."""
    tools: np.ndarray
    """[A, 3] points between the fingertips, m."""
    openings: np.ndarray
    """[A] opening of the grippers, 0 to 1."""


def sample_task(robot: Embodiment, rng: np.random.Generator, table_rgb: tuple[float, float, float]) -> Task:
    """A task with two to four things on the table, nothing touching and nothing in the way of the work."""
    kinds = list(robot.kinds)
    shares = np.array([robot.kinds[kind] for kind in kinds], float)
    kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    while True:  # a draw that does not fit on the table is drawn again
        task = _draw(robot, kind, rng, table_rgb)
        if task is not None:
            return task


def achieved(task: Task, end: Outcome) -> bool:
    """Whether things[0] ended where the task wants it, and let go of (but for a thing handed over, which must be held)."""
    thing, at = task.things[0], end.positions[0]
    apart = np.linalg.norm(end.tools - at, axis=1)
    if task.kind == "hand":
        giver, receiver = task.arms
        lifted = at[2] > thing.half_m[2] + 0.03
        return bool(lifted and apart[receiver] < thing.half_m[0] and end.openings[giver] > 0.6 and apart[giver] > 0.07)
    if not ((apart > 0.05) | (end.openings > 0.6)).all():
        return False
    if task.kind == "place":
        assert task.container is not None
        return task.container.holds(at[:2] - task.container.at_m) and bool(at[2] < thing.half_m[2] + 0.02)
    if task.kind == "stack":
        base = task.things[1]
        rise = at[2] - end.positions[1, 2] - thing.half_m[2] - base.half_m[2]
        off = np.linalg.norm(at[:2] - end.positions[1, :2])
        return bool(off < base.half_m[0] and abs(rise) < 0.006 and end.uprights[1] > 0.98)
    origin = np.array(thing.pose[:2] if task.kind == "push" else task.things[1].pose[:2])
    ahead = (np.array(task.goal_m) - origin) / np.linalg.norm(np.array(task.goal_m) - origin)
    away = at[:2] - origin
    far, aside = float(away @ ahead), abs(float(away[0] * ahead[1] - away[1] * ahead[0]))
    if task.kind == "beside":
        return 0.5 * _BESIDE_M < far < 1.5 * _BESIDE_M and aside < 0.4 * far and bool(at[2] < thing.half_m[2] + 0.01)
    return far > 0.7 * PUSH_M[0] and aside < 0.5 * far


def _draw(robot: Embodiment, kind: str, rng: np.random.Generator, table_rgb: tuple[float, float, float]) -> Task | None:
    colours = [str(colour) for colour in rng.permutation(list(COLOURS))]
    start, second = _spot(robot, rng), _spot(robot, rng)
    direction = str(rng.choice(list(DIRECTIONS)[: 2 if kind == "beside" else 4]))
    ahead = np.array(DIRECTIONS[direction])
    goal = {
        "place": second,
        "stack": second,
        "beside": second + _BESIDE_M * ahead,
        "push": start + ahead * float(rng.uniform(*PUSH_M)),
        "hand": np.array([rng.uniform(-0.02, 0.02), rng.uniform(0.0, 0.05)]),
    }[kind]
    arms = _arms(robot, kind, start, goal)
    if arms is None or not _on_table(robot, goal):
        return None
    shape = str(rng.choice({"place": ["block", "cylinder", "ball"], "hand": ["bar"]}.get(kind, ["block", "cylinder"])))
    yaw = float(rng.uniform(-0.6, 0.6)) * (0.4 if kind == "hand" else 1.0)
    things = [sample_thing(rng, shape, colours[0], (*map(float, start), yaw), robot.thing_m)]
    taken, container = [start], None
    if kind == "place":
        container = contrasting_container(rng, (float(goal[0]), float(goal[1])), table_rgb)
        rim = container.radius_m + 0.015
        taken += [goal + np.array(corner) * rim for corner in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        if np.abs(goal - start).max() < rim + 0.07:
            return None
    elif kind == "push":
        taken += [start + (goal - start) * 0.5, goal, start - ahead * 0.09]
    elif kind in ("stack", "beside"):
        taken += [second, goal]
        if min(np.linalg.norm(start - second), np.linalg.norm(start - goal)) < 0.12:
            return None
        other = "block" if kind == "stack" else str(rng.choice(["block", "cylinder"]))
        things.append(sample_thing(rng, other, colours[1], (*map(float, second), float(rng.uniform(-0.6, 0.6))), robot.thing_m))
    for colour in colours[2 : 2 + int(rng.integers(1, 3))]:
        at = _spot(robot, rng)
        if min(np.linalg.norm(at - spot) for spot in taken) < _CLEARANCE_M:
            return None
        taken.append(at)
        shape = str(rng.choice(["block", "cylinder", "ball"]))
        things.append(sample_thing(rng, shape, colour, (*map(float, at), float(rng.uniform(-0.8, 0.8))), robot.thing_m))
    text = _text(kind, things, container, direction, [robot.arms[arm].name for arm in arms])
    return Task(kind, text, tuple(things), container, arms, (float(goal[0]), float(goal[1])))


def _text(kind: str, things: list[Thing], container: Container | None, direction: str, arms: list[str]) -> str:
    name = things[0].name
    if container is not None:
        return f"pick up the {name} and place it {'on' if container.kind == 'plate' else 'in'} the {container.name}"
    return {
        "push": f"push the {name} {direction}",
        "stack": f"stack the {name} on the {things[1].name}",
        "beside": f"place the {name} {direction} of the {things[1].name}",
        "hand": f"hand the {name} from the {arms[0]} arm to the {arms[-1]} arm",
    }[kind]


def _spot(robot: Embodiment, rng: np.random.Generator) -> np.ndarray:
    x0, x1, y0, y1 = robot.places_m
    return rng.uniform((x0, y0), (x1, y1))


def _on_table(robot: Embodiment, at: np.ndarray) -> bool:
    x0, x1, y0, y1 = robot.places_m
    return bool(x0 - 0.02 <= at[0] <= x1 + 0.02 and y0 - 0.02 <= at[1] <= y1 + 0.02)


def _arms(robot: Embodiment, kind: str, start: np.ndarray, goal: np.ndarray) -> tuple[int, ...] | None:
    """The arm that reaches both ends best, for `hand` the near one and the other; None where it would be a stretch."""
    if len(robot.arms) == 1:
        return (0,)
    bases = np.array([arm.base_m for arm in robot.arms])
    near = int(np.argmin(np.linalg.norm(bases - start, axis=1)))
    if kind == "hand":
        return (near, 1 - near) if abs(start[0]) > 0.09 else None
    far = np.maximum(np.linalg.norm(bases - start, axis=1), np.linalg.norm(bases - goal, axis=1))
    best = int(np.argmin(far))
    return (best,) if far[best] < _REACH_M else None
