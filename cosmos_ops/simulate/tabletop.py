"""Recordings of a tabletop arm doing small tasks: seeded, drawn on one core, no GPU and no physics engine."""

import numpy as np

from cosmos_ops.simulate.recording import Recording, RobotSpec
from cosmos_ops.simulate.tabletop_operator import operate
from cosmos_ops.simulate.tabletop_scene import ACTION_NAMES, STATE_NAMES, sample_scene
from cosmos_ops.simulate.tabletop_view import CAMERAS, TabletopView

ROBOT = RobotSpec("tabletop-arm", STATE_NAMES, ACTION_NAMES)
"""State: joint positions (rad, lift m) and opening 0-1. Action: joint velocities (rad/s, m/s) and commanded opening."""
FPS = 8
FRAMES = (36, 47)
"""Shortest and longest episode, frames: 4.5 to 5.9 s."""
_FEWEST_FRAMES = 24
_TRIES = 20


def record_episode(
    seed: int, episode: int, cameras: tuple[str, ...] = CAMERAS, height_px: int = 160, width_px: int = 256, frames: int | None = None
) -> Recording:
    """Simulate and draw one episode in which the task succeeds; equal arguments give equal arrays.

    `frames` fixes the length (24 or more, or nobody can finish); None draws it from `FRAMES`.
    """
    if frames is not None and frames < _FEWEST_FRAMES:
        raise ValueError(f"frames is {frames}; a task takes at least {_FEWEST_FRAMES}, cut the recording afterwards")
    rng = np.random.default_rng([seed, episode])
    count = int(rng.integers(FRAMES[0], FRAMES[1] + 1)) if frames is None else frames
    for _ in range(_TRIES):
        scene = sample_scene(rng)
        motion = operate(scene, rng, count, FPS)
        if motion.succeeded:
            break
    else:
        raise RuntimeError(f"the operator failed {_TRIES} scenes in a row (seed {seed}, episode {episode}, {count} frames); ask for more frames")
    view = TabletopView(scene, height_px, width_px)
    state = np.column_stack([motion.joints, motion.gripper]).astype(np.float32)
    return Recording(scene.task, FPS, state, motion.action.astype(np.float32), {camera: view.frames(motion, camera) for camera in cameras})
