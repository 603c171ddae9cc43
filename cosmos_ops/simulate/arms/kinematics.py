"""Tool poses and the joint positions that reach them: damped least squares within the joints' limits."""

import numpy as np

_DAMPING = 0.05
_ROTATION_M = 0.15
"""Metres that one radian of turn is worth: how position and orientation errors are weighed against each other."""
_ITERATIONS = 30
_SETTLING = 4
_HOMING = 0.1
_STEP_RAD = 0.25
_LIMIT_MARGIN_RAD = 0.02


def tool_rotation(azimuth_rad: float, pitch_rad: float, roll_rad: float) -> np.ndarray:
    """[3, 3] Rz(azimuth) Ry(pitch) Rx(roll): the tool's x axis points along `azimuth`, `pitch` below the horizon."""
    (ca, cp, cr), (sa, sp, sr) = np.cos((azimuth_rad, pitch_rad, roll_rad)), np.sin((azimuth_rad, pitch_rad, roll_rad))
    about_z = np.array([[ca, -sa, 0], [sa, ca, 0], [0, 0, 1]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return about_z @ about_y @ about_x


class Solver:
    """Inverse kinematics of one arm, on a scratch copy of the model's state."""

    def __init__(self, model, arm):
        import mujoco

        self._mujoco = mujoco
        self._model, self._data = model, mujoco.MjData(model)
        joints = [model.joint(name) for name in arm.joints]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        limited = np.array([bool(model.jnt_limited[joint.id]) for joint in joints])
        ranges = np.array([joint.range for joint in joints])
        self.low = np.where(limited, ranges[:, 0] + _LIMIT_MARGIN_RAD, -np.inf)
        self.high = np.where(limited, ranges[:, 1] - _LIMIT_MARGIN_RAD, np.inf)
        self._site = model.site(arm.tool).id
        self._home = np.array(arm.home)

    def settle(self, pose: np.ndarray) -> np.ndarray:
        """[J] joint positions for `pose`, found from the arm's home posture."""
        joints = self._home
        for _ in range(_SETTLING):
            joints = self.solve(pose, joints)
        return joints

    def solve(self, pose: np.ndarray, start: np.ndarray) -> np.ndarray:
        """[J] joint positions whose tool is at `pose` (x, y, z, azimuth, pitch, roll), or as near as limits allow.

        Damped least squares (Wampler 1986, Nakamura and Hanafusa 1986): dq = J' (J J' + d^2 I)^-1 e, with spare joints
        drawn to the arm's home posture through the null space. `start` [J] is where the search begins: the nearest of
        several solutions is found.
        """
        joints = np.clip(start, self.low, self.high)
        wanted = tool_rotation(*pose[3:])
        position, rotation = np.zeros((3, self._model.nv)), np.zeros((3, self._model.nv))
        for _ in range(_ITERATIONS):
            self._data.qpos[self._qpos] = joints
            self._mujoco.mj_kinematics(self._model, self._data)
            self._mujoco.mj_comPos(self._model, self._data)
            self._mujoco.mj_jacSite(self._model, self._data, position, rotation, self._site)
            found = self._data.site_xmat[self._site].reshape(3, 3)
            turn = 0.5 * (np.cross(found[:, 0], wanted[:, 0]) + np.cross(found[:, 1], wanted[:, 1]) + np.cross(found[:, 2], wanted[:, 2]))
            error = np.concatenate([pose[:3] - self._data.site_xpos[self._site], _ROTATION_M * turn])
            jacobian = np.concatenate([position[:, self._dof], _ROTATION_M * rotation[:, self._dof]])
            # Near the target the damping fades, or the last millimetre takes for ever.
            damping = _DAMPING**2 * min(1.0, 10 * float(np.linalg.norm(error)))
            pseudo = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + damping * np.eye(6))
            step = pseudo @ error
            if len(joints) > 6:
                step += _HOMING * (np.eye(len(joints)) - pseudo @ jacobian) @ (self._home - joints)
            joints = np.clip(joints + np.clip(step, -_STEP_RAD, _STEP_RAD), self.low, self.high)
            if np.linalg.norm(error) < 3e-4:
                break
        return joints
