"""The simulators by name: what each robot is, how it is filmed, and one function that records an episode of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cosmos_ops.errors import UserError
from cosmos_ops.simulate.recording import Recording, RobotSpec

if TYPE_CHECKING:
    from cosmos_ops.simulate.arms.embodiment import Embodiment

Record = Callable[[int, int, tuple[str, ...], int, int, int | None], Recording]


@dataclass(frozen=True)
class Simulator:
    """One robot that can be recorded."""

    name: str
    spec: RobotSpec
    cameras: tuple[str, ...]
    """All it has; the first two are the usual pair, and words like "left" in its tasks are the first one's."""
    renderer: bool
    """Whether filming needs OpenGL and the `sim` extra."""
    fps: int
    record: Record
    """(seed, episode, cameras, height_px, width_px, frames or None) -> one episode; equal arguments give equal telemetry."""


def simulator(name: str) -> Simulator:
    """The simulator of that name. Raises `UserError` that lists the names."""
    if name not in ROBOTS:
        raise UserError(f"robot {name!r} cannot be simulated; choose from {', '.join(ROBOTS)}")
    return ROBOTS[name]()


def _tabletop() -> Simulator:
    from cosmos_ops.simulate.tabletop import CAMERAS, FPS, ROBOT, record_episode

    return Simulator("tabletop", ROBOT, CAMERAS, False, FPS, record_episode)


def _aloha() -> Simulator:
    from cosmos_ops.simulate.arms.aloha import ALOHA

    return _with_physics(ALOHA)


def _fetch() -> Simulator:
    from cosmos_ops.simulate.arms.fetch import FETCH

    return _with_physics(FETCH)


def _franka() -> Simulator:
    from cosmos_ops.simulate.arms.franka import FRANKA

    return _with_physics(FRANKA)


def _with_physics(robot: "Embodiment") -> Simulator:
    from cosmos_ops.simulate.arms.episode import record

    return Simulator(robot.name, robot.spec, robot.cameras, True, robot.fps, partial(record, robot))


ROBOTS: Mapping[str, Callable[[], Simulator]] = {"tabletop": _tabletop, "aloha": _aloha, "fetch": _fetch, "franka": _franka}
"""Name -> what makes its simulator. Nothing of MuJoCo is imported before an episode is recorded."""
