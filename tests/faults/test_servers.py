"""The servers of `make dev` killed one by one, with work under way: each comes back, and no drop is lost or made twice."""

import os
import signal
import subprocess
import sys

import pytest

from tests.faults.conftest import deliver
from tests.fixtures.dev_servers import DAEMON, MLFLOW, ROOT, WEBSERVER, dev_servers, parent_of, processes_of, until
from tests.pipelines.conftest import Home

pytestmark = pytest.mark.slow

_FORGET = """mutation($s: SensorSelector!, $r: RepositorySelector!, $k: [String!]!) {
  setSensorCursor(sensorSelector: $s, cursor: null) { __typename }
  deleteDynamicPartitions(repositorySelector: $r, partitionsDefName: "drops", partitionKeys: $k) { __typename } }"""
_TICKS = "query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState { ticks(limit: 5) { tickId status runKeys } } } } }"
_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "cosmos-ops"}
_SENSOR = _REPOSITORY | {"sensorName": "new_drops"}


@pytest.mark.parametrize(("server", "page", "called"), [(WEBSERVER, "Dagster", "Dagster"), (MLFLOW, "MLflow", "MLflow")])
def test_a_killed_web_server_answers_again_at_the_same_address(dev, recovered, server, page, called):
    said = dev.told().count(f"{called} ended with code -9; started again")
    workers = [pid for pid in processes_of(dev.home) if parent_of(pid) == dev.server(server)]
    killed = dev.kill(server)
    _, seconds = until(lambda: dev.server(server) not in (None, killed) and dev.answers(page))
    assert dev.told().count(f"{called} ended with code -9; started again") == said + 1
    assert dev.process.poll() is None and not set(workers) & set(processes_of(dev.home)), "a worker of the killed one still answers"
    recovered(f"kill -9 of {page}'s web server", seconds)


def test_a_killed_daemon_comes_back_and_a_drop_under_way_is_made_once(dev, recovered, tmp_path):
    deliver(tmp_path, dev.home, "under-way", seed=1)
    until(lambda: any(run["status"] == "STARTED" for run in dev.runs("under-way")))
    killed = dev.kill(DAEMON)
    deliver(tmp_path, dev.home, "meanwhile", seed=2)
    until(lambda: dev.server(DAEMON) not in (None, killed))
    _, seconds = until(lambda: dev.ended("meanwhile"))
    until(lambda: dev.ended("under-way"))
    for drop in ("under-way", "meanwhile"):
        assert [run["status"] for run in dev.runs(drop)] == ["SUCCESS"], drop
        assert list((dev.home / "lake/drops" / drop / "shards").glob("*/manifest.json"))
    recovered("kill -9 of the daemon, to the end of a drop that came while it was gone", seconds)


def test_a_tick_that_comes_twice_asks_for_nothing_twice(dev, recovered, tmp_path):
    deliver(tmp_path, dev.home, "twice", seed=3)
    until(lambda: dev.ended("twice"))
    # All that the first tick left in Dagster is taken away: what it saw, and the partition that it added. The next asks for the same run again.
    done = dev.ask(_FORGET, s=_SENSOR, r=_REPOSITORY, k=["twice"])
    assert (done["setSensorCursor"]["__typename"], done["deleteDynamicPartitions"]["__typename"]) == ("Sensor", "DeleteDynamicPartitionsSuccess")

    def asked_again() -> bool:
        ticks = dev.ask(_TICKS, s=_SENSOR)["sensorOrError"]["sensorState"]["ticks"]
        return any(tick["status"] == "SKIPPED" and any(key.startswith("twice:") for key in tick["runKeys"]) for tick in ticks)

    _, seconds = until(asked_again)
    assert [run["status"] for run in dev.runs("twice")] == ["SUCCESS"]
    recovered("a tick evaluated again", seconds)


def test_a_second_make_dev_is_refused_in_one_line(dev, recovered):
    environment = Home(dev.home, ROOT / "unused.yaml").environment | {"COSMOS_PROFILE": "nano"}
    done = subprocess.run([sys.executable, "-m", "pipelines.dev"], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("make dev: a Dagster daemon works on") and str(dev.process.pid) in line and "COSMOS_HOME" in line
    assert dev.answers("Dagster")


def test_killed_itself_it_leaves_nothing_running_and_starts_again(tmp_path, tiny_profile, recovered):
    home = Home(tmp_path / "home", tiny_profile)
    with dev_servers(home.environment, tmp_path / "first.log") as dev:
        os.kill(dev.process.pid, signal.SIGKILL)
        dev.process.wait()
        _, seconds = until(lambda: not [pid for pid in processes_of(home.path)])
    recovered("kill -9 of make dev, until its servers are gone", seconds)
