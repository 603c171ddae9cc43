"""What a simulator hands to a log writer: a robot's description and recorded episodes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RobotSpec:
    """The robot and the meaning of its telemetry columns."""

    name: str
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Recording:
    """One teleoperated episode; row t of every array is the moment t / fps."""

    task: str
    fps: int
    state: np.ndarray
    """[T, S] float32 proprioception."""
    action: np.ndarray
    """[T, A] float32 command, held from this row to the next."""
    frames: dict[str, np.ndarray]
    """Camera -> uint8 [T, H, W, 3] RGB."""

    @property
    def length(self) -> int:
        return len(self.state)
