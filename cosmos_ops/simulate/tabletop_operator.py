"""A scripted person at the controls: reaches, grasps or pushes with tremor, pauses, uneven speed and now and then a fumbled grasp."""

from dataclasses import dataclass

import numpy as np

from cosmos_ops.simulate.hands import Tremor, minimum_jerk
from cosmos_ops.simulate.tabletop_scene import GRIPPER_MAX_OPENING_M, TRAY_FLOOR_M, Scene, in_tray, solve_joints, tool_position

HOVER_M = 0.115
_STEPS_PER_FRAME = 5
_MAX_JOINT_SPEED = np.array([4.0, 5.0, 6.0, 0.8])
_LAG_S = 0.04
_GRIPPER_SPEED = 4.5
_GRASP_REACH_M = 0.024
_TOOL_RADIUS_M = 0.016
_FUMBLE_SHARE = 0.2
_SWAY = np.array([0.003, 0.003, 0.0012, 0.02])
"""Size of the slowest part of the tremor: m, then rad."""


@dataclass(frozen=True, eq=False)
class Motion:
    """What moved in one episode, one row a frame."""

    joints: np.ndarray
    """[T, 4] rad and m."""
    gripper: np.ndarray
    """[T] opening, 0 closed to 1 open."""
    action: np.ndarray
    """[T, 5] commanded joint velocities (rad/s, m/s) and gripper opening, held from this frame to the next."""
    things: np.ndarray
    """[T, N, 4] x, y, z (m), yaw (rad)."""
    succeeded: bool


@dataclass(frozen=True)
class _Waypoint:
    seconds: float
    pose: tuple[float, float, float, float]
    gripper: float


def operate(scene: Scene, rng: np.random.Generator, frames: int, fps: float) -> Motion:
    """Do the scene's task in exactly `frames` frames."""
    times, poses, grips = _timeline(_script(scene, rng), rng, frames / fps)
    tremor = Tremor(rng, _SWAY, shake=(0.6, 0.4))
    world = _World(scene, _pose_at(times, poses, 0.0))
    rows = []
    for frame in range(frames):
        soon_s = (frame + 1) / fps
        target = _pose_at(times, poses, soon_s) + tremor.at(soon_s)
        target[2] = max(target[2], 0.012)
        command = np.clip((solve_joints(target, scene.elbow) - world.joints) * fps, -_MAX_JOINT_SPEED, _MAX_JOINT_SPEED)
        grip = float(grips[min(np.searchsorted(times, frame / fps, side="right"), len(grips) - 1)])
        rows.append((world.joints.copy(), world.gripper, np.append(command, grip), world.poses.copy()))
        for _ in range(_STEPS_PER_FRAME):
            world.step(command, grip, 1.0 / fps / _STEPS_PER_FRAME)
    joints, gripper, action, things = zip(*rows, strict=True)
    missed = np.linalg.norm(things[-1][0, :2] - scene.goal_m)
    return Motion(np.stack(joints), np.array(gripper), np.stack(action), np.stack(things), bool(missed < 0.05))


class _World:
    """Kinematic arm with first-order lag; a closed gripper carries what it holds and pushes what it touches."""

    def __init__(self, scene: Scene, start: np.ndarray):
        self._scene = scene
        self.joints = solve_joints(start, scene.elbow)
        self.gripper = 1.0 if scene.kind == "place" else 0.0
        self.poses = scene.poses.copy()
        self._velocity = np.zeros(4)
        self._held = False
        self._grip_yaw = 0.0

    def step(self, command: np.ndarray, grip: float, seconds: float) -> None:
        self._velocity += (command - self._velocity) * (1 - np.exp(-seconds / _LAG_S))
        self.joints = self.joints + self._velocity * seconds
        tool, height, yaw = tool_position(self.joints)[1], self.joints[3], self.joints[:3].sum()
        thing = self._scene.things[0]
        pose = self.poses[0]
        shut = 2 * thing.radius_m / GRIPPER_MAX_OPENING_M
        near = np.linalg.norm(tool - pose[:2]) < _GRASP_REACH_M and height < thing.height_m
        floor = shut if self._held or (near and self._scene.kind == "place") else 0.0
        self.gripper += np.clip(max(grip, floor) - self.gripper, -_GRIPPER_SPEED * seconds, _GRIPPER_SPEED * seconds)
        if self._held and grip > 0.5:
            self._held = False
        elif not self._held and grip < 0.5 and near and abs(self.gripper - shut) < 0.05:
            self._held, self._grip_yaw = True, pose[3] - yaw
        if self._held:
            pose[:2] += (tool - pose[:2]) * 0.5
            pose[2], pose[3] = max(height - 0.014, 0.0), self._grip_yaw + yaw
            return
        rest = TRAY_FLOOR_M if in_tray(pose[:2], self._scene.tray_m) else 0.0
        pose[2] = max(rest, pose[2] - 0.9 * seconds)
        if self._scene.kind == "push" and height < thing.height_m:
            self._push(tool, thing.radius_m, pose)

    def _push(self, tool: np.ndarray, radius_m: float, pose: np.ndarray) -> None:
        offset = pose[:2] - tool
        distance = max(float(np.linalg.norm(offset)), 1e-6)
        depth = radius_m + _TOOL_RADIUS_M - distance
        if depth > 0:
            heading = np.array(self._scene.goal_m) - self._scene.poses[0, :2]
            heading /= np.linalg.norm(heading)
            # The closed fingers are a flat face: what they touch goes mostly their way, a little to the side it is touched on.
            normal = 0.25 * offset / distance + 0.75 * heading * np.sign(offset @ heading)
            moved = normal / np.linalg.norm(normal) * depth
            turn = offset[0] * heading[1] - offset[1] * heading[0]
            pose[:2] += moved
            pose[3] += 200.0 * turn * depth


