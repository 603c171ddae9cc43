"""Lighter copies of a model's meshes: drawing in software costs time per triangle, and small pictures do not show the difference."""

import functools
from pathlib import Path

import numpy as np

_HEADER_BYTES = 84
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def lighten(spec, folder: Path, cell_m: float = 0.004) -> None:
    """Replace every STL mesh of a MuJoCo model by one whose corners lie on a grid of `cell_m`; details below it are gone.

    `folder` is what the meshes' file names are relative to.
    """
    for mesh in spec.meshes:
        scale = tuple(float(factor) for factor in mesh.scale)
        corners, faces = _clustered(folder / mesh.file, scale, cell_m)
        mesh.file, mesh.scale = "", np.ones(3)
        mesh.uservert, mesh.userface = corners.ravel(), faces.ravel()


@functools.lru_cache(maxsize=128)
def _clustered(path: Path, scale: tuple[float, float, float], cell_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertex clustering (Rossignac and Borrel 1993): corners [V, 3] float32 (m), faces [F, 3] int32."""
    triangles = np.frombuffer(path.read_bytes(), _TRIANGLE, offset=_HEADER_BYTES)["corners"].reshape(-1, 3) * np.array(scale)
    cells, owner, count = np.unique(np.round(triangles / cell_m).astype(np.int64), axis=0, return_inverse=True, return_counts=True)
    corners = np.zeros((len(cells), 3))
    np.add.at(corners, owner.ravel(), triangles)
    faces = owner.reshape(-1, 3)
    alive = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return (corners / count[:, None]).astype(np.float32), faces[alive].astype(np.int32)
