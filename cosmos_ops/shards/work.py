"""Transcoding over all processors.

By threads: decoder, scaler and encoder let go of Python's lock, so threads keep every processor busy, start at once and leave no
process behind when the run is killed.
"""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from cosmos_ops.errors import WorkFailed
from cosmos_ops.logs import Episode, LogReader, UnreadableVideo, open_log
from cosmos_ops.logs.drops import Drop
from cosmos_ops.profiles import Profile
from cosmos_ops.shards.transcode import EncodedClip, transcode

_AHEAD = 4
"""Runs a worker that may be waiting or done before their turn: encoded clips are small, decoded ones are never held."""


@dataclass(frozen=True, eq=False)
class Run:
    """Clips of one camera of one episode that go into one shard, in clip order."""

    shard: str
    clips: list[dict]


def transcode_runs(source: Drop, runs: list[Run], profile: Profile, workers: int) -> Iterator[tuple[Run, list[EncodedClip]]]:
    """Each run with its encoded clips, in the order given (by episode index, as logs deliver them), whatever the number of workers."""
    if not runs:
        return
    reader = open_log(source.uri)
    stop = threading.Event()
    pending: deque[tuple[Run, Future]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="transcode") as pool:
        try:
            for run, episode in _with_episodes(reader, source, runs):
                pending.append((run, pool.submit(_transcode_run, reader, episode, run, profile, source.name, stop)))
                while len(pending) > workers * _AHEAD:
                    yield _finished(pending)
            while pending:
                yield _finished(pending)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _finished(pending: deque) -> tuple[Run, list[EncodedClip]]:
    run, future = pending.popleft()
    return run, future.result()


def _transcode_run(reader: LogReader, episode: Episode, run: Run, profile: Profile, drop: str, stop: threading.Event) -> list[EncodedClip]:
    first = run.clips[0]
    camera = next(camera for camera in episode.cameras if camera.name == first["camera"])
    windows = [clip["frame_times_s"] for clip in run.clips]
    made: list[EncodedClip] = []
    try:
        for encoded in transcode(reader, episode, camera, windows, first["fps"], profile.clip, profile.shards, tuple(first["crop_px"])):
            made.append(encoded)
            if stop.is_set():  # the run was interrupted or another clip failed: nobody takes this result
                break
    except UnreadableVideo as error:
        clip = run.clips[len(made)]
        where = f"episode {clip['index']}, camera {clip['camera']}, from {clip['frame_times_s'][0]:.2f} s"
        remedy = "mend or leave out that video in a copy of the drop and ingest the copy under a new name"
        raise WorkFailed(f"clip {clip['clip_id']} of drop {drop} ({where}) cannot be decoded: {error}; {remedy}") from None
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
