"""Servers as processes of their own: started, started again when one dies, stopped together, and never left behind."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_RESTARTS, _WITHIN_S = 5, 600.0
"""A server that ends more often than this within so many seconds is not worth starting again."""
_GRACE_S = 15.0
_POLL_S = 0.5
_PR_SET_PDEATHSIG = 1


@dataclass
class Server:
    """One server: its command, the process that runs it now, and what earlier ones left running."""

    name: str
    command: Sequence[str]
    folder: Path
    held: int | None = None
    """A file descriptor that the process keeps open: a lock that is held as long as it lives."""
    children_stay: bool = False
    """Whether what it started goes on without it: runs outlive the daemon that launched them. Otherwise a worker left behind would keep the port."""
    process: subprocess.Popen | None = None
    groups: set[int] = field(default_factory=set)
    """Process groups of it that still have members."""
    endings: deque[float] = field(default_factory=deque)

    def start(self) -> None:
        """Start it, for the first time or again."""
        if not self.children_stay:
            for group in self.groups:
                _signal(group, signal.SIGKILL)
            self.groups.clear()
        # In a session of its own, so that Ctrl-C reaches the supervisor alone and it stops all in order.
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, start_new_session=True, pass_fds=[] if self.held is None else [self.held], preexec_fn=_die_with_parent
        )
        self.groups.add(self.process.pid)

    def kill(self) -> None:
        """End the process itself at once; what it started goes on until `start` or `stop`."""
        self.process.kill()
        self.process.wait()

    def ended(self) -> int | None:
        """The exit code where the process has ended."""
        self.groups = {group for group in self.groups if group == self.process.pid or _lives(group)}
        return self.process.poll()

    def worth_starting(self) -> bool:
        """Whether it has ended rarely enough."""
        now = time.monotonic()
        self.endings.append(now)
        while self.endings[0] < now - _WITHIN_S:
            self.endings.popleft()
        return len(self.endings) <= _RESTARTS


def supervise(servers: Sequence[Server], look: Callable[[], None]) -> str:
    """Start again what ends, calling `look` between; returns why it gave up on a server, in one line."""
    while True:
        for server in servers:
            if (code := server.ended()) is None:
                continue
            if not server.worth_starting():
                return f"{server.name} ended {len(server.endings)} times in {_WITHIN_S / 60:.0f} minutes, now with code {code}; its messages are above"
            print(f"{server.name} ended with code {code}; started again", file=sys.stderr, flush=True)
            server.start()
        look()
        time.sleep(_POLL_S)


def stop(servers: Sequence[Server]) -> None:
    """End all of them with everything they started: asked first, then killed."""
    groups = [group for server in servers if server.process is not None for group in server.groups]
    for group in groups:
        _signal(group, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    for group in groups:
        # The leader's children, code servers and runs, may take longer than it does.
        while _left(servers, group) and time.monotonic() < deadline:
            time.sleep(0.1)
        _signal(group, signal.SIGKILL)
    for server in servers:
        if server.process is not None:
            server.process.wait()


def _left(servers: Sequence[Server], group: int) -> bool:
    """Whether anything is left of a group, its leader's remains aside."""
    for server in servers:
        if server.process is not None:
            server.process.poll()
    return _lives(group)


def _lives(group: int) -> bool:
    return _signal(group, 0)


def _signal(group: int, number: int) -> bool:
    """Send a signal to a process group; False where it has no members."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
        return True
    return False


def _die_with_parent() -> None:
    """A supervisor that is killed outright takes its servers along (Linux; elsewhere they stay)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
