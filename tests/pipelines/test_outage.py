"""MLflow gone during the work: nothing is lost, nothing is trained twice, and the next command records what is missing."""

import shutil
import sqlite3
from dataclasses import dataclass

import pytest

from tests.pipelines.conftest import Home
from tests.registry.test_server import server

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Remote(Home):
    """A home whose MLflow is a server."""

    tracking_uri: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"MLFLOW_TRACKING_URI": self.tracking_uri}


def test_an_outage_costs_no_training_and_no_record(home, log, built_models, one_recipe_profile, tmp_path):
    database = f"sqlite:///{tmp_path}/mlflow.db"
    with server(database, tmp_path) as address:
        pass
    home = Remote(home.path, one_recipe_profile, address)
    shutil.copytree(built_models, home.lake / "models")
    home.run("ingest", str(log))
    told = home.run("train").stderr
    assert told.count("not recorded in MLflow yet: MLflow at http://127.0.0.1") == 1
    trained = {path: path.stat().st_mtime_ns for path in home.lake.glob("adapters/*/adapter_model.safetensors")}
    assert len(trained) == 1
    failed = home.run("run", code=2).stderr
    assert [line for line in failed.splitlines() if line.startswith("cosmos-ops: MLflow at http://127.0.0.1") and "does not answer" in line]
    with server(database, tmp_path, port=int(address.rsplit(":", 1)[1])):
        outcome = home.json("run")
    assert outcome["reason"] and {path: path.stat().st_mtime_ns for path in trained} == trained
    with sqlite3.connect(tmp_path / "mlflow.db") as stored:
        kinds = [value for (value,) in stored.execute("select value from tags where key = 'cosmos.kind'")]
        losses = stored.execute("select count(distinct run_uuid) from metrics where key = 'loss'").fetchone()[0]
    assert sorted(kinds) == ["adapter", "base", "leaderboard"] and losses == 1
    assert len(list((tmp_path / "served").rglob("adapter_model.safetensors"))) == 1
