"""Known faults for a drop, so that what quality finds can be held against what was planted."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cosmos_ops.errors import UserError
from cosmos_ops.simulate.recording import Recording

PIXEL_FAULTS = ("too_short", "black", "frozen")
"""Faults of a recording, possible in every format."""
FILE_FAULTS = ("truncated_video", "missing_video")
"""Faults of a video file, planted only where a file holds one episode of one camera."""
_SHORT_FRAMES = 9


@dataclass(frozen=True)
class Planted:
    """One fault that was put in on purpose."""

    episode_index: int
    camera: str | None
    """None: the whole episode."""
    fault: str
    """One of `PIXEL_FAULTS` or `FILE_FAULTS`."""


def plan_faults(faults: tuple[str, ...], episodes: int, cameras: tuple[str, ...], seed: int) -> tuple[Planted, ...]:
    """Which episode and camera gets which fault, each episode at most one; sorted by episode."""
    unknown = set(faults) - {*PIXEL_FAULTS, *FILE_FAULTS}
    if unknown:
        raise UserError(f"fault {min(unknown)!r} is unknown; known are {', '.join(PIXEL_FAULTS + FILE_FAULTS)}")
    if len(faults) > episodes:
        raise UserError(f"{len(faults)} faults need as many episodes, there are {episodes}; ask for more episodes")
    rng = np.random.default_rng([seed, 11])
    chosen = rng.permutation(episodes)[: len(faults)]
    planted = (
        Planted(int(index), None if fault == "too_short" else cameras[int(rng.integers(len(cameras)))], fault)
        for index, fault in zip(chosen, faults, strict=True)
    )
    return tuple(sorted(planted, key=lambda item: item.episode_index))


def spoil_recording(recording: Recording, planted: Planted) -> Recording:
    """The recording with a pixel fault; telemetry keeps moving under a black or frozen camera."""
    if planted.fault == "too_short":
        frames = {camera: images[:_SHORT_FRAMES] for camera, images in recording.frames.items()}
        return replace(recording, state=recording.state[:_SHORT_FRAMES], action=recording.action[:_SHORT_FRAMES], frames=frames)
    if planted.fault == "black":
        return replace(recording, frames={**recording.frames, planted.camera: np.zeros_like(recording.frames[planted.camera])})
    if planted.fault == "frozen":
        images = recording.frames[planted.camera]
        return replace(recording, frames={**recording.frames, planted.camera: np.repeat(images[:1], len(images), axis=0)})
    return recording


def spoil_file(video: Path, planted: Planted) -> None:
    """Cut the file off as a broken copy does, or remove it; pixel faults leave it alone."""
    if planted.fault == "truncated_video":
        data = video.read_bytes()
        video.write_bytes(data[: len(data) * 6 // 10])
    elif planted.fault == "missing_video":
        video.unlink()
