"""Which process a number means: numbers are used again, and the wall clock jumps; the machine's start and the ticks since then do neither."""

import contextlib
import os
from pathlib import Path

UNKNOWN = "unknown"
"""Mark of a process that is there and cannot be looked at."""


def boot_id() -> str:
    """Names the time since this machine was started; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def process_mark(pid: int) -> str | None:
    """What no other process of this machine has, now or later; None where no process of that number runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # somebody else's
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else f"{boot_id()}/{fields[18]}"
    except (OSError, IndexError, ValueError):
        return UNKNOWN


def same_process(pid: int, mark: str) -> bool:
    """Whether the process that had this mark still runs."""
    now = process_mark(pid)
    return now is not None and (UNKNOWN in (now, mark) or now == mark)


def daemons_of(dagster_home: Path) -> list[int]:
    """Dagster daemons of this machine that work on an instance; those of other users, which cannot be looked at, left out."""
    wanted, found = f"DAGSTER_HOME={dagster_home}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            named = b"dagster._daemon\0run" in command or b"dagster-daemon\0run" in command
            if named and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return sorted(found)
