"""The wall clock set back and forward by a day under everything that `make dev` runs, and the parts of that which can be seen alone."""

import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, SensorInstigatorData

from pipelines.clock import release_sensors, sensors_in_the_future, watch_for_jumps
from tests.faults.conftest import deliver
from tests.fixtures.dev_servers import ROOT, dev_servers, until
from tests.pipelines.conftest import Home

SHIM = ROOT / "tests/fixtures/clock_shim.c"
DAY_S = 86400


class Clock:
    """The wall clock of processes that are started with `variables`."""

    def __init__(self, folder: Path):
        self.file, library = folder / "clock", folder / "clock_shim.so"
        self.set(0)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM)], check=True)
        self.variables = {"LD_PRELOAD": str(library), "COSMOS_TEST_CLOCK": str(self.file)}

    def set(self, ahead_s: int) -> None:
        """Set it, to so many seconds ahead of the true time, from this moment on."""
        with open(self.file, "r+b" if self.file.exists() else "wb") as stream:
            stream.write(struct.pack("=q", ahead_s))


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
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here to build the clock with (Debian: apt install gcc)")
def test_drops_come_in_whatever_the_clock_does(tmp_path, tiny_profile, recovered):
    clock = Clock(tmp_path)
    told = subprocess.run([sys.executable, "-c", "import time; print(time.time())"], env=os.environ | clock.variables, capture_output=True, text=True).stdout
    assert abs(float(told) - time.time()) < 30
    with dev_servers(Home(tmp_path / "home", tiny_profile).environment | clock.variables, tmp_path / "dev.log") as dev:
        for number, (name, ahead_s) in enumerate({"back": -DAY_S, "forward": DAY_S}.items()):
            deliver(tmp_path, dev.home, f"under-way-{name}", seed=2 * number)
            until(lambda name=name: any(run["status"] == "STARTED" for run in dev.runs(f"under-way-{name}")))
            clock.set(ahead_s)
            deliver(tmp_path, dev.home, f"after-{name}", seed=2 * number + 1)
            _, seconds = until(lambda name=name: dev.ended(f"after-{name}"))
            for drop in (f"under-way-{name}", f"after-{name}"):
                until(lambda drop=drop: dev.ended(drop))
                assert [run["status"] for run in dev.runs(drop)] == ["SUCCESS"], drop
            recovered(f"the clock set {name} by a day, to the end of the next drop", seconds)
        assert dev.told().count("the clock was set back") == 1
