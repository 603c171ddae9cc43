"""A clip's MP4 back to pixels."""

import io

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

# Without full chroma the scaler's exact path to RGB is 2 levels too dark.
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT


def decode_clip(video: bytes, keyframes: bool = False, height: int | None = None) -> np.ndarray:
    """[T, H, W, 3] uint8 RGB of a shard's MP4, or of its keyframes alone; equal bytes give equal pixels. Raises `ValueError` where it is no video.

    A `height` in pixels scales the frames down to it, their shape kept.
    """
    scaler, frames = VideoReformatter(), []
    try:
        with av.open(io.BytesIO(video), format="mp4") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            if keyframes:
                stream.codec_context.skip_frame = "NONKEY"
            for frame in container.decode(stream):
                size = {"height": height, "width": round(frame.width * height / frame.height)} if height and height < frame.height else {}
                flags = _EXACT ^ Interpolation.BICUBIC | Interpolation.AREA if size else _EXACT
                frames.append(scaler.reformat(frame, format="rgb24", interpolation=flags, threads=1, **size).to_ndarray())
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"not a readable clip ({error})") from None
    if not frames:
        raise ValueError("not a readable clip (no frame)")
    return np.stack(frames)
