"""Encoding clips as H.264 in MP4: equal frames and settings give equal bytes with the same encoder build."""

import functools
import io
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

_BT601 = 6
"""SMPTE 170M in the numbering of ITU-T H.273, for matrix, primaries and transfer alike."""
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def encode_mp4(frames: Iterable[np.ndarray], fps: float, target: Path | BinaryIO, crf: int = 18, preset: str = "veryfast", gop: int = 8) -> int:
    """Encode frames, all of one size, at a constant rate; returns how many.

    Each frame is uint8, either [H, W, 3] RGB or [H * 3/2, W] planes of 4:2:0 as `FrameFitter.i420` gives them; H and W even. One thread, no
    B-frames (the first frame is at time 0, any frame needs at most `gop` decoded), a keyframe every `gop` frames, no time stamps of today.
    """
    scaler, rate, count = VideoReformatter(), Fraction(fps).limit_denominator(100_000), 0
    period = 1 / rate
    with av.open(target if hasattr(target, "write") else str(target), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = None
        for count, image in enumerate(frames, start=1):
            if stream is None:
                stream = _add_stream(container, image, rate, crf, preset, gop)
            frame = _as_yuv(image, scaler)
            frame.pts, frame.time_base = count - 1, period
            container.mux(stream.encode(frame))
        assert stream is not None, "a clip has at least one frame"
        container.mux(stream.encode(None))
    return count


@functools.cache
def encoder_build() -> str:
    """The libraries that decide the bytes of a clip, scaler included: part of what identifies shards."""
    sample = io.BytesIO()
    encode_mp4([np.zeros((32, 32, 3), np.uint8)], 8, sample)
    x264 = re.search(rb"x264 - (core [\w ]+)", sample.getvalue())
    versions = [f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavcodec", "libavformat", "libswscale")]
    return ", ".join([*versions, f"x264 {x264.group(1).decode().strip() if x264 else 'unknown'}"])


def _add_stream(container, image: np.ndarray, rate: Fraction, crf: int, preset: str, gop: int):
    options = {"crf": str(crf), "preset": preset, "g": str(gop), "keyint_min": str(gop), "sc_threshold": "0", "bf": "0"}
    # x264's macroblock tree, as vectorised for AVX-512, gives other bytes now and then on small pictures (about 1 clip in 40 at 64x48, one thread,
    # equal input); without it the quality is constant over the picture, at the same speed.
    options["mbtree"] = "0"
    stream = container.add_stream("libx264", rate=rate, options=options)
    height, width = (image.shape[0], image.shape[1]) if image.ndim == 3 else (image.shape[0] * 2 // 3, image.shape[1])
    context = stream.codec_context
    context.height, context.width, context.pix_fmt = height, width, "yuv420p"
    context.thread_count = 1
    context.flags |= Flags.bitexact
    context.colorspace = context.color_primaries = context.color_trc = _BT601
    context.color_range = ColorRange.MPEG
    return stream


def _as_yuv(image: np.ndarray, scaler: VideoReformatter) -> av.VideoFrame:
    if image.ndim == 2:
        # Not copied: the encoder takes a copy of its own.
        return av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), format="yuv420p")
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    colour = {"dst_colorspace": Colorspace.ITU601, "dst_color_range": ColorRange.MPEG}
    return scaler.reformat(frame, format="yuv420p", interpolation=_EXACT, threads=1, **colour)
