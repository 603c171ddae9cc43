"""Decoding by presentation time: a stretch of a video frame by frame, or a cheap look at some of its frames.

Times are seconds after the first frame of the file. Files are opened as containers only: a playlist dressed as a video is not followed.
"""

import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from cosmos_ops.video.frames import UnreadableVideo
from cosmos_ops.video.stills import MOST_PIXELS

TIME_SLACK_S = 1e-4
"""Clocks of containers are rational and coarse; two times closer than this are the same."""
_BOUNDED = {"max_pixels": str(MOST_PIXELS)}
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg"


@dataclass(frozen=True, eq=False)
class VideoBytes:
    """A whole video file held in memory, usable wherever a path is; `name` is what errors call it."""

    name: str
    content: bytes


@dataclass(frozen=True)
class VideoFacts:
    """What a video's header says; nothing decoded."""

    codec: str
    height: int
    width: int
    fps: float
    frames: int
    """0 where the container does not say."""
    duration_s: float
    """0 where the container does not say."""


@dataclass(frozen=True, eq=False)
class Look:
    """Some frames of a stretch of video, in order, each with its time after the stretch's start."""

    duration_s: float
    """Length of the stretch that is really there, the last frame included."""
    frames: Iterator[tuple[float, av.VideoFrame]]
    times_s: np.ndarray
    """[N] float64, ascending: the times of all frames of the stretch."""


def probe_video(path: Path | VideoBytes) -> VideoFacts:
    """Read a video's header. Raises `UnreadableVideo`."""
    with _opened(path, threads=1) as (container, stream):
        context = stream.codec_context
        whole_s = container.duration / av.time_base if container.duration else 0.0  # Matroska keeps it for the whole file only
        duration_s = float(stream.duration * stream.time_base) if stream.duration else whole_s
        return VideoFacts(context.codec.canonical_name, context.height, context.width, _rate(stream), stream.frames, duration_s)


