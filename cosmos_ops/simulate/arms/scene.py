"""Everything around the robot: table, backdrop, light and cameras drawn at random, composed with the robot and the task's things."""

from dataclasses import dataclass

import numpy as np

from cosmos_ops.simulate.arms.embodiment import Embodiment
from cosmos_ops.simulate.arms.props import add_container, add_thing
from cosmos_ops.simulate.arms.tasks import Task

TIMESTEP_S = 0.002
_TABLES = {
    "oak": (0.66, 0.53, 0.38),
    "walnut": (0.45, 0.34, 0.25),
    "grey": (0.52, 0.54, 0.57),
    "white": (0.78, 0.78, 0.76),
    "teal": (0.33, 0.48, 0.50),
    "sand": (0.72, 0.66, 0.55),
}
_WOOD = ("oak", "walnut")
_TEXTURE_PX, _SHADOW_PX, _SAMPLES = 256, 1024, 4
_EYE_JITTER_M, _AIM_JITTER_M, _CARRIED_JITTER = 0.012, 0.008, 0.15


@dataclass(frozen=True)
class Surroundings:
    """How the room looks in one episode."""

    table: str
    table_rgb: tuple[float, float, float]
    grain_seed: int
    wall_rgb: tuple[float, float, float]
    lamp_at_m: tuple[float, float, float]
    lamp_rgb: tuple[float, float, float]
    ambient: float
    """Share of light that has no direction, 0-1."""
    camera_shifts_m: tuple[tuple[float, ...], ...]
    """For each of the robot's cameras x, y, z by which the eye, then the aim, is off."""


def sample_surroundings(robot: Embodiment, rng: np.random.Generator) -> Surroundings:
    table = str(rng.choice(list(_TABLES)))
    table_rgb = np.array(_TABLES[table]) * rng.uniform(0.92, 1.08) + rng.uniform(-0.02, 0.02, 3)
    angle, warmth = rng.uniform(0, 2 * np.pi), rng.uniform(-0.05, 0.08)
    lamp_rgb = rng.uniform(0.4, 0.52) * np.array([1 + warmth, 1.0, 1 - warmth])
    shifts = rng.uniform(-1, 1, (len(robot.views), 6)) * np.repeat([_EYE_JITTER_M, _AIM_JITTER_M], 3)
    return Surroundings(
        table=table,
        table_rgb=_triple(np.clip(table_rgb, 0, 1)),
        grain_seed=int(rng.integers(2**31)),
        wall_rgb=_triple(rng.uniform(0.6, 0.8) + rng.uniform(-0.05, 0.05, 3)),
        lamp_at_m=(float(0.6 * np.cos(angle)), float(0.4 * np.sin(angle)), float(rng.uniform(1.5, 1.9))),
        lamp_rgb=_triple(lamp_rgb),
        ambient=float(rng.uniform(0.46, 0.54)),
        camera_shifts_m=tuple(tuple(row) for row in shifts.tolist()),
    )


def compose(robot: Embodiment, task: Task, room: Surroundings, height_px: int, width_px: int):
    """A compiled MuJoCo model of the robot in this room with this task's things; cameras carry the robot's names for them."""
    import mujoco

    spec = robot.build()
    for body in spec.bodies:
        body.gravcomp = 1.0  # the arms' controllers carry their own weight, as the real ones do
    for site in spec.sites:
        site.group = 5  # markers, not to be seen
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone, spec.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 10.0  # what fingers hold does not creep
    spec.compiler.inertiagrouprange = (0, 5)
    _add_table(spec, robot, room)
    _add_light(spec, room, height_px, width_px)
    if task.container is not None:
        add_container(spec, task.container)
    for index, thing in enumerate(task.things):
        add_thing(spec, thing, index)
    for view, shift in zip(robot.views, room.camera_shifts_m, strict=True):
        off = np.array(shift) * (1.0 if view.body is None else _CARRIED_JITTER)
        eye, aim = np.array(view.eye_m) + off[:3], np.array(view.look_at_m) + off[3:]
        parent = spec.worldbody if view.body is None else spec.body(view.body)
        camera = parent.add_camera(name=view.name, pos=eye, fovy=view.fovy_deg)
        camera.alt.type, camera.alt.xyaxes = mujoco.mjtOrientation.mjORIENTATION_XYAXES, view.axes(eye, aim)
    return spec.compile()


def _add_light(spec, room: Surroundings, height_px: int, width_px: int) -> None:
    import mujoco

    spec.visual.global_.offheight, spec.visual.global_.offwidth = height_px, width_px
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = _SHADOW_PX, _SAMPLES
    headlight = spec.visual.headlight
    headlight.ambient, headlight.diffuse, headlight.specular = np.full(3, room.ambient), np.full(3, 0.2), np.full(3, 0.05)
    # Near plane, far plane and shadows are measured in this length.
    spec.stat.extent, spec.stat.center = 1.0, (0, 0, 0.1)
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 10.0
    lamp = spec.worldbody.add_light(pos=room.lamp_at_m, dir=-np.array(room.lamp_at_m), castshadow=True)
    lamp.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    lamp.diffuse, lamp.specular, lamp.ambient = room.lamp_rgb, np.full(3, 0.1), np.zeros(3)


def _add_table(spec, robot: Embodiment, room: Surroundings) -> None:
    import mujoco

    texture = spec.add_texture(name="table", type=mujoco.mjtTexture.mjTEXTURE_2D, width=_TEXTURE_PX, height=_TEXTURE_PX, nchannel=3)
    texture.data = _grain(room).tobytes()
    material = spec.add_material(name="table", specular=0.1, shininess=0.2)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "table"
    x0, x1, y0, y1 = robot.table_m
    size, middle = ((x1 - x0) / 2, (y1 - y0) / 2, 0.02), ((x0 + x1) / 2, (y0 + y1) / 2, -0.02)
    spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=size, pos=middle, material="table", friction=(0.5, 0.01, 0.0005), condim=4)
    wall = np.array(room.wall_rgb)
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, width=64, height=64 * 6)
    sky.rgb1, sky.rgb2 = wall, 0.8 * wall


def _grain(room: Surroundings) -> np.ndarray:
    """uint8 [P, P, 3] picture of the table top: streaks along one axis for wood, faint mottling for the rest."""
    rng = np.random.default_rng(room.grain_seed)
    along, across = np.meshgrid(*[np.linspace(0, 1, _TEXTURE_PX)] * 2)
    pattern = np.zeros((_TEXTURE_PX, _TEXTURE_PX))
    if room.table in _WOOD:
        for slow, fine, phase in zip(rng.integers(1, 4, 6), rng.integers(4, 40, 6), rng.uniform(0, 2 * np.pi, 6), strict=True):
            pattern += 0.02 * np.sin(2 * np.pi * (fine * across + 0.15 * np.sin(2 * np.pi * slow * along)) + phase)
    else:
        pattern += 0.008 * np.kron(rng.standard_normal((_TEXTURE_PX // 8, _TEXTURE_PX // 8)), np.ones((8, 8)))
    return (np.clip(np.array(room.table_rgb) * (1 + pattern[..., None]), 0, 1) * 255).astype(np.uint8)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
