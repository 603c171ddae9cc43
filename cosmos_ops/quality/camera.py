"""The verdict on one camera of one episode."""

from dataclasses import dataclass, field, replace

import av
import numpy as np

from cosmos_ops.logs.base import Camera, Episode, LogReader, Problem, UnreadableVideo
from cosmos_ops.profiles import ClipGeometry, Profile, QualitySettings
from cosmos_ops.quality.clocks import ClockFacts, clock_problems, measure
from cosmos_ops.quality.duplicates import Print, fingerprint
from cosmos_ops.quality.pixels import Seen, sample_times, see
from cosmos_ops.quality.signals import BLACK, BLUR, CODES, CONSTANT, EXPOSURE, FINE, black_bars, classify, mean_luma, scene_cuts, still_steps
from cosmos_ops.quality.stretches import between, good_spans, most_frames, runs
from cosmos_ops.quality.telemetry import Habits, travel
from cosmos_ops.video.resample import clip_rate, frames_at_rate

_NAMES = {BLACK: "black", CONSTANT: "without anything to see", EXPOSURE: "over- or underexposed", BLUR: "blurred"}
_MOVES = 0.1
"""How much of its usual way the state goes while the picture may not stand still."""


class Judged:
    """What has problems that may reject it."""

    problems: tuple[Problem, ...]

    @property
    def reasons(self) -> list[str]:
        """Codes of the problems that reject it as a whole."""
        return list(dict.fromkeys(problem.code for problem in self.problems if rejects(problem)))

    @property
    def accepted(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, eq=False)
class CameraVerdict(Judged):
    """One camera of one episode. Measurements are None where nothing was decoded."""

    name: str
    problems: tuple[Problem, ...]
    """Fatal ones without a stretch reject the camera, those with a stretch only what lies in it."""
    decoded_frames: int = 0
    video_duration_s: float | None = None
    """Length of this episode's video that is really there."""
    mean_luma: float | None = None
    fractions: dict[str, float] = field(default_factory=dict)
    """Code -> fraction of the frames looked at, 0..1: black, constant, exposure, blur, frozen."""
    blur: float | None = None
    """Median, see `signals.blur`."""
    clock: ClockFacts = ClockFacts()
    crop_px: tuple[int, int, int, int] | None = None
    """Rows and columns of black bars: top, bottom, left, right."""
    thumbnails: tuple[np.ndarray, ...] = ()
    """A few frames, [h, w, 3] uint8 RGB."""
    print: Print | None = None


def rejects(problem: Problem) -> bool:
    """Whether a problem condemns its subject, not only a stretch of it."""
    return problem.fatal and problem.start_s is None


def stretches(problems) -> list[Problem]:
    """Those that condemn a stretch of time."""
    return [problem for problem in problems if problem.fatal and problem.start_s is not None]


def too_short(duration_s: float, fps: float, frames: int, profile: Profile, camera: str | None) -> list[Problem]:
    """Shorter than `quality.min_frames` where that is set, else than one clip at the clip rate."""
    least = profile.quality.min_frames
    if least is not None:
        message = f"{frames} frames, quality.min_frames asks for {least}"
        return [Problem("too_short", message, camera)] if frames < least else []
    rate = clip_rate(fps, profile.clip.max_fps)
    there = frames_at_rate(duration_s, fps, rate)
    message = f"{duration_s:.1f} s hold {there} frames at {rate:g} a second, a clip needs {profile.clip.frames}"
    return [Problem("too_short", message, camera)] if there < profile.clip.frames else []


def settle(problems: list[Problem], elsewhere: list[Problem], duration_s: float, fps: float, clip: ClipGeometry) -> list[Problem]:
    """Stretches of `problems` stay stretches where a whole clip is left between all bad ones, `elsewhere` included; else they reject the subject."""
    bad = [(problem.start_s, problem.stop_s) for problem in (*stretches(problems), *stretches(elsewhere))]
    if not bad or most_frames(good_spans(duration_s - 1.0 / fps, bad), clip_rate(fps, clip.max_fps)) >= clip.frames:
        return problems
    return [replace(problem, start_s=None, stop_s=None) if problem in stretches(problems) else problem for problem in problems]


