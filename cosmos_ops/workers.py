"""Who does the independent parts of one piece of work: threads of this process, or a cluster.

By threads here: decoder, scaler and encoder let go of Python's lock, so threads keep every processor busy, start at once and leave no
process behind when the run is killed.
"""

import hashlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cosmos_ops.errors import UserError, WorkFailed

__all__ = ["AHEAD", "LOCAL", "LocalWorkers", "Sent", "Workers", "call_sent", "code_hash", "unwanted"]

AHEAD = 4
"""Parts a worker that may be waiting or done before their turn."""

Shared, Part, Result = TypeVar("Shared"), TypeVar("Part"), TypeVar("Result")


class Workers(Protocol):
    """Functions are top-level ones, and they, what is shared, parts and results can be pickled: a worker may be another machine's process."""

    @property
    def here(self) -> bool:
        """Whether work stays in this process: memory and folders are the caller's, and its device is the only one."""
        ...

    def map(self, function: Callable[[Shared, Part], Result], shared: Shared, parts: Iterable[Part], device: str = "cpu") -> Iterator[Result]:
        """`function(shared, part)` of every part, in the order of the parts; these are taken as workers become free.

        `device` is the torch device that one call needs. The first exception of a call, in that order, is raised here and ends the others; a caller that stops
        taking results ends them too. Raises `WorkFailed` for a part that no worker survives.
        """
        ...

    def threads(self, parts: int) -> int:
        """Threads that each of so many parts may use itself."""
        ...


@dataclass(frozen=True)
class LocalWorkers:
    """Threads of this process."""

    count: int | None = None
    """None: the processors this process may use."""

    @property
    def here(self) -> bool:
        return True

    def map(self, function: Callable[[Shared, Part], Result], shared: Shared, parts: Iterable[Part], device: str = "cpu") -> Iterator[Result]:
        """As `Workers.map`."""
        stop = threading.Event()
        pending: deque[Future] = deque()
        with ThreadPoolExecutor(self._count, thread_name_prefix="work") as pool:
            try:
                for part in parts:
                    pending.append(pool.submit(_call, stop, function, shared, part))
                    while len(pending) > self._count * AHEAD:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def threads(self, parts: int) -> int:
        """As `Workers.threads`."""
        return max(1, self._count // max(1, min(self._count, parts)))

    @property
    def _count(self) -> int:
        return self.count or len(os.sched_getaffinity(0))


LOCAL = LocalWorkers()


def unwanted() -> bool:
    """True in a call whose result nobody will take: the run was interrupted or another part failed. Long calls look now and then."""
    stop = getattr(_thread, "stop", None)
    return stop is not None and stop.is_set()


@dataclass(frozen=True, eq=False)
class Sent:
    """What all calls of one `map` have in common, as it travels to another machine."""

    function: Callable[[Any, Any], Any]
    shared: Any
    code: str
    """`code_hash` of the sender."""


def call_sent(sent: Sent, part: Any) -> tuple[Any, UserError | WorkFailed | None]:
    """On the other machine: the result, or the expected failure; what nobody expects is raised."""
    if code_hash() != sent.code:
        return None, WorkFailed(f"{socket.gethostname()} runs other code than the process that shares out the work; install the same commit on all nodes")
    try:
        return sent.function(sent.shared, part), None
    except (UserError, WorkFailed) as error:
        return None, type(error)(str(error))


@cache
def code_hash() -> str:
    """Of this library's source: machines that share a piece of work must agree on it, or the result depends on who made what."""
    sha, root = hashlib.sha256(), Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        sha.update(str(path.relative_to(root)).encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()


_thread = threading.local()


def _call(stop: threading.Event, function: Callable, shared, part):
    _thread.stop = stop
    return function(shared, part)
