"""Off-screen OpenGL for MuJoCo: finds a backend that really works on this machine and closes what it opens."""

import functools
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cosmos_ops.errors import UserError

BACKENDS = ("egl", "osmesa")
"""Tried in this order: EGL uses a GPU where there is one and Mesa's llvmpipe where there is none."""
_PATIENCE_S = 120
_ERROR = re.compile(r"\w+(\.\w+)*(Error|Exception): ")
_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><light pos="0 0 2"/><geom size="1" rgba="1 0 0 1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 16, 16) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any()
"""


@functools.cache
def use_backend() -> str:
    """Choose the OpenGL backend of this process, in the variable `MUJOCO_GL` that MuJoCo reads, and return its name.

    Each candidate draws a picture in a process of its own first: `mujoco` binds to one backend for good when it is
    imported. A `MUJOCO_GL` that is set already is tried before the others. Outside Linux there is one backend and
    nothing to choose. Raises `UserError` when `mujoco` is not installed or nothing can draw.
    """
    package_folder("mujoco")
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if platform.system() != "Linux":
        return asked or "native"
    candidates = dict.fromkeys([asked, *BACKENDS] if asked else BACKENDS)
    if "mujoco" in sys.modules:  # too late to choose
        candidates = {asked: None}
    reasons = []
    for backend in candidates:
        reason = _why_not(backend)
        if reason is None:
            os.environ["MUJOCO_GL"] = backend
            return backend
        reasons.append(f"{backend or 'a window'}: {reason}")
    raise UserError(
        "no OpenGL for off-screen drawing, so simulated robots cannot be filmed; install it with "
        f"`apt-get install libegl1 libegl-mesa0` or `apt-get install libosmesa6` ({'; '.join(reasons)})"
    )


def package_folder(name: str) -> Path:
    """Folder of an installed package, found without importing it. Raises `UserError` where it is missing."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f'python package {name!r} is missing and the simulated robots need it; install it with `pip install "cosmos-ops[sim]"`')
    return Path(spec.submodule_search_locations[0])


@contextmanager
def camera_film(model, height_px: int, width_px: int) -> Iterator[Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]]:
    """A function (generalised positions [Q], camera names) -> {camera: uint8 [H, W, 3] RGB} for one MuJoCo model.

    The context is closed on leaving: left to the interpreter's exit, MuJoCo's renderer prints a traceback, because
    OpenGL is gone by then.
    """
    use_backend()
    import mujoco

    data = mujoco.MjData(model)
    renderer = mujoco.Renderer(model, height_px, width_px)

    def film(positions: np.ndarray, cameras: Sequence[str]) -> dict[str, np.ndarray]:
        data.qpos[:] = positions
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        taken = {}
        for camera in cameras:
            renderer.update_scene(data, camera=camera)
            taken[camera] = renderer.render()
        return taken

    try:
        yield film
    finally:
        renderer.close()


def _why_not(backend: str) -> str | None:
    """None when the backend draws, else one line saying why it does not."""
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], env={**os.environ, "MUJOCO_GL": backend}, capture_output=True, text=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return f"no picture within {_PATIENCE_S} s"
    if done.returncode == 0:
        return None
    errors = [line.strip() for line in done.stderr.splitlines() if _ERROR.match(line)]
    return errors[0][:120] if errors else f"ended with code {done.returncode}"
