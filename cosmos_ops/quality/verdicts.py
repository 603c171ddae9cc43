"""The verdict on every camera and episode of a log: declared problems and what the pixels show, put together."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from cosmos_ops.logs.base import Camera, Episode, LogReader, Problem, UnreadableVideo
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.quality.signals import black_fraction, frozen_fraction, mean_luma
from cosmos_ops.video.resample import clip_rate, frames_at_rate

LUMA_SIZE_PX = (48, 64)
"""Height and width at which pixels are judged."""
DURATION_TOLERANCE_S = 0.5
"""Video and telemetry whose lengths differ by more do not belong together frame by frame."""
STRIP_ROWS = 16
"""Most cameras of which thumbnails are kept, spread over the log, and as many rejected ones."""
_THUMBNAILS, _THUMBNAIL_HEIGHT_PX = 6, 96
_FLAGS = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass(frozen=True, eq=False)
class CameraVerdict:
    """One camera of one episode. Measurements are None where nothing was decoded."""

    name: str
    problems: tuple[Problem, ...]
    decoded_frames: int = 0
    video_duration_s: float | None = None
    """Length of this episode's video that is really there."""
    mean_luma: float | None = None
    black_fraction: float | None = None
    frozen_fraction: float | None = None
    thumbnails: tuple[np.ndarray, ...] = ()
    """A few frames, [h, w, 3] uint8 RGB."""

    @property
    def reasons(self) -> list[str]:
        return [problem.code for problem in self.problems if problem.fatal]

    @property
    def accepted(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, eq=False)
class EpisodeVerdict:
    """One episode with all its cameras, those without a file included."""

    episode: Episode
    problems: tuple[Problem, ...]
    """Problems of the whole episode; those of a camera are with the camera."""
    cameras: tuple[CameraVerdict, ...]

    @property
    def reasons(self) -> list[str]:
        """Why the whole episode is rejected."""
        return [problem.code for problem in self.problems if problem.fatal]

    @property
    def accepted(self) -> bool:
        return not self.reasons


