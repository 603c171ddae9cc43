"""The simulated world during an episode: things to look at, arms to command, physics that moves them.

Everything is moved by contact and friction alone: what a gripper carries is held by its fingers' force, nothing is attached.
"""

import numpy as np

from cosmos_ops.simulate.arms.embodiment import Arm, Embodiment
from cosmos_ops.simulate.arms.tasks import Outcome

_SETTLE_STEPS = 150


class World:
    """One compiled MuJoCo model and its state."""

    def __init__(self, robot: Embodiment, model, things: int):
        import mujoco

        self._mujoco, self.model, self._data = mujoco, model, mujoco.MjData(model)
        self._drives = [_Drive(model, arm) for arm in robot.arms]
        self._bodies = [model.body(f"thing{index}").id for index in range(things)]

    def start(self, targets: list[np.ndarray]) -> None:
        """Put the arms at [J + 1] joint positions and opening each, and let the things come to rest."""
        for drive, target in zip(self._drives, targets, strict=True):
            drive.put(self._data, target)
            drive.command(self._data, target)
        for _ in range(_SETTLE_STEPS):
            self._mujoco.mj_step(self.model, self._data)

    def advance(self, before: list[np.ndarray], targets: list[np.ndarray], seconds: float) -> None:
        """Let time pass while each arm's controller moves its set point evenly from one target to the next."""
        steps = round(seconds / self.model.opt.timestep)
        for step in range(1, steps + 1):
            for drive, old, new in zip(self._drives, before, targets, strict=True):
                drive.command(self._data, old + (new - old) * (step / steps))
            self._mujoco.mj_step(self.model, self._data)

    def state(self) -> np.ndarray:
        """[S] measured joint positions (rad) and gripper opening (0-1), arm after arm."""
        return np.concatenate([drive.state(self._data) for drive in self._drives])

    def positions(self) -> np.ndarray:
        """[Q] MuJoCo's generalised positions: all that a picture depends on."""
        return self._data.qpos.copy()

    def thing(self, index: int) -> np.ndarray:
        """[3] centre of a thing, m."""
        return self._data.xpos[self._bodies[index]].copy()

    def axis(self, index: int) -> np.ndarray:
        """[3] unit vector along a thing's length."""
        return self._turn(index)[:, 0].copy()

    def yaw(self, index: int) -> float:
        """How a thing is turned about the vertical, rad."""
        x, y, _ = self.axis(index)
        return float(np.arctan2(y, x))

    def outcome(self) -> Outcome:
        self._mujoco.mj_forward(self.model, self._data)
        every = range(len(self._bodies))
        return Outcome(
            positions=np.stack([self.thing(index) for index in every]),
            uprights=np.array([self._turn(index)[2, 2] for index in every]),
            tools=np.stack([drive.tool(self._data) for drive in self._drives]),
            openings=np.array([drive.state(self._data)[-1] for drive in self._drives]),
        )

    def _turn(self, index: int) -> np.ndarray:
        return self._data.xmat[self._bodies[index]].reshape(3, 3)


class _Drive:
    """One arm's controller: joint targets and an opening in, actuator commands out."""

    def __init__(self, model, arm: Arm):
        self._joints = np.array([model.joint(name).qposadr[0] for name in arm.joints])
        self._fingers = np.array([model.joint(name).qposadr[0] for name in arm.fingers])
        self._actuators = np.array([model.actuator(name).id for name in (*arm.joints, *arm.fingers)])
        self._closed, self._span = np.array(arm.closed), np.array(arm.opened) - np.array(arm.closed)
        self._tool = model.site(arm.tool).id

    def put(self, data, target: np.ndarray) -> None:
        data.qpos[self._joints], data.qpos[self._fingers] = target[:-1], self._closed + target[-1] * self._span

    def command(self, data, target: np.ndarray) -> None:
        data.ctrl[self._actuators] = np.concatenate([target[:-1], self._closed + target[-1] * self._span])

    def state(self, data) -> np.ndarray:
        opening = float(np.mean((data.qpos[self._fingers] - self._closed) / self._span))
        return np.append(data.qpos[self._joints], min(max(opening, 0.0), 1.0))

    def tool(self, data) -> np.ndarray:
        return data.site_xpos[self._tool].copy()
