"""Whether a run's process lives: what run monitoring asks."""

import os
import subprocess
import sys
import time

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

from pipelines.cli.running import bury_dead_runs
from pipelines.launcher import HOST_TAG, LAUNCHED_TAG, PID_TAG, LocalRunLauncher


@pytest.fixture
def instance():
    overrides = {"run_launcher": {"module": "pipelines.launcher", "class": "LocalRunLauncher"}}
    with dg.instance_for_test(overrides=overrides) as made:
        assert isinstance(made.run_launcher, LocalRunLauncher)
        yield made


@dg.job
def nothing():
    pass


def run_with(instance, pid: int | None, tagged: bool = False, host: str | None = None) -> dg.DagsterRun:
    import socket

    tags = {HOST_TAG: host or socket.gethostname()} | ({PID_TAG: str(pid)} if tagged else {})
    run = instance.create_run_for_job(nothing, tags=tags, status=dg.DagsterRunStatus.STARTED)
    if pid is not None and not tagged:
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData({"pid": dg.MetadataValue.text(str(pid))}))
    return run


def health(instance, run) -> WorkerStatus:
    return instance.run_launcher.check_run_worker_health(run).status


def test_a_run_whose_command_line_died_is_buried_and_others_are_left_alone(instance):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run, untagged, elsewhere = run_with(instance, process.pid, tagged=True), run_with(instance, None), run_with(instance, 999_999_999, True, host="elsewhere")
    bury_dead_runs(instance)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    bury_dead_runs(instance)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
    assert {instance.get_run_by_id(other.run_id).status for other in (untagged, elsewhere)} == {dg.DagsterRunStatus.STARTED}
    process.wait()
    process.stdin.close()
    mine = run_with(instance, os.getpid(), tagged=True)
    bury_dead_runs(instance)
    assert instance.get_run_by_id(mine.run_id).status == dg.DagsterRunStatus.FAILURE, "its number was this process's only later"


@pytest.mark.parametrize("tagged", [True, False])
def test_a_dead_process_is_noticed_and_a_living_one_left_alone(instance, tagged):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = run_with(instance, process.pid, tagged)
    assert health(instance, run) == WorkerStatus.RUNNING
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody has taken note of it
    assert health(instance, run) == WorkerStatus.FAILED
    process.wait()
    process.stdin.close()
    assert health(instance, run) == WorkerStatus.FAILED


def test_a_number_that_was_used_again_is_no_living_process(instance, monkeypatch):
    run = run_with(instance, os.getpid(), tagged=True)
    assert health(instance, run) == WorkerStatus.RUNNING
    run = instance.get_run_by_id(run.run_id)
    monkeypatch.setattr("pipelines.processes.process_mark", lambda pid: "another start of the machine/12345")
    assert health(instance, run) == WorkerStatus.FAILED


@pytest.mark.parametrize("jump_s", [-86400, 86400])
def test_a_clock_that_jumps_kills_no_run(instance, monkeypatch, jump_s):
    run = run_with(instance, os.getpid())
    before = time.time
    monkeypatch.setattr(time, "time", lambda: before() + jump_s)
    assert health(instance, run) == WorkerStatus.RUNNING
    assert health(instance, instance.get_run_by_id(run.run_id)) == WorkerStatus.RUNNING


def test_after_the_machine_was_started_again_no_process_of_a_run_lives(instance):
    run = run_with(instance, os.getpid())
    instance.add_run_tags(run.run_id, {LAUNCHED_TAG: f"{run.run_id} an earlier start"})
    assert health(instance, instance.get_run_by_id(run.run_id)) == WorkerStatus.FAILED
    # A run that is started again has a copy of its predecessor's tags.
    instance.add_run_tags(run.run_id, {LAUNCHED_TAG: "another-run an earlier start"})
    assert health(instance, instance.get_run_by_id(run.run_id)) == WorkerStatus.RUNNING


def test_two_daemons_launch_a_run_once(instance, monkeypatch):
    launched = []
    monkeypatch.setattr(DefaultRunLauncher, "launch_run", lambda self, context: launched.append(context.dagster_run.run_id))
    run = instance.create_run_for_job(nothing, tags={PID_TAG: "1", LAUNCHED_TAG: "its-predecessor x"}, status=dg.DagsterRunStatus.STARTING)
    other = LocalRunLauncher()
    other.register_instance(instance)
    for launcher in (instance.run_launcher, other):
        launcher.launch_run(LaunchRunContext(run, workspace=None))
    assert launched == [run.run_id]
    assert not instance.get_run_by_id(run.run_id).tags[PID_TAG], "its predecessor's process is not its own"
    assert any("two daemons" in entry.message for entry in instance.all_logs(run.run_id))


def test_what_cannot_be_known_counts_as_running(instance):
    assert health(instance, run_with(instance, None)) == WorkerStatus.RUNNING
    assert health(instance, run_with(instance, 999_999_999, tagged=True, host="elsewhere")) == WorkerStatus.RUNNING
