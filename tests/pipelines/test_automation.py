"""New drops and retraining: the sensors on a real instance, and `make dev` with its real daemon."""

import json
import os
import time
import urllib.request
from pathlib import Path

import dagster as dg
import pytest

from tests.fixtures.hdf5_factory import write_aloha
from tests.fixtures.lerobot_factory import write_lerobot
from tests.fixtures.servers import ROOT, make_dev, post_json
from tests.fixtures.webhook_receiver import receiving

_RUNS = "{ runsOrError { ... on Runs { results { status jobName tags { key value } } } } }"


@pytest.fixture
def instance(home, monkeypatch):
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def receiver():
    with receiving() as server:
        yield server


def tick(instance, cursor=None):
    from pipelines.sensors import new_drops

    return new_drops(dg.build_sensor_context(instance=instance, cursor=cursor))


def test_a_drop_is_taken_when_its_files_stand_still(instance, home):
    folder = write_lerobot(home.lake / "landing" / "tuesday", episodes=5, frames=24)
    context = dg.build_sensor_context(instance=instance)
    from pipelines.sensors import new_drops

    assert isinstance(new_drops(context), dg.SkipReason)
    with open(folder / "meta/tasks.jsonl", "a") as growing:
        growing.write("\n")
    later = dg.build_sensor_context(instance=instance, cursor=context.cursor)
    assert isinstance(new_drops(later), dg.SkipReason)
    found = tick(instance, later.cursor)
    assert [request.partition_key for request in found.run_requests] == ["tuesday"]
    assert found.dynamic_partitions_requests[0].partition_keys == ["tuesday"]
    # Asked again before the request was carried out, it asks for the same run; the run key makes it one.
    assert tick(instance, found.cursor).run_requests[0].run_key == found.run_requests[0].run_key


def test_a_marker_file_saves_the_second_look(instance, home):
    folder = write_lerobot(home.lake / "landing" / "wednesday", episodes=5, frames=24)
    (folder / "_SUCCESS").touch()
    assert [request.partition_key for request in tick(instance).run_requests] == ["wednesday"]


def test_a_single_file_is_a_drop_when_it_stands_still(instance, home):
    landing = home.lake / "landing"
    landing.mkdir(parents=True)
    write_aloha(landing / "Night Shift.hdf5")
    context = dg.build_sensor_context(instance=instance)
    from pipelines.sensors import new_drops

    assert isinstance(new_drops(context), dg.SkipReason)
    found = tick(instance, context.cursor)
    assert [request.partition_key for request in found.run_requests] == ["night-shift.hdf5"]
    instance.add_dynamic_partitions("drops", ["night-shift.hdf5"])
    assert "no new complete drop" in tick(instance, found.cursor).skip_message, "known by the name that was made of the file's"


def test_what_is_no_log_is_refused_with_the_reason_and_does_not_stop_others(instance, home):
    (home.lake / "landing" / "notes").mkdir(parents=True)
    (home.lake / "landing" / "notes" / "readme.txt").write_text("no robot here")
    (home.lake / "landing" / "notes" / "_SUCCESS").touch()
    assert "no known log format" in tick(instance).skip_message
    folder = write_lerobot(home.lake / "landing" / "good", episodes=5, frames=24)
    (folder / "_SUCCESS").touch()
    assert [request.partition_key for request in tick(instance).run_requests] == ["good"]


def test_a_drop_that_changes_after_it_was_taken_is_refused_with_a_new_name(instance, home):
    folder = write_lerobot(home.lake / "landing" / "friday", episodes=5, frames=24)
    (folder / "_SUCCESS").touch()
    taken = tick(instance)
    instance.add_dynamic_partitions("drops", ["friday"])
    with open(folder / "meta/tasks.jsonl", "a") as changed:
        changed.write("\n")
    told = tick(instance, taken.cursor)
    assert "drops are immutable" in told.skip_message and "--drop friday-2" in told.skip_message and "tasks.jsonl" in told.skip_message
    assert "no new complete drop" in tick(instance, json.dumps({"friday": _look(folder)})).skip_message


def _look(folder: Path) -> list:
    from pipelines.sensors import _state

    return _state(folder)


@pytest.mark.parametrize("sound", [True, False])
def test_the_data_half_goes_on_by_itself_only_behind_a_check_that_passed(instance, sound):
    from pipelines.definitions import defs

    half = dg.AssetSelection.groups("data")
    instance.add_dynamic_partitions("drops", ["monday"])
    before = dg.evaluate_automation_conditions(defs=defs, instance=instance, asset_selection=half)
    for asset in ("landing", "episodes"):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition="monday"))
    check = dg.AssetCheckEvaluation(asset_key=dg.AssetKey("episodes"), check_name="expectations", passed=sound, metadata={}, blocking=True)
    instance.report_runless_asset_event(check)
    now = dg.evaluate_automation_conditions(defs=defs, instance=instance, asset_selection=half, cursor=before.cursor)
    assert now.get_requested_partitions(dg.AssetKey("quality")) == ({"monday"} if sound else set())
    assert not now.get_requested_partitions(dg.AssetKey("clips"))


