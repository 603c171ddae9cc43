"""What a simulator hands to a log writer: a robot's description and recorded episodes."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class RobotSpec:
    """The robot and the meaning of its telemetry columns."""

    name: str
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Recording:
    """One teleoperated episode. Without clocks of their own, row t of every array is the moment t / fps."""

    task: str
    fps: int
    state: np.ndarray
    """[T, S] float32 proprioception."""
    action: np.ndarray
    """[T, A] float32 command, held from this row to the next."""
    frames: dict[str, np.ndarray]
    """Camera -> uint8 [Tc, H, W, 3] RGB; Tc is T for a camera without a clock of its own."""
    times_s: np.ndarray | None = None
    """[T] float64, the telemetry's clock, which is also the recorder's; None: t / fps."""
    frame_times_s: dict[str, np.ndarray] | None = None
    """Camera -> [Tc] float64, what the camera's own clock said; None, or a camera left out: `times_s`."""
    arrival_times_s: dict[str, np.ndarray] | None = None
    """Camera -> [Tc] float64, when each frame was taken by the recorder's clock; None, or a camera left out: `frame_times_s`."""
    succeeded: bool = True

    @property
    def length(self) -> int:
        """Rows of telemetry, T."""
        return len(self.state)

    @property
    def clock_s(self) -> np.ndarray:
        """[T] float64 of the telemetry."""
        return np.arange(self.length) / self.fps if self.times_s is None else self.times_s

    def camera_clock_s(self, camera: str) -> np.ndarray:
        """[Tc] float64 of one camera."""
        return (self.frame_times_s or {}).get(camera, self.clock_s)

    def arrival_s(self, camera: str) -> np.ndarray:
        """[Tc] float64 of one camera on the recorder's clock."""
        return (self.arrival_times_s or {}).get(camera, self.camera_clock_s(camera))

    def on_rows(self) -> "Recording":
        """One frame a row, the latest that had been taken by then: what a recorder with one loop writes. Camera clocks are gone."""
        if self.frame_times_s is None and self.arrival_times_s is None:
            return self
        frames = {}
        for camera, images in self.frames.items():
            latest = np.searchsorted(self.arrival_s(camera), self.clock_s + 1e-9, side="right") - 1
            frames[camera] = images[np.maximum(latest, 0)]
        return replace(self, frames=frames, frame_times_s=None, arrival_times_s=None)