def judge_camera(reader: LogReader, profile: Profile, habits: Habits, threads: int, episode: Episode, camera: Camera) -> CameraVerdict:
    """Look at one camera, in one pass over the frames that are looked at."""
    settings, name = profile.quality, camera.name
    problems = [problem for problem in episode.problems if problem.camera == name]
    times_s = sample_times(episode.duration_s, settings.sample_fps)
    try:
        sample = reader.sample(episode, camera, times_s, threads)
        seen = see(sample.frames, len(times_s))
    except (UnreadableVideo, av.FFmpegError, ValueError) as error:
        return CameraVerdict(name, (*problems, Problem("unreadable", str(error), name)))
    if len(seen.luma) == 0:
        return CameraVerdict(name, (*problems, Problem("unreadable", "no frame of this episode can be decoded", name)))
    duration_s = round(sample.duration_s, 6)
    problems += clock_problems(episode, camera, duration_s, sample.times_s)
    if seen.size_px != (camera.height, camera.width):
        message = f"metadata declares {camera.width}x{camera.height}, the video is {seen.size_px[1]}x{seen.size_px[0]}"
        problems.append(Problem("frame_size", message, name, fatal=False))
    usable_s = min(duration_s, episode.duration_s)
    problems += too_short(usable_s, camera.fps, round(usable_s * camera.fps), profile, name)
    found, fractions = _pixel_problems(seen, episode, name, habits, settings, [*problems, *episode.problems])
    problems += found
    crop_px = black_bars(seen.brightest, settings.least_bars)
    if any(crop_px):
        told = f"black bars of {crop_px[0]} rows above, {crop_px[1]} below, {crop_px[2]} columns left and {crop_px[3]} right are cut off"
        problems.append(Problem("letterbox", told, name, fatal=False))
    if not any(rejects(problem) for problem in problems):
        problems = settle(problems, [problem for problem in episode.problems if problem.camera is None], usable_s, camera.fps, profile.clip)
    return CameraVerdict(
        name,
        tuple(problems),
        len(seen.luma),
        duration_s,
        round(mean_luma(seen.luma), 3),
        fractions,
        round(float(np.median(seen.blurred)), 4),
        measure(episode, camera, sample.times_s),
        crop_px,
        seen.thumbnails,
        fingerprint(seen.luma),
    )


def _pixel_problems(
    seen: Seen, episode: Episode, camera: str, habits: Habits, settings: QualitySettings, known: list[Problem]
) -> tuple[list[Problem], dict[str, float]]:
    """What pixels show, and fractions of frames by code."""
    kinds = classify(seen.luma, seen.blurred, settings)
    fractions = {code: round(float((kinds == kind).mean()), 4) for kind, code in CODES.items()}
    most = {
        BLACK: settings.max_black_fraction,
        CONSTANT: settings.max_constant_fraction,
        EXPOSURE: settings.max_exposure_fraction,
        BLUR: settings.max_blur_fraction,
    }
    problems = []
    for kind, code in CODES.items():
        if fractions[code] > most[kind]:
            problems.append(Problem(code, f"{fractions[code]:.0%} of the frames are {_NAMES[kind]}", camera))
            continue
        for first, last in runs(kinds == kind):
            start_s, stop_s = between(seen.times_s, first, last)
            if seen.times_s[last] - seen.times_s[first] >= settings.min_bad_s or kind in (BLACK, CONSTANT):
                told = f"the picture is {_NAMES[kind]} from {seen.times_s[first]:.1f} to {seen.times_s[last]:.1f} s"
                problems.append(Problem(code, told, camera, True, start_s, stop_s))
    still, fractions["frozen"] = _still(seen, kinds, settings)
    if fractions["frozen"] > settings.max_frozen_fraction and not any(rejects(problem) for problem in problems):
        problems.append(Problem("frozen", f"nothing moves in {fractions['frozen']:.0%} of the video", camera))
    elif not any(rejects(problem) for problem in problems):
        problems += _frozen_stretches(seen, still, episode, camera, habits, settings)
    gaps = [problem for problem in known if problem.code == "clock_gap" and problem.start_s is not None]
    for place in scene_cuts(seen.luma, seen.times_s, kinds, settings):
        start_s, stop_s = float(seen.times_s[place]), float(seen.times_s[place + 1])
        if not any(problem.start_s < stop_s and problem.stop_s > start_s for problem in gaps):  # a pause is a cut, and is told already
            problems.append(Problem("scene_cut", f"the scene changes at {stop_s:.1f} s from one frame to the next", camera, True, start_s, stop_s))
    return problems, fractions


def _still(seen: Seen, kinds: np.ndarray, settings: QualitySettings) -> tuple[np.ndarray, float]:
    """[N - lag] whether nothing moved, and the fraction of it; where there is nothing to see nothing can be said."""
    times_s = seen.times_s
    every_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else settings.frozen_lag_s
    lag = min(max(1, round(settings.frozen_lag_s / max(every_s, 1e-3))), max(1, len(times_s) - 1))
    still = still_steps(seen.luma, settings.frozen_difference, lag)
    visible = (kinds == FINE) | (kinds == BLUR)
    seeing = visible[:-lag] & visible[lag:] if len(still) else np.zeros(0, bool)
    fraction = float(still[seeing].mean()) if seeing.sum() > len(still) // 2 else 0.0
    return still & seeing, round(fraction, 4)


def _frozen_stretches(seen: Seen, still: np.ndarray, episode: Episode, camera: str, habits: Habits, settings: QualitySettings) -> list[Problem]:
    """Stretches in which the picture stands still although the robot moves; without telemetry nobody can tell."""
    found = []
    lag = len(seen.times_s) - len(still)
    for first, last in runs(still):
        start_s, stop_s = float(seen.times_s[first]), float(seen.times_s[last + lag])
        if stop_s - start_s >= settings.max_frozen_s and travel(episode, start_s, stop_s, habits) > _MOVES:
            told = f"the picture stands still from {start_s:.1f} to {stop_s:.1f} s while the robot moves"
            found.append(Problem("frozen", told, camera, True, *between(seen.times_s, first, last + lag)))
    return found
