"""From the source video to encoded clips: windows of one camera in one pass over the video, on one encoder thread each."""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from cosmos_ops.logs.base import Camera, Episode, LogReader, TimedFrame
from cosmos_ops.profiles import ClipGeometry, ShardSettings
from cosmos_ops.shards.likeness import Likeness, telemetry_likeness
from cosmos_ops.video.encode import encode_mp4
from cosmos_ops.video.resample import nearest_frames
from cosmos_ops.video.transform import FrameFitter


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """Pixels and telemetry of one clip."""

    video: bytes
    """MP4."""
    video_sha256: str
    actions: np.ndarray
    """[T, A] float32: the telemetry row nearest in time to each frame."""
    frame_times_s: list[float]
    """Recorded times of the frames taken, on the episode's clock."""
    likeness: str | None
    """See `likeness.Likeness.bits`."""
    telemetry_likeness: str | None
    """See `likeness.telemetry_likeness`: of the actions, of the state where there are none."""


def transcode(
    reader: LogReader,
    episode: Episode,
    camera: Camera,
    windows: list[list[float]],
    fps: float,
    geometry: ClipGeometry,
    settings: ShardSettings,
    bars_px: tuple[int, int, int, int] = (0, 0, 0, 0),
    threads: int = 1,
) -> Iterator[EncodedClip]:
    """Encode `windows` (frame times in seconds, ascending, apart) of one camera, decoding the source once, on `threads`. `bars_px` of the
    source are cut off: top, bottom, left, right.

    Frames go from the decoder to the encoder one by one; no window is held as pixels. Equal inputs give equal bytes.
    Raises `UnreadableVideo`.
    """
    fitter = FrameFitter(geometry.height, geometry.width, geometry.fit, bars_px)
    chosen = chain.from_iterable(nearest_frames(_decoded(reader, episode, camera, run, fps, threads), list(chain(*run))) for run in _passes(windows, fps))
    for times_s in windows:
        taken, target, likeness = [], io.BytesIO(), Likeness(len(times_s))
        encode_mp4(_fitted(islice(chosen, len(times_s)), fitter, taken, likeness), fps, target, settings.crf, settings.preset, settings.gop)
        assert len(taken) == len(times_s), (len(taken), len(times_s))
        video, actions = target.getvalue(), actions_at(episode, taken)
        motion = telemetry_likeness(actions if actions.size else episode.state[_rows_at(episode, taken)])
        yield EncodedClip(video, hashlib.sha256(video).hexdigest(), actions, [round(time_s, 6) for time_s in taken], likeness.bits(), motion)


def actions_at(episode: Episode, times_s: list[float]) -> np.ndarray:
    """[T, A] float32 actions of the telemetry rows nearest to `times_s`, the earlier on a tie."""
    # Some logs hold one action less than states (none leads out of the last state): the last one stands for its end.
    return np.ascontiguousarray(episode.action[np.minimum(_rows_at(episode, times_s), len(episode.action) - 1)], dtype=np.float32)


def _rows_at(episode: Episode, times_s: list[float]) -> np.ndarray:
    clock_s = episode.timestamps_s
    after = np.clip(np.searchsorted(clock_s, times_s), 1, max(1, len(clock_s) - 1))
    if len(clock_s) < 2:
        after = np.zeros(len(times_s), int)
    before = np.maximum(after - 1, 0)
    return np.where(clock_s[after] - times_s < np.subtract(times_s, clock_s[before]) - 1e-9, after, before)


def _fitted(frames: Iterable[TimedFrame], fitter: FrameFitter, taken: list[float], likeness: Likeness) -> Iterator[np.ndarray]:
    for frame in frames:
        taken.append(frame.time_s)
        image = fitter.i420(frame.image)
        likeness.add(image)
        yield image


def _passes(windows: list[list[float]], fps: float) -> Iterator[list[list[float]]]:
    """Group windows into stretches that are decoded in one pass: a gap as long as a window is worth a seek."""
    run: list[list[float]] = []
    for window in windows:
        if run and window[0] - run[-1][-1] > len(window) / fps:
            yield run
            run = []
        run.append(window)
    if run:
        yield run


def _decoded(reader: LogReader, episode: Episode, camera: Camera, run: list[list[float]], fps: float, threads: int) -> Iterator[TimedFrame]:
    # One frame more on either side, so that the nearest frame is among them wherever the source's frames lie.
    margin_s = 1.0 / min(fps, camera.fps)
    return reader.decode(episode, camera, max(0.0, run[0][0] - margin_s), run[-1][-1] + margin_s, threads)
