"""Known faults for a drop, so that what quality finds can be held against what was planted."""

import math
from dataclasses import dataclass, replace

import numpy as np

from cosmos_ops.errors import UserError
from cosmos_ops.simulate import picture_faults, telemetry_faults
from cosmos_ops.simulate.recording import Recording

_PICTURES = {name: getattr(picture_faults, name) for name in ("constant", "blur", "exposure", "letterbox", "scene_cut")}
_TELEMETRY = {name: getattr(telemetry_faults, name) for name in ("robot_static", "state_jump", "out_of_range")}
_RECORDED = (*_PICTURES, *_TELEMETRY, "near_duplicate")
FORMATS = {
    "lerobot-v2.1": ("too_short", "black", "frozen", "truncated_video", "missing_video", "clock_drift", "gap", "duplicate", "wrong_metadata", *_RECORDED),
    "lerobot-v3.0": ("too_short", "black", "frozen", "clock_drift", "gap", "duplicate", "wrong_metadata", *_RECORDED),
    "aloha-hdf5": ("too_short", "black", "frozen", "truncated_file", "missing_video", "duplicate", "wrong_metadata", *_RECORDED),
    "ros2-mcap": ("too_short", "black", "frozen", "truncated_file", "missing_video", "clock_drift", "gap", "duplicate", "wrong_metadata", *_RECORDED),
}
"""Format -> faults that make sense in it. v3.0 keeps several episodes in a file, which cannot be broken for one; ALOHA's HDF5 has no clock."""
DRIFT = 0.06
"""How much faster or slower the drifting clock runs, as a fraction."""
GAP_S = 1.5
"""What a gap takes out of the middle."""
_SHORT_FRAMES = 9
_DETAILS = {
    "too_short": f"only the first {_SHORT_FRAMES} rows were written",
    "black": "every frame is black, telemetry moves on",
    "frozen": "the first frame is repeated, telemetry moves on",
    "truncated_video": "the video file is cut off at 60% of its bytes",
    "truncated_file": "the episode's file is cut off at 60% of its bytes",
    "missing_video": "the episode has no video of this camera",
    "constant": "every frame is one colour, telemetry moves on",
    "blur": "every frame is out of focus",
    "letterbox": f"the picture lies between black bars, each {picture_faults.BAR_PART:.0%} of its height",
    "scene_cut": "from the middle on the pictures show another view",
    "robot_static": "the robot stands still all the time",
    "state_jump": "from the middle on one joint of the state reads an offset",
    "out_of_range": f"for {telemetry_faults.WILD_S:g} s one joint of the state reads what it cannot reach",
    "gap": f"{GAP_S:g} s of rows and frames are missing in the middle, clocks jump",
}
COPIES = ("duplicate", "near_duplicate")
"""Faults that repeat another episode."""
_WRONG = {
    "lerobot-v2.1": "the episode list declares half as many frames again",
    "lerobot-v3.0": "the episode list declares half as many frames again",
    "aloha-hdf5": "the file declares twice the frame rate",
    "ros2-mcap": "metadata.yaml declares a camera that the bag does not hold",
}


@dataclass(frozen=True)
class Planted:
    """One fault that was put in on purpose."""

    episode_index: int
    camera: str | None
    """None: the whole episode."""
    fault: str
    """One of those in `FORMATS`."""
    detail: str = ""
    """One line: what exactly is wrong."""


def plan_faults(faults: tuple[str, ...], episodes: int, cameras: tuple[str, ...], seed: int, fmt: str = "lerobot-v2.1") -> tuple[Planted, ...]:
    """Which episode and camera gets which fault, each episode at most one; sorted by episode. A name may be repeated."""
    for fault in faults:
        if fault not in FORMATS[fmt]:
            known = any(fault in names for names in FORMATS.values())
            raise UserError(f"fault {fault!r} {f'cannot be planted in {fmt}' if known else 'is unknown'}; {fmt} allows {', '.join(FORMATS[fmt])}")
    copied = any(fault in COPIES for fault in faults)
    if len(faults) + copied > episodes:
        also = " and one to copy" if copied else ""
        raise UserError(f"{len(faults)} faults need as many episodes{also}, there are {episodes}; ask for more episodes")
    rng = np.random.default_rng([seed, 11])
    chosen = rng.permutation(episodes)[: len(faults)]
    planted = [
        Planted(int(index), cameras[int(rng.integers(len(cameras)))] if _of_one_camera(fault, fmt) else None, fault)
        for index, fault in zip(chosen, faults, strict=True)
    ]
    planted = _after_a_clean_one(sorted(planted, key=_place), episodes)
    return tuple(replace(item, detail=_detail(item, tuple(planted), fmt)) for item in planted)


def copied_episode(item: Planted, planted: tuple[Planted, ...]) -> int:
    """The episode that a `duplicate` or `near_duplicate` repeats: the nearest one before it that has no fault."""
    spoiled = {other.episode_index for other in planted}
    return max(index for index in range(item.episode_index) if index not in spoiled)


def drift_rate(item: Planted) -> float:
    """Seconds that the drifting clock counts in one second: fast in odd episodes, slow in even ones."""
    return 1 + DRIFT if item.episode_index % 2 else 1 - DRIFT


