"""What lies on the table: blocks, cylinders, balls and bars that can be moved; trays, bowls and plates that they are put into."""

from dataclasses import dataclass

import numpy as np

COLOURS = {
    "red": (0.82, 0.08, 0.08),
    "blue": (0.08, 0.28, 0.86),
    "green": (0.08, 0.60, 0.20),
    "yellow": (0.98, 0.82, 0.08),
    "purple": (0.50, 0.14, 0.66),
    "orange": (1.00, 0.45, 0.04),
}
"""Name in the task text -> RGB, 0-1."""
CONTAINER_COLOURS = {"white": (0.92, 0.92, 0.90), "grey": (0.45, 0.47, 0.50), "black": (0.10, 0.10, 0.11), "brown": (0.42, 0.25, 0.14)}
_CONTAINERS_M = {"tray": (0.062, 0.020), "bowl": (0.050, 0.028), "plate": (0.056, 0.010)}
"""Kind -> half the inner width, height of the rim."""
_LEAN_RAD = {"bowl": 0.5, "plate": 0.9}
_PANELS = 16
_SHEET_M = 0.004
_MASS_KG = 0.06
# Things slide rather than topple when they are pushed; the fingers bring the friction that holds them.
_SURFACES = {"block": (0.5, 0.01, 0.0005), "bar": (0.5, 0.01, 0.0005), "cylinder": (0.5, 0.02, 0.001), "ball": (0.5, 0.02, 0.003)}
"""Sliding, torsional and rolling friction."""


@dataclass(frozen=True)
class Thing:
    """Something that can be moved. Its frame sits in its middle, z up, and its y side is what fingers close on."""

    shape: str
    """`block` (a cube), `cylinder`, `ball` or `bar` (a long block)."""
    colour: str
    half_m: tuple[float, float, float]
    """Half extents along x, y, z."""
    pose: tuple[float, float, float]
    """x, y (m), yaw (rad) at the start."""

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def yaw_period_rad(self) -> float:
        """After which turn it looks the same to a gripper; 0 for what has no faces."""
        return {"block": np.pi / 2, "bar": np.pi}.get(self.shape, 0.0)


@dataclass(frozen=True)
class Container:
    """Something that things are put into. It stays where it is."""

    kind: str
    """`tray`, `bowl` or `plate`."""
    colour: str
    at_m: tuple[float, float]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.kind}"

    @property
    def radius_m(self) -> float:
        """Half the inner width."""
        return _CONTAINERS_M[self.kind][0]

    @property
    def rim_m(self) -> float:
        return _CONTAINERS_M[self.kind][1]

    def holds(self, off_m: np.ndarray) -> bool:
        """Whether a point at [2] `off_m` from the middle is inside."""
        return bool((np.abs(off_m).max() if self.kind == "tray" else np.linalg.norm(off_m)) < self.radius_m)


def sample_thing(rng: np.random.Generator, shape: str, colour: str, pose: tuple[float, float, float], width_m: tuple[float, float]) -> Thing:
    """A thing whose width is drawn from `width_m`."""
    half = float(rng.uniform(*width_m)) / 2
    tall = half * float(rng.uniform(1.1, 1.4))
    if shape == "bar":
        return Thing(shape, colour, (0.062, 0.8 * half, 0.8 * half), pose)
    return Thing(shape, colour, (half, half, tall if shape == "cylinder" else half), pose)


def contrasting_container(rng: np.random.Generator, at_m: tuple[float, float], table_rgb: tuple[float, float, float]) -> Container:
    """A container that can be told from the table."""
    colours = [name for name, rgb in CONTAINER_COLOURS.items() if abs(np.mean(rgb) - np.mean(table_rgb)) > 0.3]
    return Container(str(rng.choice(list(_CONTAINERS_M))), str(rng.choice(colours)), at_m)


def add_thing(spec, thing: Thing, index: int) -> None:
    """Put a thing that moves freely into a MuJoCo model, as body `thing<index>`."""
    import mujoco

    x, y, yaw = thing.pose
    body = spec.worldbody.add_body(name=f"thing{index}", pos=(x, y, thing.half_m[2] + 0.001), quat=(np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)))
    body.add_freejoint(name=f"thing{index}")
    radius, _, tall = thing.half_m
    geometry = {
        "cylinder": (mujoco.mjtGeom.mjGEOM_CYLINDER, (radius, tall, 0)),
        "ball": (mujoco.mjtGeom.mjGEOM_SPHERE, (radius, 0, 0)),
    }.get(thing.shape, (mujoco.mjtGeom.mjGEOM_BOX, thing.half_m))
    body.add_geom(
        type=geometry[0],
        size=geometry[1],
        rgba=(*COLOURS[thing.colour], 1),
        mass=_MASS_KG,
        solref=(0.01, 1),
        friction=_SURFACES[thing.shape],
        condim=6,
    )


def add_container(spec, container: Container) -> None:
    """Put a container into a MuJoCo model, fixed to the table."""
    import mujoco

    body = spec.worldbody.add_body(name="container", pos=(*container.at_m, 0))
    inner, rim, thin = container.radius_m, container.rim_m, _SHEET_M
    look = {"rgba": (*CONTAINER_COLOURS[container.colour], 1)}
    if container.kind == "tray":
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=(inner, inner, thin / 2), pos=(0, 0, thin / 2), **look)
        for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            size = (thin if x else inner + 2 * thin, thin if y else inner + 2 * thin, rim / 2)
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=size, pos=(x * (inner + thin), y * (inner + thin), rim / 2), **look)
        return
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(inner, thin / 2, 0), pos=(0, 0, thin / 2), **look)
    lean = _LEAN_RAD[container.kind]
    flare = rim * np.tan(lean)
    size = (thin / 2, (inner + flare) * np.tan(np.pi / _PANELS), rim / 2 / np.cos(lean))
    for turn in 2 * np.pi * np.arange(_PANELS) / _PANELS:
        # Turned about z by `turn`, then leaning outward: the quaternion product of the two.
        (ct, cl), (st, sl) = np.cos((turn / 2, lean / 2)), np.sin((turn / 2, lean / 2))
        at = ((inner + flare / 2) * np.cos(turn), (inner + flare / 2) * np.sin(turn), rim / 2)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=size, pos=at, quat=(ct * cl, -st * sl, ct * sl, st * cl), **look)
