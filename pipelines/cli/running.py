"""Run a Dagster job from the command line on the real instance, and tell what happens while it does."""

import os
import re
import socket
import threading
import uuid
from collections.abc import Sequence

import dagster as dg

from cosmos_ops.errors import UserError, WorkFailed
from pipelines.cli.output import Output
from pipelines.environments import environment
from pipelines.instance import database_failure
from pipelines.launcher import HOST_TAG, PID_TAG, PROCESS_TAG
from pipelines.processes import process_mark, same_process

_CALL_TAG = "cosmos/call"
_NO_RETRY = {"dagster/max_retries": "0"}
"""The daemon does not start again what a command line ran: the next command does."""
_CRASHED = re.compile(r"Step (\S+) finished without success or failure event")
_POLL_S = 0.5


def ingest_run() -> dg.JobDefinition:
    """Rebuilt in each step's process."""
    from pipelines.definitions import defs

    return defs.resolve_job_def("ingest")


def adapt_run() -> dg.JobDefinition:
    """Rebuilt in each step's process."""
    from pipelines.definitions import defs

    return defs.resolve_job_def("adapt")


def all_assets_run() -> dg.JobDefinition:
    """Every asset: for recipes beyond the profile's defaults. Rebuilt in each step's process."""
    from pipelines.definitions import defs

    return defs.resolve_implicit_global_asset_job_def()


def execute(instance: dg.DagsterInstance, job, output: Output, tags: dict[str, str], selection: Sequence[dg.AssetKey] | None = None) -> str:
    """Execute to the end, following on stderr. Returns the run id; raises `UserError` or `WorkFailed` with the first failure's line."""
    from dagster._utils.interrupts import setup_interrupt_handlers

    if environment().name == "k8s":
        # Steps as pods need a run that is a pod.
        raise UserError("COSMOS_ENV is k8s, where Dagster starts runs: put the drop into the landing folder, or launch the job on Dagster's pages")
    setup_interrupt_handlers()
    bury_dead_runs(instance)
    call = uuid.uuid4().hex
    tags = {**tags, **_NO_RETRY, _CALL_TAG: call, HOST_TAG: socket.gethostname(), PID_TAG: str(os.getpid()), PROCESS_TAG: process_mark(os.getpid())}
    follower = _Follower(instance, call, output)
    follower.start()
    try:
        result = dg.execute_job(
            dg.reconstructable(job),
            instance=instance,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            asset_selection=list(selection) if selection is not None else None,
        )
    finally:
        follower.stop()
    if follower.interrupted:
        # Dagster takes an interrupt that did not come through its own pages for a failure.
        instance.report_run_canceled(instance.get_run_by_id(result.run_id), "interrupted at the command line")
        raise KeyboardInterrupt
    if not result.success:
        raise follower.failure or WorkFailed(f"Dagster run {result.run_id} failed; see it with `make dev`")
    return result.run_id


