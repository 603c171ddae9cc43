"""Runs that the daemon starts on this machine, and the knowledge whether their process still lives.

Dagster's own launcher cannot tell: after a crash or a power cut such a run would count as running for ever, and the limit of one
retraining at a time would keep every later one waiting. With this one, run monitoring marks it as failed and run retries start it again.
"""

import socket
from pathlib import Path

import dagster as dg
from dagster._core.events import DagsterEventType
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

from cosmos_ops.lake import locked
from pipelines.processes import boot_id, process_mark, same_process

HOST_TAG, PID_TAG = "cosmos/host", "cosmos/pid"
LAUNCHED_TAG = "cosmos/launched"
"""The run and the machine's start in which it was launched. A run that is started again gets a copy of its predecessor's tags: hence the run's id."""
PROCESS_TAG = "cosmos/process"
"""Mark of its process (`pipelines.processes`)."""


class LocalRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher with a health check, which launches a run once however many daemons ask for it."""

    def launch_run(self, context) -> None:
        run_id = context.dagster_run.run_id
        with locked(Path(self._instance.root_directory) / "launches"):
            run = self._instance.get_run_by_id(run_id)
            if _launched_in(run) is not None:
                self._instance.report_engine_event("Another daemon has launched this run: two daemons work on one instance, stop one", run)
                return
            copied = {tag: "" for tag in (PID_TAG, PROCESS_TAG) if tag in run.tags}
            self._instance.add_run_tags(run_id, {HOST_TAG: socket.gethostname(), LAUNCHED_TAG: f"{run_id} {boot_id()}", **copied})
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a started run lives; a run of another machine is taken to."""
        if run.tags.get(HOST_TAG) != socket.gethostname():
            return CheckRunHealthResult(WorkerStatus.RUNNING, "started on another machine")
        if _launched_in(run) not in (None, boot_id()):
            return CheckRunHealthResult(WorkerStatus.FAILED, "the machine was started again since")
        pid = _pid(self._instance, run)
        if pid is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        mark = run.tags.get(PROCESS_TAG)
        if not mark and (mark := process_mark(pid)) is not None:
            self._instance.add_run_tags(run.run_id, {PROCESS_TAG: mark})
        if mark is not None and same_process(pid, mark):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {pid} is gone")

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        return None


def _launched_in(run: dg.DagsterRun) -> str | None:
    """The machine's start in which this very run was launched; None where it was not."""
    run_id, _, boot = run.tags.get(LAUNCHED_TAG, "").partition(" ")
    return boot if run_id == run.run_id else None


def _pid(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int | None:
    """Process number of a run; None where neither its tags nor its log tell."""
    if run.tags.get(PID_TAG):
        return int(run.tags[PID_TAG])
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        if entry.message and "Started process for run" in entry.message:
            return int(entry.dagster_event.engine_event_data.metadata["pid"].value)
    return None
