"""The wall clock set back and forward by a day under everything that `make dev` runs, and the parts of that which can be seen alone."""

import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, SensorInstigatorData

from pipelines.clock import release_sensors, sensors_in_the_future, watch_for_jumps
from tests.faults.conftest import deliver
from tests.fixtures.dev_servers import dev_servers, until
from tests.pipelines.conftest import Home

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
"""What `faketime` preloads; the form for programs with threads."""


def origin():
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="pipelines.definitions"), "cosmos-ops")
    return RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), "new_drops")


def test_a_sensor_that_looked_in_the_future_goes_on_with_its_cursor():
    with dg.instance_for_test() as instance:
        data = SensorInstigatorData(time.time() + 86400, None, 15, "what it saw", time.time() + 86400)
        instance.add_instigator_state(InstigatorState(origin(), InstigatorType.SENSOR, InstigatorStatus.RUNNING, data))
        assert 86300 < sensors_in_the_future(instance)["new_drops"] < 86500
        assert release_sensors(instance) == ["new_drops"]
        (state,) = instance.all_instigator_state()
        assert state.instigator_data.last_tick_timestamp <= time.time() and state.instigator_data.cursor == "what it saw"
        assert sensors_in_the_future(instance) == {} and release_sensors(instance) == []


def test_only_a_step_back_is_reacted_to(monkeypatch):
    reactions, offset, before = [], [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: before() + offset[0])
    look = watch_for_jumps(lambda: reactions.append(offset[0]))
    for offset[0] in (0.0, 86400.0, 86399.0, 0.0, 0.0):
        look()
    assert reactions == [0.0], "a day ahead and a second back cost no sensor anything; a day back does"


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed (Debian: apt install faketime)")
def test_drops_come_in_whatever_the_clock_does(tmp_path, tiny_profile, recovered):
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    faked = {"LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with dev_servers(Home(tmp_path / "home", tiny_profile).environment | faked, tmp_path / "dev.log") as dev:
        for number, (name, jump) in enumerate({"back": "-1d", "forward": "+1d"}.items()):
            deliver(tmp_path, dev.home, f"under-way-{name}", seed=2 * number)
            until(lambda name=name: any(run["status"] == "STARTED" for run in dev.runs(f"under-way-{name}")))
            offset.write_text(f"{jump}\n")
            deliver(tmp_path, dev.home, f"after-{name}", seed=2 * number + 1)
            _, seconds = until(lambda name=name: dev.ended(f"after-{name}"), deadline_s=180)
            for drop in (f"under-way-{name}", f"after-{name}"):
                until(lambda drop=drop: dev.ended(drop))
                assert [run["status"] for run in dev.runs(drop)] == ["SUCCESS"], drop
            recovered(f"the clock set {name} by a day, to the end of the next drop", seconds)
        assert dev.told().count("the clock was set back") == 1
