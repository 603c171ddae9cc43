"""One pass over the frames of a camera that are looked at: what is kept of each is small, whatever the camera's size."""

from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from cosmos_ops.quality.signals import blur

LUMA_SIZE_PX = (48, 64)
"""Height and width at which pixels are judged: 3 KB a frame."""
MOST_SAMPLES = 8192
"""Frames of one camera of one episode that are looked at; a longer episode is looked at less often. With `LUMA_SIZE_PX` this bounds memory to 26 MB."""
_BLUR_HEIGHT_PX = 160
"""Sharpness is judged at the size at which a clip may show it, not at the sensor's."""
_THUMBNAILS, _THUMBNAIL_HEIGHT_PX = 6, 96
_FLAGS = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass(frozen=True, eq=False)
class Seen:
    """What one pass keeps."""

    times_s: np.ndarray
    """[N] of the frames looked at."""
    luma: np.ndarray
    """[N, 48, 64] uint8."""
    blurred: np.ndarray
    """[N], see `signals.blur`."""
    brightest: np.ndarray
    """[1, H, W] uint8: every pixel's greatest luma in a few frames spread over the episode, at the camera's own size."""
    thumbnails: tuple[np.ndarray, ...]
    """A few frames, [h, w, 3] uint8 RGB."""
    size_px: tuple[int, int]
    """The frames' own height and width."""


def sample_times(duration_s: float, sample_fps: float) -> np.ndarray:
    """Moments at which an episode is looked at."""
    every_s = max(1.0 / sample_fps, duration_s / MOST_SAMPLES)
    return np.arange(0.0, max(duration_s, 1e-3), every_s)


def see(frames: Iterator, expected: int) -> Seen:
    """Take frames one by one; none is kept. `expected` spreads the thumbnails. Raises what decoding raises."""
    scaler, small, times_s, blurred, luma, thumbnails, brightest = VideoReformatter(), VideoReformatter(), [], [], [], [], None
    every = max(1, expected // _THUMBNAILS)
    for place, frame in enumerate(frames):
        image = frame.image
        height = min(_BLUR_HEIGHT_PX, image.height)
        gray = _gray(scaler, image, height, max(2, round(image.width * height / image.height)))
        blurred.append(blur(gray.to_ndarray()))
        luma.append(_gray(small, gray, *LUMA_SIZE_PX).to_ndarray())
        times_s.append(frame.time_s)
        if place % every == every // 2 and len(thumbnails) < _THUMBNAILS:
            width = max(2, round(image.width * _THUMBNAIL_HEIGHT_PX / image.height))
            thumbnail = image.reformat(width=width, height=_THUMBNAIL_HEIGHT_PX, format="rgb24", interpolation=_FLAGS, threads=1)
            thumbnails.append(thumbnail.to_ndarray())
            whole = image.reformat(format="gray", interpolation=_FLAGS, dst_color_range=ColorRange.JPEG, threads=1).to_ndarray()
            brightest = whole if brightest is None or brightest.shape != whole.shape else np.maximum(brightest, whole)
        size = (image.height, image.width)
    if not luma:
        return Seen(np.zeros(0), np.zeros((0, *LUMA_SIZE_PX), np.uint8), np.zeros(0), np.zeros((0, 0, 0), np.uint8), (), (0, 0))
    brightest = np.zeros((0, 0, 0), np.uint8) if brightest is None else brightest[None]
    return Seen(np.array(times_s), np.stack(luma), np.array(blurred), brightest, tuple(thumbnails), size)


def _gray(scaler: VideoReformatter, image: av.VideoFrame, height: int, width: int) -> av.VideoFrame:
    return scaler.reformat(image, width=width, height=height, format="gray", interpolation=_FLAGS, dst_color_range=ColorRange.JPEG, threads=1)
