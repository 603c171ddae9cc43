"""Single encoded pictures, as logs keep them one a row or a message: JPEG and PNG.

Colours are as any viewer shows the picture: a JPEG made from a BGR array by OpenCV, and read back by it, keeps them.
"""

from dataclasses import dataclass, replace

import av
from av.video.reformatter import Interpolation

from cosmos_ops.video.frames import UnreadableVideo

MOST_PIXELS = 1 << 25
"""8K; what is larger is no camera's picture."""
CODECS = ("mjpeg", "png")
_STARTS = {"mjpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n"}
_ENDS = {"mjpeg": b"\xff\xd9", "png": b"IEND\xaeB`\x82"}
_SIZE_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = {0x01, *range(0xD0, 0xD8)}
# A damaged picture is refused, not shown in grey; a header of a few bytes cannot ask for gigabytes.
_STRICT = {"err_detect": "crccheck+explode", "max_pixels": str(MOST_PIXELS)}
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class StillFacts:
    """What a picture's header says; nothing decoded."""

    codec: str
    """`mjpeg` or `png`."""
    height: int
    width: int
    deep: bool = False
    """True for a PNG of 16 bits a value, as depth is kept."""


def still_codec(content: bytes | memoryview) -> str | None:
    """`mjpeg` or `png` by the first bytes, None for anything else."""
    start = bytes(content[:8])
    return next((codec for codec, magic in _STARTS.items() if start.startswith(magic)), None)


def still_facts(content: bytes) -> StillFacts:
    """Read a picture's header. Raises `UnreadableVideo` for what is neither JPEG nor PNG, or ends within its header."""
    codec = still_codec(content)
    if codec == "png" and len(content) >= 24:
        width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
        return replace(_checked("png", height, width), deep=content[24:25] == b"\x10")
    if codec == "mjpeg":
        return _checked("mjpeg", *_jpeg_size(content))
    raise UnreadableVideo("neither a JPEG nor a PNG picture")


def ends_whole(codec: str, content: bytes) -> bool:
    """Whether an encoded picture has its end; zeros that pad it are ignored."""
    return content.rstrip(b"\0").endswith(_ENDS[codec])


def swapped(frame: av.VideoFrame) -> av.VideoFrame:
    """A picture whose red and blue change places."""
    rgb = frame.reformat(format="rgb24", interpolation=_EXACT, threads=1).to_ndarray()
    return av.VideoFrame.from_ndarray(rgb, format="bgr24")


class StillDecoder:
    """Decodes pictures one by one. Keeps decoder state: one a thread."""

    def __init__(self):
        self._contexts: dict[str, av.CodecContext] = {}

    def decode(self, content: bytes) -> av.VideoFrame:
        """One picture; zeros that pad it are ignored. Raises `UnreadableVideo` where it is damaged or cut short."""
        content = content.rstrip(b"\0")
        codec = still_facts(content).codec
        if not ends_whole(codec, content):
            raise UnreadableVideo("the picture is cut short")
        try:
            packet = av.Packet(content)
            packet.is_keyframe = True  # FFmpeg adds another PNG to the one before
            frames = self._context(codec).decode(packet)
        except (av.FFmpegError, ValueError) as error:
            self._contexts.pop(codec, None)
            raise UnreadableVideo(f"the picture is damaged ({getattr(error, 'strerror', None) or error})") from None
        if len(frames) != 1 or frames[0].is_corrupt:
            self._contexts.pop(codec, None)
            raise UnreadableVideo("the picture is damaged")
        return frames[0]

    def _context(self, codec: str) -> av.CodecContext:
        if codec not in self._contexts:
            context = av.CodecContext.create(codec, "r")
            context.thread_count, context.options = 1, _STRICT
            self._contexts[codec] = context
        return self._contexts[codec]


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """(height, width) from the first frame header (ITU-T T.81, B.2.2)."""
    place = 2
    while place + 9 <= len(content):
        if content[place] != 0xFF:
            break
        marker = content[place + 1]
        if marker == 0xFF or marker in _BARE_MARKERS:
            place += 1 if marker == 0xFF else 2
        elif marker in _SIZE_MARKERS:
            return int.from_bytes(content[place + 5 : place + 7]), int.from_bytes(content[place + 7 : place + 9])
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4])
    raise UnreadableVideo("the picture's header is damaged")


def _checked(codec: str, height: int, width: int) -> StillFacts:
    if height == 0 or width == 0 or height * width > MOST_PIXELS:
        raise UnreadableVideo(f"the picture's header declares {width}x{height} pixels")
    return StillFacts(codec, height, width)
