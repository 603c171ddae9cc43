"""Video streams cut into messages (foxglove.CompressedVideo): one access unit a message, decodable from where a stream can be entered."""

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av

from cosmos_ops.logs.bags.storage import Damaged

CODECS = {"h264": "h264", "h265": "hevc", "hevc": "hevc"}
_START_CODE = re.compile(b"\x00\x00\x01")
_TIME_BASE = Fraction(1, 1_000_000)
_HEAD_BYTES = 2**16
"""Headers come first in an access unit: further in there are only slices."""


class Part(NamedTuple):
    """What one message of a stream holds."""

    picture: bool
    """True where it shows something; headers may come alone."""
    entry: bool
    """True where decoding can begin: headers, and no picture that needs an earlier one."""


def codec_of(declared: str) -> str | None:
    """The decoder for the `format` of a message, None for an unknown one."""
    return CODECS.get(declared.strip().lower())


def part(codec: str, data: bytes | memoryview) -> Part:
    """Look at the headers of one access unit (ITU-T H.264 table 7-1, H.265 table 7-1). Raises `Damaged` for what is not in Annex B."""
    shown = headers = key = False
    head = bytes(data[:_HEAD_BYTES])
    if _START_CODE.search(head) is None:
        raise Damaged("it holds no start code, so it is no access unit in Annex B")
    for found in _START_CODE.finditer(head):
        if found.end() >= len(head):
            break
        unit = head[found.end()] & 0x1F if codec == "h264" else (head[found.end()] >> 1) & 0x3F
        headers |= unit == (7 if codec == "h264" else 33)
        if 1 <= unit <= 5 if codec == "h264" else unit <= 31:
            shown, key = True, unit == 5 if codec == "h264" else 16 <= unit <= 23
            break
    return Part(shown, headers and (key or not shown))


def decode_stream(codec: str, packets: Iterable[tuple[int, bytes | memoryview]], threads: int = 0) -> Iterator[tuple[int, av.VideoFrame]]:
    """(number, frame) of (number, access unit) pairs in the order of the stream. Raises `Damaged`."""
    try:
        context = av.CodecContext.create(codec, "r")
        context.thread_type, context.thread_count = "AUTO", threads
        held = b""
        for number, data in packets:
            if not part(codec, data).picture:  # headers alone are no packet to the decoder: they go with the next picture
                held += bytes(data)
                continue
            yield from _frames(context.decode(_packet(held + bytes(data), number)))
            held = b""
        yield from _frames(context.decode(None))
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise Damaged(f"the {codec} stream cannot be decoded ({getattr(error, 'strerror', None) or error})") from None


def _packet(data: bytes, number: int) -> av.Packet:
    """A packet in FFmpeg's own memory: decoder threads would need Python's lock to free one in Python's, and closing a decoder waits for them with it."""
    packet = av.Packet(len(data))
    packet.update(data)
    packet.pts, packet.time_base = number, _TIME_BASE
    return packet


def _frames(frames: list[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
    for frame in frames:
        if frame.is_corrupt or frame.pts is None:
            raise Damaged("the stream has a damaged frame")
        yield frame.pts, frame
