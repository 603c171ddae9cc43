"""The scripted operator: one routine a kind of task, which looks at the world between stretches of motion and repeats what went wrong."""

from collections.abc import Iterator

import numpy as np

from cosmos_ops.simulate.arms.embodiment import Embodiment
from cosmos_ops.simulate.arms.hand import Hand, Segment
from cosmos_ops.simulate.arms.tasks import Task
from cosmos_ops.simulate.arms.world import World

HOVER_M = 0.11
_TRIES = 3
_LIFTED_M = 0.015
_OPEN = 0.95
_MEET_M = 0.17
_MEET_PITCH_RAD = np.deg2rad(42)
_GIVE_M, _TAKE_M = 0.026, 0.034
"""How far from its middle a bar is held by the giving and by the receiving arm."""


class Operator:
    """Does one task by looking at `world`; `poses` and `grips` are where the tools are wanted before the first segment."""

    def __init__(self, robot: Embodiment, task: Task, hand: Hand, world: World):
        self._robot, self._task, self._hand, self._world = robot, task, hand, world
        self.poses = [self._rest(arm) for arm in range(len(robot.arms))]
        self.grips = [0.0 if task.kind == "push" else 0.8] * len(robot.arms)

    def segments(self) -> Iterator[Segment]:
        """Stretches of motion until the task is done or given up. Each is decided when the one before is over."""
        poses = list(self.poses)
        work = {"push": self._push, "hand": self._hand_over}.get(self._task.kind, self._pick_and_place)
        yield Segment(self._hand.seconds(0.25), {}, {})
        for arm, pose, usual_s, grip in work():
            if pose is None:
                yield Segment(self._hand.seconds(usual_s), {}, {arm: grip})
                continue
            yield from self._hand.reach(arm, poses[arm], pose, usual_s, grip)
            poses[arm] = pose

    def _pick_and_place(self) -> Iterator[tuple]:
        (arm,), task = self._task.arms, self._task
        goal, roll = np.array(task.goal_m), 0.0
        below = 0.6 * task.container.rim_m if task.container is not None else 0.0
        for _ in range(_TRIES):
            yield from self._pick(arm)
            if task.kind == "stack":
                goal, roll, below = self._world.thing(1)[:2], self._align(arm, 1), 2 * task.things[1].half_m[2]
            at = goal + (self._hand.off(0.08, 0.1) if self._hand.slip == "goal" else self._hand.off(0.0, 0.004 if task.kind == "stack" else 0.012))
            over = self._down(arm, at, HOVER_M + below, roll)
            yield arm, over, 0.9, None
            if self._hand.slip == "grasp" or self._world.thing(0)[2] > task.things[0].half_m[2] + _LIFTED_M:
                break
        height = below + max(task.things[0].half_m[2], self._lowest()) + 0.006
        yield arm, self._down(arm, at, height, roll), 0.5, None
        yield arm, None, 0.3, 0.85
        yield arm, over, 0.35, None
        yield arm, self._rest(arm), 0.6, None

    def _pick(self, arm: int, along_m: float = 0.0) -> Iterator[tuple]:
        """Grasp and lift things[0], `along_m` along its length from the middle; a grasp that comes up empty is repeated."""
        thing, miss = self._task.things[0], self._hand.misses() or self._hand.slip == "grasp"
        for attempt in range(_TRIES):
            start, roll = self._world.thing(0), self._align(arm, 0)
            at = (start + along_m * self._world.axis(0))[:2] + (self._hand.off(0.02, 0.03) if miss else self._hand.off(0.0, 0.003))
            # A miss closes just above the thing rather than into it.
            height = 2 * thing.half_m[2] + self._lowest() if miss else max(float(start[2]), self._lowest())
            yield arm, self._down(arm, at, HOVER_M, roll), 0.85 if attempt == 0 else 0.3, _OPEN
            yield arm, self._down(arm, at, height, roll), 0.45, None
            yield arm, None, 0.35, 0.0
            yield arm, self._down(arm, at, 0.8 * HOVER_M if miss else HOVER_M, roll), 0.4, None
            if self._hand.slip == "grasp" or self._world.thing(0)[2] > start[2] + _LIFTED_M:
                return
            miss = False

    def _push(self) -> Iterator[tuple]:
        (arm,), thing = self._task.arms, self._task.things[0]
        goal = np.array(self._task.goal_m)
        low, short = max(self._lowest(), 0.6 * thing.half_m[2]), thing.half_m[0] + 0.016
        for attempt in range(_TRIES):
            way = goal - self._world.thing(0)[:2]
            if attempt > 0 and np.linalg.norm(way) < 0.035:
                break
            ahead = way / np.linalg.norm(way)
            aside = np.array([-ahead[1], ahead[0]]) * (0.035 if self._hand.slip else 0.0) + self._hand.off(0.0, 0.004)
            behind, stop = goal - way - ahead * (short + 0.03) + aside, goal - ahead * short + aside
            yield arm, self._down(arm, behind, 0.09, 0.0), 0.9 if attempt == 0 else 0.5, 0.0
            yield arm, self._down(arm, behind, low, 0.0), 0.4, None
            yield arm, self._down(arm, stop, low, 0.0), 1.2, None
            yield arm, self._down(arm, stop - 0.02 * ahead, 0.09, 0.0), 0.4, None
            if self._hand.slip:
                break
        yield arm, self._rest(arm), 0.6, None

    def _hand_over(self) -> Iterator[tuple]:
        giver, receiver = self._task.arms
        to_giver = np.sign(self._robot.arms[giver].base_m[0] * self._world.axis(0)[0])  # which end of the bar is the giver's
        yield from self._pick(giver, to_giver * _GIVE_M)
        meet = np.array(self._task.goal_m)
        offer = self._tilted(giver, np.array([*meet, _MEET_M]))
        beside = np.array([np.cos(offer[3]), np.sin(offer[3]), 0.0])
        wait = self._tilted(receiver, offer[:3] + 0.12 * beside + np.array([0, 0, 0.07]))
        yield giver, offer, 0.85, None
        yield receiver, wait, 0.6, _OPEN
        end = self._world.thing(0) - to_giver * _TAKE_M * self._world.axis(0)
        if self._hand.slip == "goal":
            end[:2] += self._hand.off(0.03, 0.04)
        take = self._tilted(receiver, end)
        yield receiver, take, 0.5, None
        yield receiver, None, 0.35, 0.0
        yield giver, None, 0.3, 0.9
        away = offer.copy()
        away[:3] += -0.1 * beside + np.array([0, 0, 0.06])
        yield giver, away, 0.45, None

    def _lowest(self) -> float:
        """Height of the tool at which the fingertips just clear the table."""
        return self._robot.fingertip_m + 0.004

    def _down(self, arm: int, at: np.ndarray, height_m: float, roll: float) -> np.ndarray:
        return np.array([at[0], at[1], height_m, self._bearing(arm, at), self._robot.pitch_rad, roll])

    def _tilted(self, arm: int, at: np.ndarray) -> np.ndarray:
        return np.array([*at, self._bearing(arm, at), _MEET_PITCH_RAD, 0.0])

    def _rest(self, arm: int) -> np.ndarray:
        at = np.array(self._robot.arms[arm].rest_m)
        return self._down(arm, at, at[2], 0.0)

    def _bearing(self, arm: int, at: np.ndarray) -> float:
        """Direction from the arm's base, 0 to 2 pi: no arm works across the line along +x behind it."""
        x, y = self._robot.arms[arm].base_m
        turn = float(np.arctan2(at[1] - y, at[0] - x))
        return turn if self._robot.arms[arm].base_m[0] < 0 else turn % (2 * np.pi)

    def _align(self, arm: int, index: int) -> float:
        """Roll that puts the fingers on the sides of a thing, the least of those that do."""
        period = self._task.things[index].yaw_period_rad
        if period == 0.0:
            return 0.0
        turn = self._bearing(arm, self._world.thing(index)) - self._world.yaw(index)
        return float((turn + period / 2) % period - period / 2)
