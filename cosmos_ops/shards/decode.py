"""A clip's MP4 back to pixels."""

import io
from collections.abc import Iterator

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from cosmos_ops.shards.plan import window_numbers

# Without full chroma the scaler's exact path to RGB is 2 levels too dark.
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT


def decode_clip(video: bytes, keyframes: int = 0, height: int | None = None) -> np.ndarray:
    """[T, H, W, 3] uint8 RGB of a shard's MP4; equal bytes give equal pixels. Raises `ValueError` where it is no video.

    `keyframes`: only so many of its keyframes, spread evenly, where it has as many. A `height` in pixels scales frames down to it, their shape kept.
    """
    scaler, frames = VideoReformatter(), []
    try:
        with av.open(io.BytesIO(video), format="mp4") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for frame in _few(container, stream, keyframes) if keyframes else container.decode(stream):
                size = {"height": height, "width": round(frame.width * height / frame.height)} if height and height < frame.height else {}
                flags = _EXACT ^ Interpolation.BICUBIC | Interpolation.AREA if size else _EXACT
                frames.append(scaler.reformat(frame, format="rgb24", interpolation=flags, threads=1, **size).to_ndarray())
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"not a readable clip ({error})") from None
    if not frames:
        raise ValueError("not a readable clip (no frame)")
    return np.stack(frames)


def _few(container, stream, count: int) -> Iterator[av.VideoFrame]:
    """So many keyframes, the others not decoded; all frames where there are fewer."""
    packets = list(container.demux(stream))
    keys = [packet for packet in packets if packet.is_keyframe]
    for packet in [*(keys[place] for place in window_numbers(len(keys), count)), None] if len(keys) >= count else packets:
        yield from stream.codec_context.decode(packet)
