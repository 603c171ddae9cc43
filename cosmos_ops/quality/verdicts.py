"""The verdict on every camera and episode of a log: declared problems, what telemetry and pixels show, and what is there twice."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cosmos_ops.logs.base import Camera, Episode, LogReader, Problem
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.quality.camera import CameraVerdict, Judged, judge_camera, rejects, settle, too_short
from cosmos_ops.quality.duplicates import copies
from cosmos_ops.quality.telemetry import DropHabits, Habits, telemetry_problems
from cosmos_ops.workers import LOCAL, Workers

__all__ = ["STRIP_ROWS", "CameraVerdict", "EpisodeVerdict", "judge"]

STRIP_ROWS = 16
"""Most cameras of which thumbnails are kept, spread over the log, and as many rejected ones."""


@dataclass(frozen=True, eq=False)
class EpisodeVerdict(Judged):
    """One episode with all its cameras, those without a file included."""

    episode: Episode
    problems: tuple[Problem, ...]
    """Problems of the whole episode; those of a camera are with the camera."""
    cameras: tuple[CameraVerdict, ...]


@dataclass(frozen=True, eq=False)
class Looking:
    """What looking at the cameras of a log has in common. Workers elsewhere need a `PortableLog`."""

    reader: LogReader
    profile: Profile
    threads: int
    """Of the decoder."""


def judge(reader: LogReader, episodes: Iterable[Episode], profile: Profile, progress: Progress = silent, workers: Workers = LOCAL) -> list[EpisodeVerdict]:
    """Look at every camera of every episode, in parallel; verdicts come in the order of the episodes.

    An episode rejected as a whole is not decoded. One bad camera does not condemn the others, a bad stretch only what lies in it; without any good
    camera the episode is rejected. Of recordings that are there more than once the first is kept.
    """
    episodes = list(episodes)
    known: set[str] = set()
    habits = DropHabits(episodes)
    usual = [habits.beside(place) for place in range(len(episodes))]
    whole = [_episode_problems(episode, profile, known) for episode in episodes]
    for place, episode in enumerate(episodes):
        if not any(rejects(problem) for problem in whole[place]):
            found = [*whole[place], *telemetry_problems(episode, usual[place], profile.quality)]
            whole[place] = settle(found, [], episode.duration_s, episode.fps, profile.clip)
            # Cameras are judged by an episode that knows all that is wrong with it.
            others = [problem for problem in episode.problems if problem.camera is not None]
            episodes[place] = replace(episode, problems=(*whole[place], *others))
    jobs = [(place, camera) for place, episode in enumerate(episodes) if not any(map(rejects, whole[place])) for camera in episode.cameras]
    seen: list[CameraVerdict] = []
    rejected, every = 0, max(1, -(-len(jobs) // STRIP_ROWS))
    looking = Looking(reader, profile, workers.threads(len(jobs)))
    verdicts = workers.map(_look, looking, ((usual[place], episodes[place], camera) for place, camera in jobs))
    for done, ((place, camera), verdict) in enumerate(zip(jobs, verdicts, strict=True)):
        rejected += not verdict.accepted
        if done % every and (verdict.accepted or rejected > STRIP_ROWS):
            verdict = replace(verdict, thumbnails=())
        seen.append(verdict)
        progress(done + 1, len(jobs), f"episode {episodes[place].index}, camera {camera.name}")
    seen = _without_copies(episodes, jobs, seen, profile.quality.near_duplicate)
    by_place: dict[int, list[CameraVerdict]] = {}
    for (place, _), verdict in zip(jobs, seen, strict=True):
        by_place.setdefault(place, []).append(verdict)
    return [_verdict(episode, problems, by_place.get(place)) for place, (episode, problems) in enumerate(zip(episodes, whole, strict=True))]


def _look(work: Looking, part: tuple[Habits, Episode, Camera]) -> CameraVerdict:
    habits, episode, camera = part
    return judge_camera(work.reader, work.profile, habits, work.threads, episode, camera)


def _episode_problems(episode: Episode, profile: Profile, known: set[str]) -> list[Problem]:
    problems = [problem for problem in episode.problems if problem.camera is None]
    if episode.id in known:
        problems.append(Problem("duplicate_episode", f"an earlier episode of this drop is the same recording ({episode.id})"))
    known.add(episode.id)
    if not any(rejects(problem) for problem in problems):
        problems += too_short(episode.duration_s, episode.fps, episode.frames, profile, None)
    return problems


def _without_copies(episodes: list[Episode], jobs: list, verdicts: list[CameraVerdict], most: float) -> list[CameraVerdict]:
    """Accepted cameras that show what an earlier one shows are rejected; fingerprints are let go of."""
    compared = [number for number, verdict in enumerate(verdicts) if verdict.accepted and verdict.print is not None]
    found = copies([verdicts[number].print for number in compared], most, [jobs[number][0] for number in compared])
    verdicts = [replace(verdict, print=None) for verdict in verdicts]
    for copy, (original, exact) in found.items():
        number, (place, camera) = compared[copy], jobs[compared[original]]
        where = f"camera {camera.name} of episode {episodes[place].index}"
        code, told = ("duplicate_video", f"shows the very pictures of {where}") if exact else ("near_duplicate", f"shows what {where} shows")
        verdict = verdicts[number]
        verdicts[number] = replace(verdict, problems=(*verdict.problems, Problem(code, told, verdict.name)))
    return verdicts


def _verdict(episode: Episode, problems: list[Problem], seen: list[CameraVerdict] | None) -> EpisodeVerdict:
    named = [camera.name for camera in episode.cameras]
    absent = sorted({problem.camera for problem in episode.problems if problem.camera is not None and problem.camera not in named})
    cameras = list(seen or [CameraVerdict(name, tuple(p for p in episode.problems if p.camera == name)) for name in named])
    cameras += [CameraVerdict(name, tuple(p for p in episode.problems if p.camera == name)) for name in absent]
    if not any(map(rejects, problems)) and not any(camera.accepted for camera in cameras):
        reasons = sorted({reason for camera in cameras for reason in camera.reasons})
        problems = [*problems, Problem("no_usable_camera", f"no camera of the episode can be used ({', '.join(reasons) or 'none is declared'})")]
    return EpisodeVerdict(episode, tuple(problems), tuple(sorted(cameras, key=lambda camera: camera.name)))
