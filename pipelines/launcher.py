"""Runs that the daemon starts on this machine, and the knowledge whether their process still lives.

Dagster's own launcher cannot tell: after a crash or a power cut such a run would count as running for ever, and the limit of one
retraining at a time would keep every later one waiting. With this one, run monitoring marks it as failed and run retries start it again.
"""

import os
import socket
import time
from pathlib import Path

import dagster as dg
from dagster._core.events import DagsterEventType
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

HOST_TAG, PID_TAG = "cosmos/host", "cosmos/pid"
_CLOCK_S = 5.0
"""A process that is younger than its run by more than this has a number that was used again."""


class LocalRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher with a health check."""

    def launch_run(self, context) -> None:
        self._instance.add_run_tags(context.dagster_run.run_id, {HOST_TAG: socket.gethostname()})
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a started run lives; a run of another machine is taken to."""
        if run.tags.get(HOST_TAG) != socket.gethostname():
            return CheckRunHealthResult(WorkerStatus.RUNNING, "started on another machine")
        found = _worker(self._instance, run)
        if found is None or lives(*found):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {found[0]} is gone")

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        return None


def lives(pid: int, seen_at: float) -> bool:
    """Whether a process that was there at a time, seconds of the epoch, still runs; another one under its number does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    state, started_at = _process(pid)
    return state != "Z" and started_at <= seen_at + _CLOCK_S


def _worker(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[int, float] | None:
    """Process number of a run and the time by which it was there; None where neither the run's tags nor its log tell."""
    if PID_TAG in run.tags:
        record = instance.get_run_record_by_id(run.run_id)
        return int(run.tags[PID_TAG]), record.create_timestamp.timestamp()
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        if entry.message and "Started process for run" in entry.message:
            return int(entry.dagster_event.engine_event_data.metadata["pid"].value), entry.timestamp
    return None


def _process(pid: int) -> tuple[str, float]:
    """State and start time of a process; one that cannot be looked at counts as old and running."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        up_s = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return "R", 0.0
    return fields[0], time.time() - up_s + int(fields[19]) / os.sysconf("SC_CLK_TCK")