def test_what_runs_by_itself_is_off_until_switched_on():
    from pipelines.schedules import weekly_retraining
    from pipelines.sensors import data_half, new_drops, new_episodes

    assert new_drops.default_status == dg.DefaultSensorStatus.RUNNING
    assert {sensor.default_status for sensor in (data_half, new_episodes)} == {dg.DefaultSensorStatus.STOPPED}
    assert weekly_retraining.default_status == dg.DefaultScheduleStatus.STOPPED
    assert new_episodes.job_name == weekly_retraining.job_name == "adapt"


def test_a_failed_run_is_posted_with_what_failed(instance, receiver, monkeypatch):
    from pipelines.alerts import alerts

    @dg.op
    def shards():
        raise dg.Failure("shard 3 is damaged; ingest the drop again")

    @dg.job
    def ingest():
        shards()

    ran = ingest.execute_in_process(instance=instance, raise_on_error=False, tags={"dagster/partition": "monday"})
    context = dg.build_run_status_sensor_context("alerts", ran.get_run_failure_event(), instance, ran.dagster_run).for_run_failure()
    assert "no webhook is set" in alerts(context).skip_message
    monkeypatch.setenv("COSMOS_ALERT_WEBHOOK", receiver.url)
    assert alerts(context) is None
    told = json.loads(receiver.got[0][1])
    assert told["event"] == "run_failed" and (told["job"], told["drop"], told["dagster_run_id"]) == ("ingest", "monday", ran.run_id)
    assert told["text"] == "ingest of drop monday failed: shards: shard 3 is damaged; ingest the drop again" and told["failures"]


@pytest.mark.slow
def test_retraining_waits_for_enough_new_episodes(adapted, monkeypatch):
    import pipelines.sensors as sensors

    for name, value in adapted.environment.items():
        monkeypatch.setenv(name, value)
    with dg.instance_for_test() as instance:
        few = sensors.new_episodes(dg.build_sensor_context(instance=instance))
        assert isinstance(few, dg.SkipReason) and "5 new validated training episodes" in few.skip_message and "20 make it due: not due" in few.skip_message
        monkeypatch.setattr(sensors, "NEW_EPISODES", 5)
        enough = sensors.new_episodes(dg.build_sensor_context(instance=instance))
        assert isinstance(enough, dg.RunRequest)
        # Asked again before anything changed, it asks for the same run; the run key makes it one.
        assert sensors.new_episodes(dg.build_sensor_context(instance=instance)).run_key == enough.run_key


@pytest.mark.slow
def test_make_dev_serves_its_pages_and_ingests_what_lands(home):
    before = _in_the_root()
    with make_dev(home.environment) as (_, urls):
        for url in urls.values():
            with urllib.request.urlopen(url, timeout=10) as page:
                assert page.status == 200 and b"<html" in page.read().lower()
        folder = write_lerobot(home.lake / "landing" / "thursday", episodes=5, frames=24)
        (folder / "_SUCCESS").touch()
        assert _wait_for_run(urls["Dagster"], "thursday") == "SUCCESS"
        assert (home.lake / "drops/thursday/drop.json").is_file()
    assert _in_the_root() == before, "the root was littered"
    with pytest.raises(OSError):
        urllib.request.urlopen(urls["Dagster"], timeout=2)
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and str(home.path) in _environment_of(pid) and "dagster" in _command_of(pid)]


def _in_the_root() -> list[str]:
    """Names in the project's root; what test tools keep there may come at any time."""
    return sorted(path.name for path in ROOT.iterdir() if path.name not in (".hypothesis", ".pytest_cache"))


def _wait_for_run(url: str, drop: str) -> str:
    deadline = time.monotonic() + 540
    while time.monotonic() < deadline:
        runs = post_json(f"{url}/graphql", {"query": _RUNS})["data"]["runsOrError"]["results"]
        ended = [run["status"] for run in runs if {"key": "cosmos/drop", "value": drop} in run["tags"] and run["status"] in ("SUCCESS", "FAILURE", "CANCELED")]
        if ended:
            return ended[0]
        time.sleep(1)
    return "no run ended in time"


def _environment_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="ignore")
    except OSError:
        return ""


def _command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="ignore")
    except OSError:
        return ""
