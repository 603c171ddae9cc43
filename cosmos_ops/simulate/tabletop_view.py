"""What the two cameras of the tabletop see: drawn twice as large as asked, far things first, and averaged down."""

from functools import cache

import cv2
import numpy as np

from cosmos_ops.simulate.solids import Pinhole, Solid, cast_shadows, look_at, paint
from cosmos_ops.simulate.tabletop_operator import Motion
from cosmos_ops.simulate.tabletop_scene import ARM_BASE_M, COLOURS, GRIPPER_MAX_OPENING_M, TABLE_M, TRAY_FLOOR_M, TRAY_HALF_M, Light, Scene, tool_position

CAMERAS = ("front", "wrist")
_OVERSAMPLE = 2
_TEXTURE_PX_PER_M = 640
_LINK_M = ((0.175, 0.225, 0.036, 0.032), (0.13, 0.172, 0.031, 0.027))
"""Underside, top, radius at the near and at the far joint of each link, metres."""
_WHITE, _ORANGE, _DARK, _GREY, _TRAY = (232, 234, 238), (245, 130, 30), (52, 56, 66), (120, 126, 138), (92, 104, 124)
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 18, endpoint=False)), np.sin(np.linspace(0, 2 * np.pi, 18, endpoint=False))], axis=1)
_SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)


class TabletopView:
    """Draws the frames of one scene. One instance is for one thread."""

    def __init__(self, scene: Scene, height_px: int, width_px: int):
        self._scene = scene
        self._size = (width_px * _OVERSAMPLE, height_px * _OVERSAMPLE)
        self._texture = _lit_table(scene.light)
        self._room = np.clip(_room(self._size) * scene.light.gain, 0, 255).astype(np.uint8)
        self._tray = _tray(scene)
        self._front = look_at((0.0, -0.46, 0.66), (0.0, 0.275, 0.055), 1.16 * self._size[0], self._size)
        self._front_background = self._background(self._front)

    def frames(self, motion: Motion, camera: str) -> np.ndarray:
        """Every frame of one camera: uint8 [T, H, W, 3] RGB."""
        return np.stack([self.frame(motion, index, camera) for index in range(len(motion.gripper))])

    def frame(self, motion: Motion, index: int, camera: str) -> np.ndarray:
        """One frame: uint8 [H, W, 3] RGB."""
        joints, opening = motion.joints[index], motion.gripper[index]
        elbow, tool = tool_position(joints)
        yaw = joints[:3].sum() + np.pi / 2
        things = [(pose[1], self._thing(number, pose)) for number, pose in enumerate(motion.things[index])]
        fingers = _fingers(tool, joints[3], yaw, opening)
        links = _arm(elbow, tool)
        light = self._scene.light
        if camera == "front":
            pinhole, image = self._front, self._front_background.copy()
            # The column stands behind everything, links hang above everything, the tool is among the things.
            far_first = sorted(things, key=lambda item: -item[0])
            behind, before = ([solid for y, solid in far_first if (y > tool[1]) == beyond] for beyond in (True, False))
            order = [*_column(), *behind, *fingers, *before, *links]
        else:
            pinhole = _wrist_camera(tool, joints[3], yaw, self._size)
            image = self._background(pinhole)
            # The lens sits below the palm, so of the tool only the fingers show; what is held is nearest.
            order = [*sorted((solid for _, solid in things), key=lambda solid: solid.high_m), *fingers[:2]]
        cast_shadows(image, pinhole, [*(solid for _, solid in things), *fingers, *links, *_column()], light)
        paint(image, pinhole, order, light)
        return cv2.resize(image, None, fx=1 / _OVERSAMPLE, fy=1 / _OVERSAMPLE, interpolation=cv2.INTER_AREA)

    def _background(self, pinhole: Pinhole) -> np.ndarray:
        """What never moves: the room, the table top and the tray."""
        to_world = np.array([[1 / _TEXTURE_PX_PER_M, 0, TABLE_M[0][0]], [0, 1 / _TEXTURE_PX_PER_M, TABLE_M[0][1]], [0, 0, 1]])
        image = self._room.copy()
        matrix = pinhole.ground_homography() @ to_world
        cv2.warpPerspective(self._texture, matrix, self._size, image, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)
        paint(image, pinhole, self._tray, self._scene.light)
        return image

    def _thing(self, number: int, pose: np.ndarray) -> Solid:
        thing = self._scene.things[number]
        shape = _turned(_SQUARE, pose[3]) if thing.shape == "block" else _CIRCLE
        return Solid(pose[:2] + shape * thing.radius_m, pose[2], pose[2] + thing.height_m, COLOURS[thing.colour])


