"""The same through a real `mlflow server` on loopback that keeps the artifacts itself."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.registry import names
from cosmos_ops.registry.lineage import lineage_of
from cosmos_ops.registry.promote import adapter_folder, promote, rollback
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.usage import lineage_of_episode
from tests.fixtures.servers import answering, free_port
from tests.registry.conftest import FIRST, SECOND
from tests.registry.test_promote import run


@contextlib.contextmanager
def server(database: str, folder: Path, *options: str, port: int | None = None, **variables: str) -> Iterator[str]:
    """A real `mlflow server` on loopback that keeps artifacts in `folder`/served; the value is its address."""
    port = port or free_port()
    store = [*(["--backend-store-uri", database] if database else []), "--artifacts-destination", str(folder / "served"), "--serve-artifacts"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **variables}
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *store, *options]
    with answering(command, f"http://127.0.0.1:{port}/health", environment, folder):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def served(house, tmp_path):
    """The house with its database behind a server."""
    with server(house.tracking.tracking_uri, tmp_path) as address:
        yield replace(house, tracking=Tracking(address, tmp_path / "unused"))


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


@pytest.mark.slow
def test_a_server_with_a_login_is_reached_by_the_variables_of_mlflow_alone(house, tmp_path, monkeypatch):
    (tmp_path / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{tmp_path}/auth.db\nadmin_username = robot\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    login = {"MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"), "MLFLOW_AUTH_ADMIN_PASSWORD": "a long password", "MLFLOW_FLASK_SERVER_SECRET_KEY": "key"}
    with server(house.tracking.tracking_uri, tmp_path, "--app-name", "basic-auth", **login) as address:
        behind = replace(house, tracking=Tracking(address, tmp_path / "unused"))
        with pytest.raises(UserError, match="cannot be used .*MLFLOW_TRACKING_USERNAME"):
            _ = behind.tracking.client
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "robot")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a wrong password")
        with pytest.raises(UserError, match="cannot be used"):
            _ = behind.tracking.client
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a long password")
        _, decision, holder = run(behind, {"lora-r8": 0.3}, behind.dataset(FIRST))
        assert decision["promoted"] and lineage_of(behind.lake, behind.tracking, behind.profile, "champion")["run_id"] == holder["run_id"]
        shutil.rmtree(behind.adapter("lora-r8", behind.dataset(FIRST)).path)
        assert (adapter_folder(behind.lake, behind.tracking, behind.profile, "champion") / "adapter_model.safetensors").is_file()
