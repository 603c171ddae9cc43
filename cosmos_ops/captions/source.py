"""The log behind planned clips, walked once."""

from collections.abc import Iterator
from itertools import groupby

from cosmos_ops.errors import WorkFailed
from cosmos_ops.logs import Episode, LogReader
from cosmos_ops.logs.drops import Drop


def with_episodes(reader: LogReader, source: Drop, clips: list[dict]) -> Iterator[tuple[Episode, list[dict]]]:
    """Each episode that has planned clips, with them, in index order; `clips` are rows of `clips.parquet` in theirs.

    Raises `WorkFailed` where the log does not hold an episode any more, or another in its place.
    """
    waiting = [(index, list(rows)) for index, rows in groupby(clips, key=lambda clip: clip["index"])]
    place = 0
    for episode in reader.episodes():
        if place == len(waiting):
            return
        index, rows = waiting[place]
        if episode.index != index:
            continue
        if episode.id != rows[0]["episode_id"]:
            break
        yield episode, rows
        place += 1
    if place < len(waiting):
        index, rows = waiting[place]
        gone = f"episode {index} ({rows[0]['episode_id']}) of drop {source.name} is planned but not in {source.uri} any more"
        raise WorkFailed(f"{gone}; restore the drop and materialize it again")
