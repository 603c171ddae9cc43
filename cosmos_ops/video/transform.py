"""Bringing decoded frames to a clip's size, with the same bits on every machine."""

import math
from dataclasses import dataclass, field

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

_EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
_MARGIN_PX = 4
FITS = ("crop", "pad", "stretch")


@dataclass
class FrameFitter:
    """Fits frames into height x width pixels. Keeps scaler state: one fitter a thread.

    `crop` covers the target and cuts evenly off both sides, `pad` shows everything between black bars, `stretch` ignores the aspect.
    """

    height: int
    width: int
    fit: str = "crop"
    bars_px: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Rows and columns of the source that are cut off first: top, bottom, left, right."""
    _scaler: VideoReformatter = field(default_factory=VideoReformatter, repr=False)

    def __post_init__(self):
        assert self.fit in FITS and self.height % 2 == 0 and self.width % 2 == 0, self

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """[H, W, 3] uint8 RGB."""
        picture = np.empty((self.height, self.width, 3), np.uint8)
        self._place(self._bare(frame, self._scale(frame, "rgb24").to_ndarray()), picture, border=0)
        return picture

    def i420(self, frame: av.VideoFrame) -> np.ndarray:
        """[H * 3/2, W] uint8, planes Y, U, V of 4:2:0 (BT.601, 16-235) as encoders take them: no detour over RGB."""
        scaled = self._scale(frame, "yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG)
        picture = np.empty((self.height * 3 // 2, self.width), np.uint8)
        luma, chroma = picture[: self.height], picture[self.height :].reshape(2, self.height // 2, self.width // 2)
        self._place(self._bare(frame, _plane(scaled.planes[0])), luma, border=16)
        for plane, target in zip(scaled.planes[1:], chroma, strict=True):
            self._place(self._bare(frame, _plane(plane), 2), target, border=128, subsampling=2)
        return picture

    def _scale(self, frame: av.VideoFrame, pixel_format: str, **colour) -> av.VideoFrame:
        height, width = self._scaled_size(frame)
        smaller = height * width < frame.height * frame.width
        flags = (Interpolation.AREA if smaller else Interpolation.BICUBIC) | _EXACT
        return self._scaler.reformat(frame, width=width, height=height, format=pixel_format, interpolation=flags, threads=1, **colour)

    def _scaled_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Of the whole frame, such that what is left of it without bars has the size that it should have."""
        top, bottom, left, right = self.bars_px
        bare = frame.height - top - bottom, frame.width - left - right
        if not any(self.bars_px):
            return scaled_size(*bare, self.height, self.width, self.fit)
        # A little more, so that bars are gone where their edges fall between pixels.
        height, width = scaled_size(*bare, self.height + _MARGIN_PX, self.width + _MARGIN_PX, self.fit)
        return 2 * math.ceil(height * frame.height / bare[0] / 2), 2 * math.ceil(width * frame.width / bare[1] / 2)

    def _bare(self, frame: av.VideoFrame, scaled: np.ndarray, subsampling: int = 1) -> np.ndarray:
        """The scaled frame or plane without its bars; edges are even in luma."""
        if not any(self.bars_px):
            return scaled
        edges = []
        for size, source, (before, after) in zip(scaled.shape, (frame.height, frame.width), (self.bars_px[:2], self.bars_px[2:]), strict=False):
            scale = size * subsampling / source
            first, last = (2 * math.ceil(round(bar * scale, 6) / 2) // subsampling for bar in (before, after))
            edges.append(slice(first, size - last))
        return scaled[edges[0], edges[1]]

    def _place(self, scaled: np.ndarray, canvas: np.ndarray, border: int, subsampling: int = 1) -> None:
        """Cut or centre `scaled` into `canvas`, `border` around it; offsets are even in luma so that chroma stays on its grid."""
        rows, into_rows = _overlap(scaled.shape[0], canvas.shape[0], subsampling)
        columns, into_columns = _overlap(scaled.shape[1], canvas.shape[1], subsampling)
        if canvas.shape[:2] != (into_rows.stop - into_rows.start, into_columns.stop - into_columns.start):
            canvas[:] = border
        canvas[into_rows, into_columns] = scaled[rows, columns]


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
