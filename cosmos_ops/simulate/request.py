"""What a simulated drop is asked to be, checked before anything is written."""

import importlib.util
from dataclasses import asdict, dataclass

from cosmos_ops.errors import UserError
from cosmos_ops.simulate.faults import FORMATS, Planted, plan_faults
from cosmos_ops.simulate.lerobot_writer import CRF
from cosmos_ops.simulate.robots import simulator

GENERATOR_VERSION = "2"
"""Raised whenever equal arguments would give other bytes."""
HEIGHT_PX, WIDTH_PX = 160, 256
_SMALLEST_PX, _LARGEST_PX = 32, 4096
_PICTURE_FORMATS = ("aloha-hdf5", "ros2-mcap")
_PACKAGES = {"aloha-hdf5": {"h5py": "h5py"}, "ros2-mcap": {"mcap": "mcap", "mcap_ros2": "mcap-ros2-support"}}
"""Format -> modules that it needs -> the packages they are in."""


@dataclass(frozen=True)
class Request:
    """Equal requests give equal drops. Made by `drop_request`."""

    seed: int
    episodes: int
    fmt: str
    robot: str
    cameras: tuple[str, ...]
    height_px: int
    width_px: int
    raw_images: bool
    crf: int
    planted: tuple[Planted, ...]

    def marker(self) -> dict:
        """What the drop says of itself. Settings are left out where they have the value they had before they could be set."""
        size = {} if (self.height_px, self.width_px) == (HEIGHT_PX, WIDTH_PX) else {"height_px": self.height_px, "width_px": self.width_px}
        return {
            "generator": self.robot,
            "version": GENERATOR_VERSION,
            "seed": self.seed,
            "episodes": self.episodes,
            "format": self.fmt,
            "cameras": list(self.cameras),
            **size,
            **({"raw_images": True} if self.raw_images else {}),
            **({"crf": self.crf} if self.crf != CRF else {}),
            "planted": [asdict(item) for item in self.planted],
        }


def drop_request(
    seed: int,
    episodes: int,
    fmt: str = "lerobot-v3.0",
    faults: bool | tuple[str, ...] = False,
    robot: str = "tabletop",
    cameras: tuple[str, ...] | None = None,
    height_px: int | None = None,
    width_px: int | None = None,
    raw_images: bool = False,
    crf: int = CRF,
) -> Request:
    """See `drops.write_drop`. Raises `UserError` for what cannot be done, before anything is written."""
    if fmt not in FORMATS:
        raise UserError(f"format {fmt!r} cannot be written; choose from {', '.join(FORMATS)}")
    if episodes < 1:
        raise UserError(f"{episodes} episodes make no drop; ask for at least 1")
    if seed < 0:
        raise UserError(f"seed {seed} is below 0; use a whole number from 0")
    known = simulator(robot).cameras
    cameras = known[:2] if cameras is None else tuple(cameras)
    strange = next((camera for camera in cameras if camera not in known), None)
    if strange is not None or len(set(cameras)) < max(1, len(cameras)):
        what = f"robot {robot} has no camera {strange!r}" if strange is not None else f"cameras {', '.join(cameras) or 'none'}"
        raise UserError(f"{what}; name one or more of {', '.join(known)}, each once")
    if height_px is None or width_px is None:
        scale = height_px / HEIGHT_PX if height_px is not None else width_px / WIDTH_PX if width_px is not None else 1
        height_px, width_px = height_px or 2 * round(scale * HEIGHT_PX / 2), width_px or 2 * round(scale * WIDTH_PX / 2)
    if any(size % 2 or not _SMALLEST_PX <= size <= _LARGEST_PX for size in (height_px, width_px)):
        raise UserError(f"{width_px}x{height_px} pixels cannot be filmed; use even numbers from {_SMALLEST_PX} to {_LARGEST_PX}")
    if raw_images and fmt not in _PICTURE_FORMATS:
        raise UserError(f"{fmt} holds video, not pictures; leave raw images out, or use {' or '.join(_PICTURE_FORMATS)}")
    if not 0 <= crf <= 40:
        raise UserError(f"crf {crf} is no quality of a video to learn from; use 0 (lossless) to 40")
    for module, package in _PACKAGES.get(fmt, {}).items():
        if importlib.util.find_spec(module) is None:
            raise UserError(f"{fmt} cannot be written: the package {package} is not installed; run pip install {package}")
    wanted = FORMATS[fmt] if faults is True else tuple(faults or ())
    planted = plan_faults(wanted, episodes, cameras, seed, fmt)
    return Request(seed, episodes, fmt, robot, cameras, height_px, width_px, raw_images, crf, planted)