def _tray(scene: Scene) -> list[Solid]:
    centre, half, wall, rim = np.array(scene.tray_m), np.array(TRAY_HALF_M), 0.006, 0.02
    solids = [Solid(centre + _SQUARE * half, 0.0, TRAY_FLOOR_M, _TRAY)]
    for axis, sign in ((1, 1), (0, -1), (0, 1), (1, -1)):
        middle, size = centre.copy(), half + wall
        middle[axis] += sign * half[axis]
        size[axis] = wall
        solids.append(Solid(middle + _SQUARE * size, 0.0, rim, _GREY))
    return solids


def _column() -> list[Solid]:
    base = np.array(ARM_BASE_M)
    return [Solid(base + _CIRCLE * 0.075, 0.0, 0.03, _DARK), Solid(base + _CIRCLE * 0.048, 0.03, 0.175, _GREY)]


def _arm(elbow: np.ndarray, tool: np.ndarray) -> list[Solid]:
    base = np.array(ARM_BASE_M)
    solids = []
    for start, end, (low, high, near, far) in ((elbow, tool, _LINK_M[1]), (base, elbow, _LINK_M[0])):
        solids.append(Solid(_capsule(start, end, near, far), low, high, _WHITE))
    caps = [Solid(tool + _CIRCLE * 0.021, 0.172, 0.19, _ORANGE), Solid(elbow + _CIRCLE * 0.026, 0.225, 0.235, _ORANGE)]
    return [solids[0], caps[0], solids[1], caps[1], Solid(base + _CIRCLE * 0.03, 0.225, 0.235, _ORANGE)]


def _fingers(tool: np.ndarray, height: float, yaw: float, opening: float) -> list[Solid]:
    gap = opening * GRIPPER_MAX_OPENING_M / 2 + 0.007
    across = np.array([np.cos(yaw), np.sin(yaw)])
    palm = Solid(tool + _turned(_SQUARE * (0.058, 0.014), yaw), height + 0.06, height + 0.085, _DARK)
    rod = Solid(tool + _CIRCLE * 0.013, height + 0.085, max(height + 0.09, 0.14), _GREY)
    pair = [Solid(tool + sign * gap * across + _turned(_SQUARE * (0.008, 0.012), yaw), height - 0.012, height + 0.06, _ORANGE) for sign in (1, -1)]
    return [*sorted(pair, key=lambda solid: -solid.outline[:, 1].mean()), palm, rod]


def _capsule(start: np.ndarray, end: np.ndarray, near: float, far: float) -> np.ndarray:
    points = np.concatenate([start + _CIRCLE * near, end + _CIRCLE * far]).astype(np.float32)
    outline = cv2.convexHull(points, clockwise=False)[:, 0]
    return outline.astype(float)


def _wrist_camera(tool: np.ndarray, height: float, yaw: float, size: tuple[int, int]) -> Pinhole:
    back = np.array([-np.sin(yaw), np.cos(yaw)])
    eye = np.array([*(tool + back * 0.075), height + 0.17])
    target = np.array([*(tool - back * 0.02), height - 0.01])
    return look_at(eye, target, 0.62 * size[0], size, up=np.array([*-back, 0.0]))


@cache
def _planks() -> np.ndarray:
    """A wooden table top with grain: float32 [H, W, 3], 0-255."""
    rng = np.random.default_rng(7)
    (left, near), (right, far) = TABLE_M
    width, height = round((right - left) * _TEXTURE_PX_PER_M), round((far - near) * _TEXTURE_PX_PER_M)
    grain = cv2.resize(rng.normal(size=(height // 3, width // 80)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.normal(size=(height // 2, width // 24)).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    across = np.arange(height)[:, None] * 6 / height
    tone = rng.normal(size=6)[across.astype(int)] * 5 + grain * 4 + fine * 2.2
    tone = np.where(np.abs((across + 0.5) % 1 - 0.5) < 0.018, tone - 22, tone)
    return ((196, 158, 116) + tone[..., None] * (1.0, 0.92, 0.8)).astype(np.float32)


def _lit_table(light: Light) -> np.ndarray:
    """The table top, brighter below the lamp: uint8 [H, W, 3]."""
    planks = _planks()
    (left, near), (right, far) = TABLE_M
    xs = np.linspace(left, right, planks.shape[1], dtype=np.float32)
    ys = np.linspace(near, far, planks.shape[0], dtype=np.float32)[:, None]
    distance = (xs - light.direction[0] * 0.4) ** 2 + (ys - 0.25 - light.direction[1] * 0.3) ** 2
    return np.clip(planks * (1.08 - 0.55 * distance)[..., None] * np.float32(light.gain), 0, 255).astype(np.uint8)


def _room(size: tuple[int, int]) -> np.ndarray:
    """What is seen past the table's edges: a wall fading downwards, float [H, W, 3]."""
    fade = np.linspace(1.0, 0.55, size[1])[:, None, None]
    return np.broadcast_to(np.array([112, 124, 140]) * fade, (size[1], size[0], 3))


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])
