"""Telemetry of a bag: numbers of some topics, put side by side on the rows of one of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosmos_ops.logs.bags.storage import Damaged
from cosmos_ops.logs.bags.topic import Topic
from cosmos_ops.logs.spelling import natural

_MOST_COLUMNS = 4096
_CLOSEST_NS = 1000
STALE_S = 1.0
"""A value that was last told longer ago is worth a word."""


@dataclass(frozen=True, eq=False)
class Series:
    """One topic's numbers in the order of time."""

    topic: str
    times_ns: np.ndarray
    """[N] int64, increasing."""
    values: np.ndarray
    """[N, D] float64."""
    columns: tuple[str, ...]
    """Joint names, or positions in the array."""
    left_out: int = 0
    """Messages of another length than most, or at the time of the one after."""


def series(topic: Topic, times_ns: np.ndarray) -> Series:
    """Numbers of a topic. Joints come in the natural order of their names; a joint that a message does not tell keeps its last value.

    Raises `Damaged` where the messages have no common sense.
    """
    lengths = np.frombuffer(topic.lengths, np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    flat, named = np.frombuffer(topic.values, np.float64), np.frombuffer(topic.named, np.int64)
    names = list(topic.names)
    unnamed = topic.names.get((), -1)
    if all(names):
        columns = tuple(sorted({name for some in names for name in some}, key=natural))
        fits = np.ones(len(lengths), bool)
    else:
        width = int(np.bincount(lengths).argmax()) if lengths.max(initial=0) < 2**20 else int(lengths[0])
        columns = tuple(str(place) for place in range(width))
        fits = (lengths == width) & (named == unnamed)
    if len(columns) > _MOST_COLUMNS:
        raise Damaged(f"{topic.channel.topic} tells {len(columns)} different joints")
    values = np.full((len(lengths), len(columns)), np.nan)
    for number, some in enumerate(names):
        mine = np.flatnonzero((named == number) & fits)
        if len(mine):
            place = [columns.index(name) for name in some] if some else list(range(len(columns)))
            values[mine[:, None], place] = flat[starts[mine][:, None] + np.arange(len(place))]
    order = np.argsort(times_ns, kind="stable")
    order = order[fits[order]]
    last = distinct(times_ns[order])
    return Series(topic.channel.topic, times_ns[order][last], _held(values[order], len(names) > 1)[last], columns, int(len(times_ns) - last.sum()))


def distinct(times_ns: np.ndarray) -> np.ndarray:
    """[N] bool: the last of each run of ascending times that lie closer than a clock of float64 seconds can tell, whatever century it is in."""
    return np.concatenate([np.diff(times_ns) >= _CLOSEST_NS, [True]]) if len(times_ns) else np.zeros(0, bool)


def align(parts: Sequence[Series], rows_ns: np.ndarray) -> np.ndarray:
    """[T, D] float32: for each row the value last told before or at it, the first one for rows before any."""
    columns = [np.zeros((len(rows_ns), 0))]
    for part in parts:
        columns.append(part.values[np.maximum(np.searchsorted(part.times_ns, rows_ns, side="right") - 1, 0)])
    with np.errstate(over="ignore", invalid="ignore"):  # what no float32 holds becomes infinite, which is told
        return np.concatenate(columns, axis=1).astype(np.float32)


def staleness_s(part: Series, rows_ns: np.ndarray) -> float:
    """How far a row is at most from the message whose value it takes, seconds."""
    taken = part.times_ns[np.maximum(np.searchsorted(part.times_ns, rows_ns, side="right") - 1, 0)]
    return float(np.abs(rows_ns - taken).max(initial=0)) / 1e9


def _held(values: np.ndarray, partial: bool) -> np.ndarray:
    """Where messages tell only some joints: the last value of each, the first one before it was told."""
    if not partial or len(values) == 0:
        return values
    rows = np.arange(len(values))[:, None]
    told = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(told, rows, -1), axis=0)
    return np.take_along_axis(values, np.where(last < 0, told.argmax(axis=0)[None, :], last), axis=0)
