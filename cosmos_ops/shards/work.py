"""Transcoding by all workers there are."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from cosmos_ops.errors import WorkFailed
from cosmos_ops.logs import Episode, LogReader, UnreadableVideo
from cosmos_ops.logs.drops import Drop
from cosmos_ops.logs.portable import PortableLog
from cosmos_ops.profiles import Profile
from cosmos_ops.shards.transcode import EncodedClip, transcode
from cosmos_ops.video.encode import encoder_build
from cosmos_ops.workers import Workers, unwanted


@dataclass(frozen=True, eq=False)
class Run:
    """Clips of one camera of one episode that go into one shard, in clip order."""

    shard: str
    clips: list[dict]


@dataclass(frozen=True, eq=False)
class Transcoding:
    """What the runs of a drop have in common."""

    log: PortableLog
    profile: Profile
    drop: str
    encoder: str
    """The build whose bytes are wanted."""
    threads: int
    """Of each decoder."""


def transcode_runs(source: Drop, runs: list[Run], profile: Profile, workers: Workers) -> Iterator[tuple[Run, list[EncodedClip]]]:
    """Each run with its encoded clips, in the order given (by episode index, as logs deliver them), whatever the workers."""
    if not runs:
        return
    log = PortableLog(source.uri)
    # Encoded clips are small, decoded ones are never held.
    made = workers.map(_transcode_run, Transcoding(log, profile, source.name, encoder_build(), workers.threads(len(runs))), _with_episodes(log, source, runs))
    yield from zip(runs, made, strict=True)


def _transcode_run(work: Transcoding, part: tuple[Run, Episode]) -> list[EncodedClip]:
    run, episode = part
    if encoder_build() != work.encoder:
        raise WorkFailed(
            f"a worker encodes with {encoder_build()}, the run that shares out the work with {work.encoder}: shards would differ by who made them; "
            "install the same PyAV on all machines"
        )
    first = run.clips[0]
    camera = next(camera for camera in episode.cameras if camera.name == first["camera"])
    windows = [clip["frame_times_s"] for clip in run.clips]
    made: list[EncodedClip] = []
    try:
        settings = work.profile.clip, work.profile.shards, tuple(first["crop_px"]), work.threads
        for encoded in transcode(work.log, episode, camera, windows, first["fps"], *settings):
            made.append(encoded)
            if unwanted():
                break
    except UnreadableVideo as error:
        clip = run.clips[len(made)]
        where = f"episode {clip['index']}, camera {clip['camera']}, from {clip['frame_times_s'][0]:.2f} s"
        remedy = "mend or leave out that video in a copy of the drop and ingest the copy under a new name"
        raise WorkFailed(f"clip {clip['clip_id']} of drop {work.drop} ({where}) cannot be decoded: {error}; {remedy}") from None
    return made


def _with_episodes(reader: LogReader, source: Drop, runs: list[Run]) -> Iterator[tuple[Run, Episode]]:
    """Walk the log once, beside the runs; neither is sorted again."""
    waiting = deque(runs)
    for episode in reader.episodes():
        while waiting and waiting[0].clips[0]["index"] == episode.index:
            if waiting[0].clips[0]["episode_id"] != episode.id:
                break
            yield waiting.popleft(), episode
        if not waiting:
            return
    clip = waiting[0].clips[0]
    gone = f"episode {clip['index']} ({clip['episode_id']}) of drop {source.name} is planned but not in {source.uri} any more"
    raise WorkFailed(f"{gone}; restore the drop and materialize it again")
