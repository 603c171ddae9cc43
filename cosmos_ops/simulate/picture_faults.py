"""Known faults of one camera's pictures, and of a recording that was handed in again with small changes. Telemetry moves on as it was."""

from dataclasses import replace

import cv2
import numpy as np

from cosmos_ops.simulate.recording import Recording

BLUR_PART, BAR_PART = 1 / 30, 0.15
"""Standard deviation of the blur, and height of each bar, as fractions of the picture's height."""
_OVER_GAIN, _OVER_ADDED, _UNDER_GAIN = 1.9, 20.0, 0.18
_COPY_GAIN, _COPY_NOISE, _COPY_JITTER = 1.05, 2.0, 1e-3
_COPY_CUT = 1


def constant(recording: Recording, camera: str, episode: int) -> Recording:
    """One colour, as a capture card shows it that has lost its signal."""
    colour = np.random.default_rng([episode, 31]).integers(40, 200, 3).astype(np.uint8)
    return _with(recording, camera, np.broadcast_to(colour, recording.frames[camera].shape).copy())


def blur(recording: Recording, camera: str, episode: int) -> Recording:
    """Out of focus."""
    images = recording.frames[camera]
    sigma_px = BLUR_PART * images.shape[1]
    return _with(recording, camera, np.stack([cv2.GaussianBlur(image, (0, 0), sigma_px) for image in images]))


def exposure(recording: Recording, camera: str, episode: int) -> Recording:
    """Far too bright in odd episodes, far too dark in even ones."""
    images = recording.frames[camera].astype(np.float32)
    images = images * _OVER_GAIN + _OVER_ADDED if episode % 2 else images * _UNDER_GAIN
    return _with(recording, camera, np.clip(np.rint(images), 0, 255).astype(np.uint8))


def letterbox(recording: Recording, camera: str, episode: int) -> Recording:
    """The picture squeezed between black bars."""
    images = recording.frames[camera]
    height, width = images.shape[1:3]
    bar = round(BAR_PART * height)
    boxed = np.zeros_like(images)
    for image, target in zip(images, boxed, strict=True):
        target[bar : height - bar] = cv2.resize(image, (width, height - 2 * bar), interpolation=cv2.INTER_AREA)
    return _with(recording, camera, boxed)


def scene_cut(recording: Recording, camera: str, episode: int) -> Recording:
    """From the middle on the pictures are another camera's, or the same camera's turned upside down where it is the only one."""
    images = recording.frames[camera].copy()
    other = next((frames for name, frames in recording.frames.items() if name != camera), images[:, ::-1, ::-1])
    middle = len(images) // 2
    images[middle:] = other[np.minimum(np.arange(middle, len(images)), len(other) - 1)]
    return _with(recording, camera, images)


def handed_in_again(recording: Recording, episode: int) -> Recording:
    """The same recording as another export writes it: a little brighter, noisy, its first row gone, its telemetry rounded differently."""
    rng = np.random.default_rng([episode, 37])
    frames = {}
    for camera, images in recording.frames.items():
        noise = rng.normal(0, _COPY_NOISE, images.shape).astype(np.float32)
        frames[camera] = np.clip(np.rint(images * np.float32(_COPY_GAIN) + noise), 0, 255).astype(np.uint8)[_COPY_CUT:]
    state = recording.state + rng.normal(0, _COPY_JITTER, recording.state.shape) * np.ptp(recording.state, axis=0)

    def times(known: dict[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
        return None if known is None else {camera: values[_COPY_CUT:] for camera, values in known.items()}

    return replace(
        recording,
        state=state.astype(np.float32)[_COPY_CUT:],
        action=recording.action[_COPY_CUT:],
        frames=frames,
        times_s=None if recording.times_s is None else recording.times_s[_COPY_CUT:],
        frame_times_s=times(recording.frame_times_s),
        arrival_times_s=times(recording.arrival_times_s),
    )


def _with(recording: Recording, camera: str, images: np.ndarray) -> Recording:
    return replace(recording, frames={**recording.frames, camera: images})
