"""One simulated episode: the operator's tool poses become joint targets, physics does the rest, and the cameras film what happened."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cosmos_ops.simulate.arms.embodiment import Embodiment
from cosmos_ops.simulate.arms.hand import SLIPS, Hand, Segment
from cosmos_ops.simulate.arms.kinematics import Solver
from cosmos_ops.simulate.arms.operator import Operator
from cosmos_ops.simulate.arms.scene import compose, sample_surroundings
from cosmos_ops.simulate.arms.tasks import Task, achieved, sample_task
from cosmos_ops.simulate.arms.world import World
from cosmos_ops.simulate.hands import minimum_jerk
from cosmos_ops.simulate.recording import Recording
from cosmos_ops.simulate.rendering import camera_film, use_backend

if TYPE_CHECKING:
    import mujoco

SECONDS = (4.0, 7.0)
"""Shortest and longest episode."""
_FEWEST_S = 3.0
_LONGEST_WORK_S = 12.0
_STILL_S = 0.3
_SLIP_EVERY = 10
"""One of so many episodes in a row is botched and kept."""
_MAX_JOINT_SPEED = 3.0
"""rad/s; faster commands are cut, as the arms' controllers do."""
_MOST_HURRIED = 0.7
_ARM_PHASE_S = 7.0


@dataclass(frozen=True, eq=False)
class Motion:
    """What moved in one episode, one row a frame."""

    state: np.ndarray
    """[T, S] float32 measured joint positions (rad) and gripper opening (0-1)."""
    action: np.ndarray
    """[T, S] float32 commanded ones, to be reached one frame later."""
    positions: np.ndarray
    """[T, Q] MuJoCo's generalised positions."""
    work_frames: int
    """Frames after which the operator was done, or all of them."""
    succeeded: bool


def record(robot: Embodiment, seed: int, episode: int, cameras: tuple[str, ...], height_px: int, width_px: int, frames: int | None = None) -> Recording:
    """Simulate and film one episode; equal arguments give equal telemetry, and equal frames on one machine.

    About one episode in ten fails and says so in `succeeded`, which is judged from where things ended. `frames`
    fixes the length (3 s or more, or nobody can finish); None takes what the operator needs, within `SECONDS`. Raises
    `UserError` where MuJoCo, the robot's package or OpenGL is missing, `ValueError` for a camera the robot has not.
    """
    unknown = set(cameras) - set(robot.cameras)
    if unknown:
        raise ValueError(f"{robot.name} has no camera {min(unknown)!r}; it has {', '.join(robot.cameras)}")
    if frames is not None and frames < _FEWEST_S * robot.fps:
        raise ValueError(f"frames is {frames}; a task takes at least {round(_FEWEST_S * robot.fps)}, cut the recording afterwards")
    use_backend()
    task, model, motion = simulate(robot, seed, episode, height_px, width_px, frames)
    pictures = {camera: np.empty((len(motion.state), height_px, width_px, 3), np.uint8) for camera in cameras}
    with camera_film(model, height_px, width_px) as film:
        for row, positions in enumerate(motion.positions):
            for camera, picture in film(positions, cameras).items():
                pictures[camera][row] = picture
    return Recording(task.text, robot.fps, motion.state, motion.action, pictures, succeeded=motion.succeeded)