def spoil_recording(recording: Recording, item: Planted) -> Recording:
    """The recording with its fault, where that is one of the recording rather than of the file it will be in."""
    if item.fault in _PICTURES:
        return _PICTURES[item.fault](recording, item.camera, item.episode_index)
    if item.fault in _TELEMETRY:
        return _TELEMETRY[item.fault](recording)
    if item.fault == "near_duplicate":
        return picture_faults.handed_in_again(recording, item.episode_index)
    spoil = {"too_short": _cut, "black": _black, "frozen": _frozen, "clock_drift": _drift, "gap": _gap}.get(item.fault)
    return spoil(recording, item) if spoil else recording


def without_camera(recording: Recording, camera: str) -> Recording:
    """The recording as it is where one camera was off."""
    return replace(recording, frames={name: images for name, images in recording.frames.items() if name != camera})


def _cut(recording: Recording, item: Planted) -> Recording:
    rows = np.arange(recording.length) < _SHORT_FRAMES
    end_s = np.append(recording.clock_s, np.inf)[_SHORT_FRAMES]
    return _select(recording, rows, {camera: recording.arrival_s(camera) < end_s for camera in recording.frames})


def _gap(recording: Recording, item: Planted) -> Recording:
    missing = math.ceil(GAP_S * recording.fps)
    first = (recording.length - missing) // 2
    if first < 2:
        seconds = recording.length / recording.fps
        raise UserError(f"episode {item.episode_index} lasts {seconds:.1f} s, too short for a gap of {GAP_S:g} s; leave the fault gap out")
    rows = np.arange(recording.length)
    clock = recording.clock_s
    lost = {camera: (recording.arrival_s(camera) >= clock[first]) & (recording.arrival_s(camera) < clock[first + missing]) for camera in recording.frames}
    return _select(recording, (rows < first) | (rows >= first + missing), {camera: ~mask for camera, mask in lost.items()})


def _select(recording: Recording, rows: np.ndarray, frames: dict[str, np.ndarray]) -> Recording:
    """Those rows and frames for which the masks are true, with the times they had."""

    def times(known: dict[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
        return None if known is None else {camera: values[frames[camera]] for camera, values in known.items()}

    return replace(
        recording,
        state=recording.state[rows],
        action=recording.action[rows],
        frames={camera: images[frames[camera]] for camera, images in recording.frames.items()},
        times_s=recording.clock_s[rows],
        frame_times_s=times(recording.frame_times_s),
        arrival_times_s=times(recording.arrival_times_s),
    )


def _black(recording: Recording, item: Planted) -> Recording:
    return replace(recording, frames={**recording.frames, item.camera: np.zeros_like(recording.frames[item.camera])})


def _frozen(recording: Recording, item: Planted) -> Recording:
    images = recording.frames[item.camera]
    return replace(recording, frames={**recording.frames, item.camera: np.repeat(images[:1], len(images), axis=0)})


def _drift(recording: Recording, item: Planted) -> Recording:
    """The named camera's clock, or without one the telemetry's against frames that come at their regular rate."""
    rate = drift_rate(item)
    if item.camera is None:
        recording = recording.on_rows()
        return replace(recording, times_s=_stretched(recording.clock_s, rate))
    taken = recording.arrival_s(item.camera)
    clocks = {**(recording.frame_times_s or {}), item.camera: _stretched(recording.camera_clock_s(item.camera), rate)}
    return replace(recording, frame_times_s=clocks, arrival_times_s={**(recording.arrival_times_s or {}), item.camera: taken})


def _stretched(clock_s: np.ndarray, rate: float) -> np.ndarray:
    return clock_s[0] + (clock_s - clock_s[0]) * rate


def _of_one_camera(fault: str, fmt: str) -> bool:
    """LeRobot's videos have a constant rate and no stamps: there the telemetry's clock drifts from all of them."""
    return fault in ("black", "frozen", "truncated_video", "missing_video", *_PICTURES) or (fault == "clock_drift" and fmt == "ros2-mcap")


def _place(item: Planted) -> int:
    return item.episode_index


def _after_a_clean_one(planted: list[Planted], episodes: int) -> list[Planted]:
    """Move each duplicate that has no clean episode before it to the first clean one; its old place is clean from then on."""
    for number, item in enumerate(planted):
        clean = sorted(set(range(episodes)) - {other.episode_index for other in planted})
        if item.fault in COPIES and clean[0] > item.episode_index:
            planted[number] = replace(item, episode_index=clean[0])
    return sorted(planted, key=_place)


def _detail(item: Planted, planted: tuple[Planted, ...], fmt: str) -> str:
    if item.fault == "duplicate":
        return f"an exact copy of episode {copied_episode(item, planted)}"
    if item.fault == "near_duplicate":
        return f"a copy of episode {copied_episode(item, planted)} but for noise, brightness and the first row"
    if item.fault == "exposure":
        return f"every frame is far too {'bright' if item.episode_index % 2 else 'dark'}"
    if item.fault == "clock_drift":
        speed = f"{DRIFT:.0%} {'fast' if drift_rate(item) > 1 else 'slow'}"
        return f"the camera's clock runs {speed} against the telemetry's" if item.camera else f"the telemetry's clock runs {speed} against the videos"
    return _WRONG[fmt] if item.fault == "wrong_metadata" else _DETAILS[item.fault]