def judge(reader: LogReader, episodes: Iterable[Episode], profile: Profile, progress: Progress = silent) -> list[EpisodeVerdict]:
    """Look at every camera of every episode, in parallel; verdicts come in the order of the episodes.

    An episode rejected as a whole is not decoded. One bad camera does not condemn the others; without any good one the episode is rejected.
    """
    episodes = list(episodes)
    known: set[str] = set()
    whole = [_episode_problems(episode, profile, known) for episode in episodes]
    jobs = [(place, camera) for place, episode in enumerate(episodes) if not any(p.fatal for p in whole[place]) for camera in episode.cameras]
    cores = os.cpu_count() or 1
    workers = max(1, min(cores, len(jobs)))
    look = partial(_judge_camera, reader, profile, max(1, cores // workers))
    seen: dict[int, list[CameraVerdict]] = {}
    rejected, every = 0, max(1, -(-len(jobs) // STRIP_ROWS))
    with ThreadPoolExecutor(workers) as pool:
        verdicts = pool.map(lambda job: look(episodes[job[0]], job[1]), jobs)
        for done, ((place, camera), verdict) in enumerate(zip(jobs, verdicts, strict=True)):
            rejected += not verdict.accepted
            if done % every and (verdict.accepted or rejected > STRIP_ROWS):
                verdict = replace(verdict, thumbnails=())
            seen.setdefault(place, []).append(verdict)
            progress(done + 1, len(jobs), f"episode {episodes[place].index}, camera {camera.name}")
    return [_verdict(episode, problems, seen.get(place)) for place, (episode, problems) in enumerate(zip(episodes, whole, strict=True))]


def _episode_problems(episode: Episode, profile: Profile, known: set[str]) -> list[Problem]:
    problems = [problem for problem in episode.problems if problem.camera is None]
    if episode.id in known:
        problems.append(Problem("duplicate_episode", f"an earlier episode of this drop is the same recording ({episode.id})"))
    known.add(episode.id)
    if not any(problem.fatal for problem in problems):
        problems += _too_short(episode.duration_s, episode.fps, episode.frames, profile, None)
    return problems


def _too_short(duration_s: float, fps: float, frames: int, profile: Profile, camera: str | None) -> list[Problem]:
    """Shorter than `quality.min_frames` where that is set, else than one clip at the clip rate."""
    least = profile.quality.min_frames
    if least is not None:
        message = f"{frames} frames, quality.min_frames asks for {least}"
        return [Problem("too_short", message, camera)] if frames < least else []
    rate = clip_rate(fps, profile.clip.max_fps)
    there = frames_at_rate(duration_s, fps, rate)
    message = f"{duration_s:.1f} s hold {there} frames at {rate:g} a second, a clip needs {profile.clip.frames}"
    return [Problem("too_short", message, camera)] if there < profile.clip.frames else []


def _judge_camera(reader: LogReader, profile: Profile, threads: int, episode: Episode, camera: Camera) -> CameraVerdict:
    settings, problems = profile.quality, [problem for problem in episode.problems if problem.camera == camera.name]
    times_s = np.arange(0.0, max(episode.duration_s, 1e-3), 1.0 / settings.sample_fps)
    try:
        sample = reader.sample(episode, camera, times_s, threads)
        luma, thumbnails, size = _small(sample.frames, len(times_s))
    except (UnreadableVideo, av.FFmpegError, ValueError) as error:
        return CameraVerdict(camera.name, (*problems, Problem("unreadable", str(error), camera.name)))
    if len(luma) == 0:
        return CameraVerdict(camera.name, (*problems, Problem("unreadable", "no frame of this episode can be decoded", camera.name)))
    duration_s = round(sample.duration_s, 6)
    black, frozen = black_fraction(luma, settings.black_luma), frozen_fraction(luma, settings.frozen_difference)
    if abs(duration_s - episode.duration_s) > DURATION_TOLERANCE_S:
        message = f"the video lasts {duration_s:.1f} s, the telemetry {episode.duration_s:.1f} s: rows and frames cannot be matched"
        problems.append(Problem("clock_drift", message, camera.name))
    if size != (camera.height, camera.width):
        message = f"metadata declares {camera.width}x{camera.height}, the video is {size[1]}x{size[0]}"
        problems.append(Problem("frame_size", message, camera.name, fatal=False))
    usable_s = min(duration_s, episode.duration_s)
    problems += _too_short(usable_s, camera.fps, round(usable_s * camera.fps), profile, camera.name)
    if black > settings.max_black_fraction:
        problems.append(Problem("black", f"{black:.0%} of the frames are black (mean luma below {settings.black_luma:g})", camera.name))
    if frozen > settings.max_frozen_fraction and len(luma) > 1:
        problems.append(Problem("frozen", f"nothing moves in {frozen:.0%} of the video", camera.name))
    return CameraVerdict(camera.name, tuple(problems), len(luma), duration_s, round(mean_luma(luma), 3), round(black, 4), round(frozen, 4), tuple(thumbnails))


def _small(frames: Iterator, expected: int) -> tuple[np.ndarray, list[np.ndarray], tuple[int, int]]:
    """[N, 48, 64] uint8 luma of every frame, a few thumbnails spread over the expected number, and the frames' own height and width."""
    scaler, luma, thumbnails, size = VideoReformatter(), [], [], (0, 0)
    height, width = LUMA_SIZE_PX
    every = max(1, expected // _THUMBNAILS)
    for place, frame in enumerate(frames):
        image, size = frame.image, (frame.image.height, frame.image.width)
        small = scaler.reformat(image, width=width, height=height, format="gray", interpolation=_FLAGS, dst_color_range=ColorRange.JPEG, threads=1)
        luma.append(small.to_ndarray())
        if place % every == every // 2 and len(thumbnails) < _THUMBNAILS:
            thumb_width = max(2, round(image.width * _THUMBNAIL_HEIGHT_PX / image.height))
            thumb = image.reformat(width=thumb_width, height=_THUMBNAIL_HEIGHT_PX, format="rgb24", interpolation=_FLAGS, threads=1)
            thumbnails.append(thumb.to_ndarray())
    return np.stack(luma) if luma else np.zeros((0, height, width), np.uint8), thumbnails, size


def _verdict(episode: Episode, problems: list[Problem], seen: list[CameraVerdict] | None) -> EpisodeVerdict:
    named = [camera.name for camera in episode.cameras]
    absent = sorted({problem.camera for problem in episode.problems if problem.camera is not None and problem.camera not in named})
    cameras = list(seen or [CameraVerdict(name, tuple(p for p in episode.problems if p.camera == name)) for name in named])
    cameras += [CameraVerdict(name, tuple(p for p in episode.problems if p.camera == name)) for name in absent]
    if not any(problem.fatal for problem in problems) and not any(camera.accepted for camera in cameras):
        reasons = sorted({reason for camera in cameras for reason in camera.reasons})
        problems = [*problems, Problem("no_usable_camera", f"no camera of the episode can be used ({', '.join(reasons) or 'none is declared'})")]
    return EpisodeVerdict(episode, tuple(problems), tuple(sorted(cameras, key=lambda camera: camera.name)))