def simulate(
    robot: Embodiment, seed: int, episode: int, height_px: int = 480, width_px: int = 640, frames: int | None = None
) -> "tuple[Task, mujoco.MjModel, Motion]":
    """One episode unfilmed: what was asked, the model with room for pictures of that size, what moved. Call `use_backend` before if pictures follow."""
    rng = np.random.default_rng([seed, episode])
    room = sample_surroundings(robot, rng)
    task = sample_task(robot, rng, room.table_rgb)
    hand_seed = int(rng.integers(2**63))
    botched = np.random.default_rng([seed, episode // _SLIP_EVERY, _SLIP_EVERY]).integers(_SLIP_EVERY)
    slip = str(rng.choice(SLIPS)) if episode % _SLIP_EVERY == botched else None
    model = compose(robot, task, room, height_px, width_px)
    shortest, longest = (round(second * robot.fps) for second in SECONDS)
    motion = perform(robot, task, model, Hand(np.random.default_rng(hand_seed), slip=slip), round(_LONGEST_WORK_S * robot.fps))
    still = round(_STILL_S * robot.fps)
    wanted = min(max(motion.work_frames + still, shortest), longest) if frames is None else frames
    if motion.work_frames + still != wanted or len(motion.state) != wanted:
        # Physics is cheap: once more by somebody quicker or slower, who then fills the time.
        pace = max((wanted - still) / motion.work_frames, _MOST_HURRIED if frames is None else 0.0)
        motion = perform(robot, task, model, Hand(np.random.default_rng(hand_seed), pace, slip), wanted, stop_when_done=False)
    return task, model, motion


def perform(robot: Embodiment, task: Task, model, hand: Hand, most_frames: int, stop_when_done: bool = True) -> Motion:
    """Let the operator work for `most_frames`, or until a moment after it is done."""
    world = World(robot, model, len(task.things))
    operator = Operator(robot, task, hand, world)
    solvers = [Solver(model, arm) for arm in robot.arms]
    targets = [np.append(solver.settle(pose), grip) for solver, pose, grip in zip(solvers, operator.poses, operator.grips, strict=True)]
    world.start(targets)
    wishes = _Wishes(operator.segments(), operator.poses, operator.grips)
    frame_s, rows, work_frames = 1.0 / robot.fps, [], most_frames
    reach = _MAX_JOINT_SPEED * frame_s
    for frame in range(most_frames):
        soon_s = (frame + 1) * frame_s
        before, targets = targets, []
        for arm, (solver, (pose, grip)) in enumerate(zip(solvers, wishes.at(soon_s), strict=True)):
            pose = pose + hand.tremor(soon_s + _ARM_PHASE_S * arm)
            pose[2] = max(pose[2], robot.fingertip_m)
            old = before[arm][:-1]
            targets.append(np.append(old + np.clip(solver.solve(pose, old) - old, -reach, reach), grip))
        rows.append((world.state(), np.concatenate(targets), world.positions()))
        if wishes.over and work_frames == most_frames:
            work_frames = frame
        if stop_when_done and frame >= work_frames + round(_STILL_S * robot.fps) - 1:
            break
        world.advance(before, targets, frame_s)
    state, action, positions = (np.stack(column) for column in zip(*rows, strict=True))
    return Motion(state.astype(np.float32), action.astype(np.float32), positions, work_frames, achieved(task, world.outcome()))


class _Wishes:
    """Where the operator wants the tools, moment by moment."""

    def __init__(self, segments: Iterator[Segment], poses: list[np.ndarray], grips: list[float]):
        self._segments = segments
        self._start_s = self._end_s = 0.0
        self._from = self._to = list(zip(poses, grips, strict=True))
        self.over = False

    def at(self, time_s: float) -> list[tuple[np.ndarray, float]]:
        """For each arm the [6] tool pose and the gripper's opening at a time that never goes back."""
        while not self.over and self._end_s <= time_s:
            segment = next(self._segments, None)
            self._from = self._to
            if segment is None:
                self.over = True
                break
            self._start_s, self._end_s = self._end_s, self._end_s + segment.seconds
            self._to = [(segment.poses.get(arm, pose), segment.grips.get(arm, grip)) for arm, (pose, grip) in enumerate(self._from)]
        part = 1.0 if self.over else (time_s - self._start_s) / (self._end_s - self._start_s)
        smooth = minimum_jerk(part)
        return [(a + (b - a) * smooth, g + (h - g) * part) for (a, g), (b, h) in zip(self._from, self._to, strict=True)]
