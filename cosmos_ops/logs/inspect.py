"""What a log is and what would become of it: the same reading and judging as at ingestion, in memory."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from cosmos_ops.logs.mapping import mapping_values
from cosmos_ops.logs.remote import local_copy
from cosmos_ops.profiles import ClipGeometry, Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.quality.verdicts import EpisodeVerdict, judge
from cosmos_ops.video.transform import crop_loss


def inspect_log(path: Path | str, profile: Profile, progress: Progress = silent) -> dict[str, Any]:
    """Describe the log at `path` or URL under a profile; plain values, ready for JSON; writes nothing, but for a copy of what is at a URL while it is read.

    `mapping` is what is read as what, in the words of `logs.mapping`; None for a format that says it all itself.
    `problems` concern the log; those of an episode and its cameras are with the episode, whose `accepted` says whether any of its cameras would be used.
    Raises `UserError` in one line where nothing is usable, and for a URL as `remote.bring`.
    """
    with local_copy(path, progress) as here:
        return _inspect(here, profile, progress)


def _inspect(path: Path, profile: Profile, progress: Progress) -> dict[str, Any]:
    reader = open_log(path)
    info = reader.info()
    verdicts = judge(reader, reader.episodes(), profile, progress)
    if not verdicts:
        raise UserError(f"{path} holds no episode: none of the {info.declared_episodes or 0} declared is on disk")
    if not any(verdict.accepted for verdict in verdicts):
        reasons = Counter(reason for verdict in verdicts for reason in _all_reasons(verdict))
        told = ", ".join(f"{reason} ({count} of {len(verdicts)})" for reason, count in sorted(reasons.items()))
        first = next(problem.message for verdict in verdicts for problem in _problems(verdict) if problem.fatal)
        raise UserError(f"{path}: no episode can be used under profile {profile.name}: {told}; first: {first}")
    return {
        "format": info.format,
        "format_version": info.format_version,
        "robot": info.robot,
        "licence": info.licence,
        "declared_episodes": info.declared_episodes,
        "found_episodes": len(verdicts),
        "accepted_episodes": sum(verdict.accepted for verdict in verdicts),
        "profile": profile.name,
        "crop": _crop(verdicts, profile.clip),
        "mapping": mapping_values(reader.guess()) if hasattr(reader, "guess") else None,
        "problems": [asdict(problem) for problem in info.problems],
        "episodes": [_episode(verdict) for verdict in verdicts],
    }


def _episode(verdict: EpisodeVerdict) -> dict[str, Any]:
    episode = verdict.episode
    return {
        "id": episode.id,
        "index": episode.index,
        "frames": episode.frames,
        "fps": episode.fps,
        "duration_s": round(episode.duration_s, 3),
        "cameras": [camera.name for camera in episode.cameras],
        "accepted_cameras": [camera.name for camera in verdict.cameras if verdict.accepted and camera.accepted],
        "clocks": {camera.name: asdict(camera.clock) for camera in verdict.cameras if camera.decoded_frames},
        "state_dim": episode.state.shape[1],
        "action_dim": episode.action.shape[1],
        "task": episode.task,
        "outcome": episode.outcome,
        "accepted": verdict.accepted,
        "problems": [asdict(problem) for problem in _problems(verdict)],
    }


def _problems(verdict: EpisodeVerdict) -> list:
    return [*verdict.problems, *(problem for camera in verdict.cameras for problem in camera.problems)]


def _all_reasons(verdict: EpisodeVerdict) -> set[str]:
    return {problem.code for problem in _problems(verdict) if problem.fatal}


def _crop(verdicts: list[EpisodeVerdict], clip: ClipGeometry) -> str | None:
    """One line on what the clip's shape does to each size of picture, None where nothing is lost."""
    sizes = sorted({(camera.name, camera.height, camera.width) for verdict in verdicts for camera in verdict.episode.cameras if camera.height and camera.width})
    lost = [(name, height, width, crop_loss(height, width, clip.height, clip.width, clip.fit)) for name, height, width in sizes]
    parts = [f"{loss:.0%} of {name} ({width}x{height})" for name, height, width, loss in lost if loss >= 0.005]
    return f"centre crop to {clip.width}:{clip.height} cuts off {', '.join(parts)}; clip.fit pad or stretch keeps it" if parts else None
