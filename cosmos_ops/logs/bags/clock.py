"""When a message happened: by the time in its header where that makes sense, otherwise by when the recorder wrote it.

All topics of an episode must be on one clock. Headers are stamped where things happen but by any clock: of a robot's computer, of a simulation, or
none at all (zeros). The recorder's time is one clock for everything but comes late, by the network and by the recorder's queue.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cosmos_ops.logs.bags.messages import LATEST_NS

AGREE_NS = 10**9
"""Headers of different topics whose distances to the recorder's clock differ by more are not on one clock."""
_DRIFT_NS = 10**8
"""A clock that runs away from the others by more than this while it was recorded is not taken."""
_MOST_ODD = 0.05
_LEAST_DISTINCT = 0.9
_ENDS = 0.1
_CLEAR = 4
_LEAST_MESSAGES = 10


@dataclass(frozen=True, eq=False)
class Times:
    """One clock for all topics."""

    of: dict[str, np.ndarray]
    """Topic -> [N] int64 ns, in the order of its messages."""
    told: str
    """One line on which times were taken."""
    headers: bool
    """True where they are the headers' for all topics."""
    drift_s: dict[str, float]
    """Topics whose headers ran away from the recorder's clock, by how much, seconds; theirs are the recorder's times."""


@dataclass(frozen=True)
class _Offset:
    """How far a topic's header times are from the recorder's."""

    ns: int
    """Median."""
    first_ns: int
    """At the start."""
    rate: float
    """Growth, ns a ns."""
    length_ns: int
    scatter_ns: float
    """Median distance from that growth."""

    @property
    def drift_ns(self) -> float:
        return self.rate * self.length_ns

    @property
    def drifts(self) -> bool:
        """True where the growth is no accident of the scatter."""
        return abs(self.drift_ns) > max(_DRIFT_NS, _CLEAR * self.scatter_ns)


def choose_times(topics: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Times:
    """The times of topics of (recorder's times, header times; 0 = none), both int64 ns.

    Headers count where they run forward. If all topics have them and agree, they are taken whatever clock they are on; else those that agree with the
    recorder's clock are, and the others take the recorder's time.
    """
    offsets = {name: offset for name, (log, stamp) in topics.items() if (offset := _offset(log, stamp)) is not None}
    if offsets and len(offsets) == len(topics) and _spread(offset.ns for offset in offsets.values()) <= AGREE_NS:
        stamped = set(offsets)
    else:
        stamped = {name for name, offset in offsets.items() if abs(offset.ns) <= AGREE_NS}
    drifting = _drifting({name: offsets[name] for name in stamped}, len(stamped) == len(topics))
    times = {}
    for name, (log, stamp) in topics.items():
        if name in drifting:
            times[name] = log + offsets[name].first_ns
        else:
            times[name] = _mended(log, stamp, offsets[name].ns) if name in stamped else log
    unstamped = sorted({*(topics.keys() - stamped), *drifting})
    if not unstamped:
        told = "times are those in the messages' headers"
    elif len(unstamped) == len(topics):
        told = "times are the recorder's: the messages' headers carry none that can be used"
    else:
        told = f"times are those in the messages' headers, except for {', '.join(unstamped)}: the recorder's"
    return Times(times, told, not unstamped, {name: offsets[name].drift_ns / 1e9 for name in drifting})


def _offset(log: np.ndarray, stamp: np.ndarray) -> _Offset | None:
    """None where the headers are no clock: missing, repeated, or running backwards."""
    there = stamp > 0
    if len(stamp) == 0 or there.mean() < 1 - _MOST_ODD:
        return None
    heard, told = log[there], stamp[there]
    if len(np.unique(told)) < _LEAST_DISTINCT * len(told):
        return None
    median = int(np.median(told - heard))
    odd = _odd(log, stamp, median)
    if odd.mean() > _MOST_ODD:
        if _jumps_back(told) and _jumps_back(told[np.argsort(heard, kind="stable")]) and not _jumps_back(heard):
            return None
    else:  # a few wild ones say nothing about the others
        heard, told = log[~odd], stamp[~odd]
    return _growth(heard, told, median)


def _growth(heard: np.ndarray, told: np.ndarray, median: int) -> _Offset:
    if len(told) < _LEAST_MESSAGES:
        return _Offset(median, median, 0.0, 0, 0)
    order = np.argsort(heard, kind="stable")
    ordered, distance = told[order], (told - heard)[order]
    part = max(1, int(_ENDS * len(ordered)))
    (first, last), (begin, end) = (tuple(float(np.median(of)) for of in (values[:part], values[-part:])) for values in (distance, ordered))
    rate = (last - first) / max(1.0, abs(end - begin))
    start = np.clip(first - rate * (begin - float(ordered.min())), -LATEST_NS, LATEST_NS)
    scatter = float(np.median(np.abs(distance - (first + rate * (ordered - begin)))))
    return _Offset(median, int(start), rate, int(np.ptp(ordered)), scatter)


def _drifting(offsets: dict[str, _Offset], own_clock: bool) -> set[str]:
    """Topics whose clock runs at another rate than the recorder's. Where all run alike it is the recorder's that is odd: a log written afterwards."""
    longest = max((offset.length_ns for offset in offsets.values()), default=0)
    if own_clock and _spread(offset.rate for offset in offsets.values()) * longest <= _DRIFT_NS:
        return set()
    return {name for name, offset in offsets.items() if offset.drifts}


def _mended(log: np.ndarray, stamp: np.ndarray, offset_ns: int) -> np.ndarray:
    """Header times, the few that are missing or wild replaced by the recorder's shifted onto their clock."""
    odd = _odd(log, stamp, offset_ns)
    if odd.mean() > _MOST_ODD:  # written long after it was recorded: the recorder's times mean nothing
        odd = stamp <= 0
    return np.where(odd, log + offset_ns, stamp)


def _odd(log: np.ndarray, stamp: np.ndarray, offset_ns: int) -> np.ndarray:
    """[N] bool: header times that are missing or far from the others."""
    return (stamp <= 0) | (np.abs(stamp - log - offset_ns) > AGREE_NS)


def _jumps_back(times: np.ndarray) -> bool:
    return bool((np.diff(times) < -AGREE_NS).any())


def _spread(values) -> float:
    values = list(values)
    return max(values) - min(values) if values else 0