def decode_frames(
    path: Path | VideoBytes, start_s: float = 0.0, stop_s: float = float("inf"), threads: int = 0, slack_s: float = 0.0
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Every frame with start_s <= time < stop_s, in order, as (time in seconds, frame).

    Seeks to the keyframe before `start_s`. Where `start_s` is the time of one frame, known to `slack_s` (less than half a frame), that frame counts
    though it may come a little earlier, and nothing before it is decoded where it is a keyframe. `threads` is the decoder's, 0 lets it choose.
    Raises `UnreadableVideo` when the file cannot be decoded, a frame of the stretch is damaged, or the file ends before its header says.
    """
    with _opened(path, threads) as (container, stream):
        _seek(container, stream, start_s + slack_s)
        start_s, end_s = start_s - slack_s, 0.0
        for frame in container.decode(stream):
            time_s = _time_s(frame, stream, path)
            if time_s >= stop_s - TIME_SLACK_S:
                return
            end_s = time_s + _duration_s(frame, stream)
            if time_s >= start_s - TIME_SLACK_S:
                yield time_s, _sound(frame, time_s, path)
        _check_whole(stream, end_s, stop_s, path)


def look(path: Path | VideoBytes, times_s: Sequence[float], start_s: float = 0.0, length_s: float | None = None, threads: int = 0) -> Look:
    """About one frame near each of `times_s` (ascending, seconds after `start_s`) of the stretch that starts at `start_s`.

    Where keyframes lie close enough only keyframes are decoded, otherwise the whole stretch is. `length_s` None goes to the file's end.
    Reads the stretch's packets at once, decodes as the frames are taken. Raises `UnreadableVideo`, also while iterating.
    """
    looking = _look(path, np.asarray(times_s, dtype=float), start_s, float("inf") if length_s is None else start_s + length_s, threads)
    duration_s, inside_s = next(looking)
    return Look(duration_s, looking, inside_s)


def _look(path: Path | VideoBytes, wanted_s: np.ndarray, start_s: float, stop_s: float, threads: int) -> Iterator:
    """First the stretch's duration in seconds and the times of its frames, then (time, frame) pairs.

    The packets are gone through twice, once for their times: all of them would take as much memory as the stretch is long.
    """
    with _opened(path, threads=1) as (container, stream):
        slack_s, end_s = 0.25 / _rate(stream), start_s
        times_s, keys = [], []
        for packet in _packets(container, stream, start_s, stop_s - slack_s):
            if packet is None:
                _check_whole(stream, end_s, stop_s, path)
                break
            time_s = _seconds(packet.pts, stream)
            if time_s < stop_s - slack_s:
                end_s = max(end_s, time_s + _duration_s(packet, stream))
            if start_s - slack_s <= time_s < stop_s - slack_s:
                times_s.append(time_s)
                if packet.is_keyframe:
                    keys.append(packet.pts)
    if not times_s:
        raise UnreadableVideo(f"{path.name} has no frame between {start_s:.2f} s and {stop_s:.2f} s")
    yield end_s - start_s, np.maximum(0.0, np.sort(times_s) - start_s)
    with _opened(path, threads) as (container, stream):
        place, chosen = 0, _chosen_keys(np.sort(keys), wanted_s + start_s, max(times_s), stream)
        for packet in itertools.chain(_packets(container, stream, start_s, stop_s - slack_s), [None]):
            if chosen and packet is not None and packet.pts not in chosen:
                continue
            for frame in stream.codec_context.decode(packet):
                time_s = _time_s(frame, stream, path)
                if time_s < start_s - slack_s or time_s >= stop_s - slack_s:
                    continue
                since_s = max(0.0, time_s - start_s)
                if not chosen:
                    if place >= len(wanted_s) or since_s < wanted_s[place] - TIME_SLACK_S:
                        continue
                    place += int(np.searchsorted(wanted_s[place:], since_s + TIME_SLACK_S))
                yield since_s, _sound(frame, time_s, path)
            if packet is None:
                return


def _packets(container, stream, start_s: float, stop_s: float) -> Iterator:
    """Packets with a time from the keyframe before `start_s` to `stop_s`; None follows the last where the file ends before."""
    _seek(container, stream, start_s)
    for packet in container.demux(stream):
        if packet.pts is None or packet.dts is None:
            continue
        if _seconds(packet.dts, stream) >= stop_s:
            return
        yield packet
    yield None


def _chosen_keys(keys: np.ndarray, wanted_s: np.ndarray, last_s: float, stream) -> set[int]:
    """Of the keyframes' ascending times those nearest to the wanted moments; none when some lie further off than half the wanted spacing."""
    if not len(keys) or len(wanted_s) < 2:
        return set()
    keys_s, there_s = np.array([_seconds(int(pts), stream) for pts in keys]), np.minimum(wanted_s, last_s)
    after = np.minimum(np.searchsorted(keys_s, there_s), len(keys) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(there_s - keys_s[before]) <= np.abs(keys_s[after] - there_s), before, after)
    if np.abs(keys_s[nearest] - there_s).max() > 0.5 * float(np.diff(wanted_s).max()):
        return set()
    return {int(pts) for pts in keys[nearest]}


@contextlib.contextmanager
def _opened(path: Path | VideoBytes, threads: int):
    """(container, first video stream), with every failure of the library turned into `UnreadableVideo`."""
    try:
        place = io.BytesIO(path.content) if isinstance(path, VideoBytes) else f"file:{path}"
        with av.open(place, options={"format_whitelist": _CONTAINERS, **_BOUNDED}) as container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                raise UnreadableVideo(f"{path.name} holds no video stream")
            if stream.codec_context is None:
                raise UnreadableVideo(f"{path.name} is in a codec that this build cannot decode")
            context = stream.codec_context
            if context.width * context.height > MOST_PIXELS:
                raise UnreadableVideo(f"{path.name} declares pictures of {context.width}x{context.height} pixels, no camera has that many")
            context.options = _BOUNDED  # the size may change on the way
            stream.thread_type, context.thread_count = "AUTO", threads
            yield container, stream
    except (av.FFmpegError, OSError, ValueError, ArithmeticError) as error:
        raise UnreadableVideo(f"{path.name}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def _seek(container, stream, start_s: float) -> None:
    if start_s > 0:
        container.seek(int(start_s / stream.time_base) + (stream.start_time or 0), stream=stream, backward=True)


def _seconds(pts: int, stream) -> float:
    # Whole numbers: a `Fraction` a frame takes a while with Python's lock held, and the quotient is the same.
    unit = stream.time_base
    return (pts - (stream.start_time or 0)) * unit.numerator / unit.denominator


def _time_s(frame, stream, path: Path | VideoBytes) -> float:
    if frame.pts is None:
        raise UnreadableVideo(f"{path.name} has frames without a time")
    return _seconds(frame.pts, stream)


def _rate(stream) -> float:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else 25.0


def _duration_s(part, stream) -> float:
    """How long a frame or packet lasts; one period where it does not say."""
    unit = stream.time_base
    return part.duration * unit.numerator / unit.denominator if part.duration else 1.0 / _rate(stream)


def _sound(frame, time_s: float, path: Path | VideoBytes):
    if frame.is_corrupt:
        raise UnreadableVideo(f"{path.name}: the frame at {time_s:.2f} s is damaged")
    return frame


def _check_whole(stream, end_s: float, stop_s: float, path: Path | VideoBytes) -> None:
    """A file cut short keeps its header: compare where the frames ended with where they should."""
    should_s = float(stream.duration * stream.time_base) if stream.duration else 0.0
    if end_s + 1.5 / _rate(stream) < min(should_s, stop_s):
        raise UnreadableVideo(f"{path.name} ends at {end_s:.2f} s of {should_s:.2f} s: the file is cut short")