def bury_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of command lines that no longer live as failed and free the pool slots they held."""
    started = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.NOT_STARTED]
    for run in instance.get_runs(dg.RunsFilter(statuses=started, tags={HOST_TAG: socket.gethostname()})):
        if not run.tags.get(PID_TAG) or _alive(int(run.tags[PID_TAG]), run.tags.get(PROCESS_TAG)):
            continue
        instance.report_run_failed(run, f"the command line that ran it (pid {run.tags[PID_TAG]}) died")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    _free_slots_of_ended_runs(instance)


def _free_slots_of_ended_runs(instance: dg.DagsterInstance) -> None:
    """A step that died without a word leaves its slot taken although its run has ended; where no daemon runs nobody else frees it."""
    storage = instance.event_log_storage
    for key in storage.get_concurrency_keys():
        for run_id in {slot.run_id for slot in storage.get_concurrency_info(key).claimed_slots}:
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                storage.free_concurrency_slots_for_run(run_id)


def _alive(pid: int, mark: str | None) -> bool:
    if pid == os.getpid():
        return False  # this process has not started its run yet: the number was reused
    return same_process(pid, mark) if mark else process_mark(pid) is not None


class _Follower:
    """Prints a run's steps, log lines and failed checks while it runs, and keeps the first failure."""

    def __init__(self, instance: dg.DagsterInstance, call: str, output: Output):
        self.failure: UserError | WorkFailed | None = None
        self.interrupted = False
        self._instance, self._call, self._output = instance, call, output
        self._cursor: str | None = None
        self._run_id: str | None = None
        self._names: dict[str, str] = {}
        self._checks: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._read()

    def _follow(self) -> None:
        while not self._done.wait(_POLL_S):
            try:
                self._read()
            except Exception as error:
                # A database that went away may be back for the next look; the last look is not forgiven.
                if database_failure(error) is None:
                    raise

    def _read(self) -> None:
        if self._run_id is None:
            runs = self._instance.get_runs(dg.RunsFilter(tags={_CALL_TAG: self._call}), limit=1)
            if not runs:
                return
            self._run_id = runs[0].run_id
            # A step is called by its asset's name as an identifier; people know the asset.
            self._names = {key.to_python_identifier(): key.to_user_string() for key in runs[0].asset_selection or ()}
        while True:
            page = self._instance.get_records_for_run(self._run_id, cursor=self._cursor)
            for record in page.records:
                self._show(record.event_log_entry)
            if page.records:
                self._cursor = page.cursor
            if not page.has_more:
                return

    def _show(self, entry) -> None:
        event = entry.dagster_event
        if event is None:
            self._output.note(f"    {entry.user_message}")
            self._free_slot_of_crashed(entry.user_message)
            return
        name = self._names.get(event.step_key, event.step_key or "")
        if event.event_type_value == "STEP_START":
            self._output.note(f"  {name} ...")
        elif event.event_type_value == "STEP_UP_FOR_RETRY":
            self._output.note(f"  {name} was interrupted, tried again: {_first_line(event.step_retry_data.error)}")
        elif event.event_type_value == "STEP_SUCCESS":
            self._output.note(f"  {name} done in {event.step_success_data.duration_ms / 1000:.1f} s")
        elif event.event_type_value == "ASSET_CHECK_EVALUATION" and not event.asset_check_evaluation_data.passed:
            check = event.asset_check_evaluation_data
            line = f"check {check.check_name} of {check.asset_key.to_user_string()}: {check.description}"
            self._output.note(f"    {line}")
            if check.blocking:
                self._checks.append(line)
        elif event.event_type_value in ("PIPELINE_FAILURE", "PIPELINE_CANCELED"):
            self.interrupted = event.event_type_value == "PIPELINE_CANCELED" or "Execution was interrupted" in (event.message or "")
        elif event.event_type_value == "STEP_FAILURE" and self.failure is None:
            self.failure = self._failure_of(name, event.step_failure_data)

    def _free_slot_of_crashed(self, message: str) -> None:
        """A step whose process died before it said anything keeps its slot of a pool, and the run's other steps would wait for it for ever."""
        if crashed := _CRASHED.match(message):
            self._instance.event_log_storage.free_concurrency_slot_for_step(self._run_id, crashed[1])

    def _failure_of(self, name: str, data) -> UserError | WorkFailed:
        if data.user_failure_data is not None and data.user_failure_data.description:
            kind = data.user_failure_data.metadata.get("kind")
            return (UserError if kind is not None and kind.value == "UserError" else WorkFailed)(data.user_failure_data.description)
        if self._checks:
            return WorkFailed(self._checks[-1])
        return WorkFailed(f"{name} failed unexpectedly: {_first_line(data.error)}; run id {self._run_id}, `make dev` shows its log")


def _first_line(error) -> str:
    """Of what an error of Dagster's began with."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip().splitlines()[0] if error is not None and error.message.strip() else "no message"
