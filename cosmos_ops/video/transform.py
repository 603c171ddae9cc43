"""Bringing decoded frames to a clip's size, with the same bits on every machine."""

from dataclasses import dataclass, field

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

_EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
FITS = ("crop", "pad", "stretch")


@dataclass
class FrameFitter:
    """Fits frames into height x width pixels. Keeps scaler state: one fitter a thread.

    `crop` covers the target and cuts evenly off both sides, `pad` shows everything between black bars, `stretch` ignores the aspect.
    """

    height: int
    width: int
    fit: str = "crop"
    _scaler: VideoReformatter = field(default_factory=VideoReformatter, repr=False)

    def __post_init__(self):
        assert self.fit in FITS and self.height % 2 == 0 and self.width % 2 == 0, self

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """[H, W, 3] uint8 RGB."""
        scaled = self._scale(frame, "rgb24").to_ndarray()
        return self._place(scaled, np.zeros((self.height, self.width, 3), np.uint8))

    def i420(self, frame: av.VideoFrame) -> np.ndarray:
        """[H * 3/2, W] uint8, planes Y, U, V of 4:2:0 (BT.601, 16-235) as encoders take them: no detour over RGB."""
        scaled = self._scale(frame, "yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG)
        luma, *chroma = (_plane(plane) for plane in scaled.planes)
        height, width = self.height // 2, self.width // 2
        planes = [self._place(luma, np.full((self.height, self.width), 16, np.uint8))]
        planes += [self._place(plane, np.full((height, width), 128, np.uint8), 2) for plane in chroma]
        return np.concatenate([plane.reshape(-1, self.width) for plane in planes])

    def _scale(self, frame: av.VideoFrame, pixel_format: str, **colour) -> av.VideoFrame:
        height, width = scaled_size(frame.height, frame.width, self.height, self.width, self.fit)
        smaller = height * width < frame.height * frame.width
        flags = (Interpolation.AREA if smaller else Interpolation.BICUBIC) | _EXACT
        return self._scaler.reformat(frame, width=width, height=height, format=pixel_format, interpolation=flags, threads=1, **colour)

    def _place(self, scaled: np.ndarray, canvas: np.ndarray, subsampling: int = 1) -> np.ndarray:
        """Cut or centre `scaled` into `canvas`; offsets are even in luma so that chroma stays on its grid."""
        rows, into_rows = _overlap(scaled.shape[0], canvas.shape[0], subsampling)
        columns, into_columns = _overlap(scaled.shape[1], canvas.shape[1], subsampling)
        canvas[into_rows, into_columns] = scaled[rows, columns]
        return canvas


def scaled_size(source_height: int, source_width: int, height: int, width: int, fit: str) -> tuple[int, int]:
    """(height, width) in pixels, even, to which a frame is scaled before it is cut or padded."""
    if fit == "stretch":
        return height, width
    ratios = (height / source_height, width / source_width)
    scale = max(ratios) if fit == "crop" else min(ratios)
    scaled = [max(2, 2 * round(size * scale / 2)) for size in (source_height, source_width)]
    limit = max if fit == "crop" else min
    return limit(scaled[0], height), limit(scaled[1], width)


def crop_loss(source_height: int, source_width: int, height: int, width: int, fit: str = "crop") -> float:
    """Fraction of the source's area, 0..1, that does not reach the clip; 0 unless `fit` is crop."""
    if fit != "crop":
        return 0.0
    scaled_height, scaled_width = scaled_size(source_height, source_width, height, width, fit)
    return 1.0 - (height * width) / (scaled_height * scaled_width)


def _overlap(size: int, target: int, subsampling: int) -> tuple[slice, slice]:
    step = 2 // subsampling
    offset = abs(size - target) // 2 // step * step
    span = min(size, target)
    cut, whole = slice(offset, offset + span), slice(0, span)
    return (cut, whole) if size > target else (whole, cut)


def _plane(plane) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
