"""The same through a real `mlflow server` on loopback that keeps the artifacts itself."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from cosmos_ops.registry import names
from cosmos_ops.registry.lineage import lineage_of
from cosmos_ops.registry.promote import adapter_folder, promote, rollback
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.usage import lineage_of_episode
from tests.registry.conftest import FIRST, SECOND
from tests.registry.test_promote import run

_START_S = 120


@pytest.fixture
def served(house, tmp_path):
    """The house with its database behind a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ["--backend-store-uri", house.tracking.tracking_uri, "--artifacts-destination", str(tmp_path / "served"), "--serve-artifacts"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *store]
    with open(tmp_path / "server.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
        try:
            _wait(f"http://127.0.0.1:{port}/health", server, tmp_path / "server.log")
            yield replace(house, tracking=Tracking(f"http://127.0.0.1:{port}", tmp_path / "unused"))
        finally:
            # The server's workers are in its group: none may outlive the test.
            os.killpg(server.pid, 15)
            server.wait(30)


def _wait(address: str, server: subprocess.Popen, log) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"no answer within {_START_S} s: {log.read_text()}")


@pytest.mark.slow
def test_decide_promote_roll_back_download_and_trace_through_a_server(served, tmp_path):
    first, both = served.dataset(FIRST), served.dataset(FIRST, SECOND)
    run(served, {"lora-r8": 0.3}, first)
    _, decision, holder = run(served, {"dora-r8": 0.5}, both)
    assert decision["promoted"] and (holder["version"], holder["recipe"]) == (2, "dora-r8")
    assert list((tmp_path / "served").rglob("adapter_model.safetensors")) and not (tmp_path / "unused" / holder["name"]).exists()
    assert rollback(served.lake, served.tracking, served.profile)["version"] == 1
    assert promote(served.lake, served.tracking, served.profile, "2")["version"] == 2
    whole = lineage_of(served.lake, served.tracking, served.profile, "champion")
    assert (whole["version"], whole["recipe"], whole["scores"]["psnr"]["mean"]) == (2, "dora-r8", 20.5)
    assert [made["aliases"] for made in lineage_of_episode(served.lake, served.tracking, "ep-a")["adapters"]] == [[], ["champion"]]
    adapter = served.adapter("dora-r8", both)
    shutil.rmtree(adapter.path)
    assert adapter_folder(served.lake, served.tracking, served.profile, "champion") == adapter.path and served.adapter("dora-r8", both).unchanged
    assert served.tracking.client.get_run(holder["run_id"]).data.tags[names.RECORDED] == "yes"
