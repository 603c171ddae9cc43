"""Single pictures in messages: what they are by their own bytes, whether they are whole, and the decoded frame."""

from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from cosmos_ops.logs.bags.messages import raw_bytes
from cosmos_ops.logs.bags.storage import Damaged
from cosmos_ops.video.frames import UnreadableVideo
from cosmos_ops.video.stills import CODECS, StillDecoder, ends_whole, still_codec, still_facts, swapped

RAW = {
    "rgb8": ("rgb24", 3),
    "bgr8": ("bgr24", 3),
    "rgba8": ("rgba", 4),
    "bgra8": ("bgra", 4),
    "mono8": ("gray", 1),
    "8uc1": ("gray", 1),
    "8uc3": ("bgr24", 3),
    "8uc4": ("bgra", 4),
    "yuv422": ("uyvy422", 2),
    "uyvy": ("uyvy422", 2),
    "yuv422_yuy2": ("yuyv422", 2),
    "yuyv": ("yuyv422", 2),
    "bayer_rggb8": ("bayer_rggb8", 1),
    "bayer_bggr8": ("bayer_bggr8", 1),
    "bayer_gbrg8": ("bayer_gbrg8", 1),
    "bayer_grbg8": ("bayer_grbg8", 1),
}
"""Encodings of `sensor_msgs/Image` -> pixel format, bytes a pixel. https://docs.ros.org/en/api/sensor_msgs/html/image__encodings_8h_source.html"""
_DEPTH = ("16uc1", "32fc1", "mono16", "16sc1", "64fc1")
_SWAPPED = {"rgb24": "bgr24", "bgr24": "rgb24", "rgba": "bgra", "bgra": "rgba"}
_MOST_PX = 16_384


@dataclass(frozen=True)
class Picture:
    """One picture as a message holds it."""

    encoding: str
    """`mjpeg` or `png`, or an encoding of raw pixels in lower case."""
    data: bytes | memoryview
    height: int = 0
    width: int = 0
    step: int = 0
    """Bytes a row, padding included."""

    @property
    def refusal(self) -> str | None:
        """Why pictures of this encoding are not video, None where they are."""
        if self.encoding in _DEPTH or "compresseddepth" in self.encoding:
            return f"it holds depth or 16 bit values ({self.encoding}), not a picture in colour or grey"
        known = self.encoding in RAW or self.encoding in CODECS
        return None if known else f"its pictures are {self.encoding or 'of no declared encoding'}, known are JPEG, PNG, {', '.join(RAW)}"

    @property
    def whole(self) -> bool:
        """False where bytes are missing."""
        if self.encoding in CODECS:
            return ends_whole(self.encoding, bytes(self.data))
        row_bytes = self.width * RAW[self.encoding][1]
        sane = 0 < self.height <= _MOST_PX and 0 < self.width <= _MOST_PX and self.step >= row_bytes
        return sane and len(self.data) >= self.step * (self.height - 1) + row_bytes


def picture(message: Any) -> Picture:
    """The picture in a message. Raises `Damaged` where its fields make no sense."""
    try:
        data, encoding = raw_bytes(message.data), getattr(message, "encoding", None)
        if encoding is not None:
            return Picture(str(encoding).strip().lower(), data, int(message.height), int(message.width), int(message.step))
        declared = str(getattr(message, "format", "")).lower()
    except (AttributeError, TypeError, ValueError) as error:
        raise Damaged(f"it is no picture ({error})") from None
    if "compresseddepth" in declared.replace(" ", ""):
        return Picture("compresseddepth", data)
    content = bytes(data)
    codec = still_codec(content)
    if codec is None:
        return Picture(declared[:40], content)
    try:
        facts = still_facts(content)
    except UnreadableVideo as error:
        raise Damaged(str(error)) from None
    return Picture("16uc1" if facts.deep else codec, content, facts.height, facts.width)


class PictureDecoder:
    """Decodes pictures of one camera; keeps codecs between pictures. For one thread."""

    def __init__(self, swap_red_blue: bool = False):
        self._swap = swap_red_blue
        self._stills = StillDecoder()

    def __call__(self, found: Picture) -> av.VideoFrame:
        """Raises `Damaged`."""
        if found.refusal or not found.whole:
            raise Damaged(found.refusal or "the picture is cut short")
        if found.encoding in RAW:
            return self._raw(found)
        try:
            frame = self._stills.decode(found.data)
        except UnreadableVideo as error:
            raise Damaged(str(error)) from None
        return swapped(frame) if self._swap else frame

    def _raw(self, found: Picture) -> av.VideoFrame:
        pixel_format, size = RAW[found.encoding]
        row_bytes = found.width * size
        needed = found.step * (found.height - 1) + row_bytes
        flat = np.zeros(found.step * found.height, np.uint8)
        flat[:needed] = np.frombuffer(found.data, np.uint8, needed)
        frame = av.VideoFrame(found.width, found.height, _SWAPPED.get(pixel_format, pixel_format) if self._swap else pixel_format)
        plane = frame.planes[0]
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: found.height, :row_bytes] = flat.reshape(found.height, -1)[:, :row_bytes]
        return frame
