"""Shaded upright prisms through a pinhole camera: enough of a renderer for blocks, discs, trays and arms of links."""

from dataclasses import dataclass

import cv2
import numpy as np

from cosmos_ops.simulate.tabletop_scene import Light

_SHADOW = 0.42
"""Share of light that a shadow takes away."""


@dataclass(frozen=True, eq=False)
class Pinhole:
    """A camera without distortion. `rotation` rows are its right, down and forward axes in the world."""

    position_m: np.ndarray
    rotation: np.ndarray
    focal_px: float
    width_px: int
    height_px: int

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points [N, 3] to pixels [N, 2]; what lies behind the camera is pushed to its plane's front."""
        local = (points - self.position_m) @ self.rotation.T
        depth = np.maximum(local[:, 2:], 0.01)
        return local[:, :2] * (self.focal_px / depth) + (self.width_px / 2, self.height_px / 2)

    def ground_homography(self) -> np.ndarray:
        """[3, 3] from (x, y, 1) on the table top to pixels."""
        intrinsics = np.array([[self.focal_px, 0, self.width_px / 2], [0, self.focal_px, self.height_px / 2], [0, 0, 1.0]])
        outer = np.column_stack([self.rotation[:, 0], self.rotation[:, 1], -self.rotation @ self.position_m])
        return intrinsics @ outer


@dataclass(frozen=True, eq=False)
class Solid:
    """A convex upright prism; `outline` [K, 2] goes counter-clockwise seen from above."""

    outline: np.ndarray
    low_m: float
    high_m: float
    colour: tuple[int, int, int]


def look_at(eye: np.ndarray, target: np.ndarray, focal_px: float, size: tuple[int, int], up=(0.0, 0.0, 1.0)) -> Pinhole:
    """A camera at `eye` (m) with `target` at its centre; `size` is width, height in pixels."""
    eye, forward = np.asarray(eye, float), np.asarray(target, float) - eye
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return Pinhole(eye, np.stack([right, np.cross(forward, right), forward]), focal_px, *size)


def paint(image: np.ndarray, pinhole: Pinhole, solids: list[Solid], light: Light) -> None:
    """Draw solids in the given order; geometry and shading of all of them are computed at once."""
    counts = np.array([len(solid.outline) for solid in solids])
    ends = np.cumsum(counts)
    outline = np.concatenate([solid.outline for solid in solids])
    following = np.arange(1, len(outline) + 1)
    following[ends - 1] = ends - counts
    lows, highs = (np.repeat([getattr(solid, name) for solid in solids], counts) for name in ("low_m", "high_m"))
    low = _fixed(pinhole.project(np.column_stack([outline, lows])))
    high = _fixed(pinhole.project(np.column_stack([outline, highs])))
    edges = outline[following] - outline
    normals = np.column_stack([edges[:, 1], -edges[:, 0]]) / (np.sqrt((edges**2).sum(axis=1, keepdims=True)) + 1e-9)
    facing = (((pinhole.position_m[:2] - outline) * normals).sum(axis=1) > 0).tolist()
    faces = np.stack([low, low[following], high[following], high], axis=1)
    colour = np.array([solid.colour for solid in solids]) * light.gain
    side = light.ambient * 0.9 + (1 - light.ambient) * np.maximum(normals @ light.direction[:2], 0.0)
    sides = np.minimum(side[:, None] * np.repeat(colour, counts, axis=0), 255).astype(int).tolist()
    tops = np.minimum((light.ambient + (1 - light.ambient) * light.direction[2] * 1.05) * colour, 255).astype(int).tolist()
    for number, solid in enumerate(solids):
        first, end = int(ends[number] - counts[number]), int(ends[number])
        for index in range(first, end):
            if facing[index]:
                cv2.fillConvexPoly(image, faces[index], sides[index], cv2.LINE_8, 4)
        if pinhole.position_m[2] > solid.high_m:
            cv2.fillConvexPoly(image, high[first:end], tops[number], cv2.LINE_8, 4)


def cast_shadows(image: np.ndarray, pinhole: Pinhole, solids: list[Solid], light: Light) -> None:
    """Darken, with soft edges, where solids keep the lamp's light from the table top."""
    mask = np.zeros((image.shape[0] // 2, image.shape[1] // 2), np.uint8)
    slope = np.array(light.direction[:2]) / light.direction[2]
    ground = [np.concatenate([solid.outline - slope * solid.low_m, solid.outline - slope * solid.high_m]) for solid in solids]
    points = np.concatenate(ground)
    pixels = _fixed(pinhole.project(np.column_stack([points, np.zeros(len(points))])) / 2)
    for polygon in np.split(pixels, np.cumsum([len(points) for points in ground])[:-1]):
        cv2.fillConvexPoly(mask, cv2.convexHull(polygon), 255, cv2.LINE_8, 4)
    mask = cv2.GaussianBlur(mask, (9, 9), 0)
    gain = cv2.LUT(mask, (255 * (1 - _SHADOW * np.arange(256) / 255)).astype(np.uint8))
    gain = cv2.resize(gain, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    cv2.multiply(image, cv2.merge([gain, gain, gain]), image, 1 / 255)


def _fixed(pixels: np.ndarray) -> np.ndarray:
    """Pixels to OpenCV's fixed point with four fractional bits."""
    return np.clip(np.round(pixels * 16), -(2**20), 2**20).astype(np.int32)