def _script(scene: Scene, rng: np.random.Generator) -> list[_Waypoint]:
    start, goal = scene.poses[0, :2], np.array(scene.goal_m)
    home = np.array([rng.uniform(-0.1, 0.1), rng.uniform(0.14, 0.22)])
    rest = home * 0.4 + goal * 0.6 + rng.uniform(-0.03, 0.03, 2)
    yaw = float(scene.poses[0, 3])
    if scene.kind == "push":
        return _push_script(scene, home, rest, rng)
    low = 0.016
    points = [_Waypoint(rng.uniform(0.2, 0.4), (*home, HOVER_M, 0.0), 1.0), _Waypoint(0.9, (*start, HOVER_M, yaw), 1.0)]
    if rng.random() < _FUMBLE_SHARE:
        # The fingers close too early, just above the thing, and have to open again.
        off, above = start + rng.uniform(-0.02, 0.02, 2), scene.things[0].height_m + 0.012
        points += [_Waypoint(0.4, (*off, above, yaw), 1.0), _Waypoint(0.3, (*off, above, yaw), 0.3), _Waypoint(0.35, (*start, above + 0.015, yaw), 1.0)]
    return points + [
        _Waypoint(0.5, (*start, low, yaw), 1.0),
        _Waypoint(0.4, (*start, low, yaw), 0.0),
        _Waypoint(0.45, (*start, HOVER_M, yaw), 0.0),
        _Waypoint(1.0, (*goal, HOVER_M, 0.0), 0.0),
        _Waypoint(0.4, (*goal, low + 0.014, 0.0), 0.0),
        _Waypoint(0.3, (*goal, low + 0.014, 0.0), 1.0),
        _Waypoint(0.4, (*goal, HOVER_M, 0.0), 1.0),
        _Waypoint(0.5, (*rest, HOVER_M, 0.0), 1.0),
    ]


def _push_script(scene: Scene, home: np.ndarray, rest: np.ndarray, rng: np.random.Generator) -> list[_Waypoint]:
    start, goal = scene.poses[0, :2], np.array(scene.goal_m)
    ahead = (goal - start) / np.linalg.norm(goal - start)
    behind = start - ahead * (scene.things[0].radius_m + 0.05)
    # The tool stops a thing's and its own radius short of the goal.
    stop = goal - ahead * (scene.things[0].radius_m + _TOOL_RADIUS_M)
    low, yaw = 0.016, 0.0
    points = [
        _Waypoint(rng.uniform(0.2, 0.4), (*home, HOVER_M, 0.0), 0.0),
        _Waypoint(1.0, (*behind, HOVER_M, yaw), 0.0),
        _Waypoint(0.45, (*behind, low, yaw), 0.0),
    ]
    if rng.random() < _FUMBLE_SHARE:
        part = start + (stop - start) * rng.uniform(0.3, 0.5)
        points += [_Waypoint(0.6, (*part, low, yaw), 0.0), _Waypoint(0.3, (*(part - ahead * 0.03), low, yaw), 0.0)]
    return points + [
        _Waypoint(1.2, (*stop, low, yaw), 0.0),
        _Waypoint(0.3, (*(stop - ahead * 0.03), low + 0.01, yaw), 0.0),
        _Waypoint(0.4, (*(stop - ahead * 0.04), HOVER_M, yaw), 0.0),
        _Waypoint(0.6, (*rest, HOVER_M, 0.0), 0.0),
    ]


def _timeline(points: list[_Waypoint], rng: np.random.Generator, total_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Uneven speed and pauses, then scaled to the episode's length: end times [K], poses [K, 4], grips [K]."""
    timed: list[_Waypoint] = []
    for point in points:
        timed.append(_Waypoint(point.seconds * float(rng.lognormal(0.0, 0.15)), point.pose, point.gripper))
        if rng.random() < 0.2:
            timed.append(_Waypoint(float(rng.uniform(0.15, 0.35)), point.pose, point.gripper))
    # The last quarter second is stillness, so that the end of the task is seen.
    ends = np.cumsum([point.seconds for point in timed])
    ends *= (total_s - 0.25) / ends[-1]
    return ends, np.array([point.pose for point in timed]), np.array([point.gripper for point in timed])


def _pose_at(times: np.ndarray, poses: np.ndarray, time_s: float) -> np.ndarray:
    """Minimum-jerk interpolation between waypoints."""
    after = int(np.searchsorted(times, time_s, side="right"))
    if after == 0:
        return poses[0].copy()
    if after >= len(times):
        return poses[-1].copy()
    u = (time_s - times[after - 1]) / (times[after] - times[after - 1])
    return poses[after - 1] + (poses[after] - poses[after - 1]) * minimum_jerk(u)
