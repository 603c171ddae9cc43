"""A second daemon on one instance, started past the lock of `make dev`: no run is launched twice, every drop is made once, and `doctor` says so."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from tests.faults.conftest import deliver
from tests.fixtures.dev_servers import DAEMON, ROOT, until
from tests.pipelines.conftest import Home

pytestmark = pytest.mark.slow

DROPS = ("one", "two", "three")


def test_two_daemons_make_every_drop_once(dev, tmp_path, tiny_profile, recovered):
    home = Home(dev.home, tiny_profile)
    environment = home.environment | {"DAGSTER_HOME": str(dev.home / "dagster"), "COSMOS_LAKE": str(home.lake)}
    with open(tmp_path / "second.log", "w") as log:
        command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(ROOT / "workspace.yaml")]
        second = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: "SensorDaemon" in (tmp_path / "second.log").read_text())
        for number, name in enumerate(DROPS):
            deliver(tmp_path, dev.home, name, seed=20 + number)
        told = home.json("doctor")
        (finding,) = [found for found in told["findings"] if found["name"] == "dagster daemon"]
        assert not told["ok"] and str(second.pid) in finding["detail"] and str(dev.server(DAEMON)) in finding["detail"]
        _, seconds = until(lambda: all(dev.ended(name) for name in DROPS))
        until(lambda: all(run["status"] not in ("STARTED", "STARTING", "QUEUED", "NOT_STARTED") for name in DROPS for run in dev.runs(name)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGKILL)
        second.wait()
    runs = {name: [run["status"] for run in dev.runs(name)] for name in DROPS}
    # Both may see a drop at the same moment and ask for it: the second run then finds everything done.
    assert all(set(statuses) == {"SUCCESS"} for statuses in runs.values()), runs
    assert all(len(list(home.lake.glob(f"drops/{name}/shards/*/manifest.json"))) == 1 for name in DROPS)
    assert home.json("verify")["ok"]
    assert not [found for found in home.json("doctor")["findings"] if found["name"] == "dagster daemon"]
    recovered(f"two daemons, {len(DROPS)} drops in {sum(map(len, runs.values()))} runs", seconds)
