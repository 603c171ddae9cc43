"""One S3 server for all of these tests, a bucket for each, and homes that share a lake in it as machines would."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cosmos_ops.lake import Lake
from tests.fixtures.lerobot_factory import write_lerobot
from tests.pipelines.conftest import Home

for package in ("s3fs", "boto3", "moto"):
    pytest.importorskip(package, reason="the dev extra has what these tests need: pip install -e '.[dev]'")

from tests.fixtures.object_store import ObjectStore, object_store  # noqa: E402

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Machine(Home):
    """A home whose `COSMOS_LAKE` names a lake elsewhere."""

    lake_url: str
    store: ObjectStore

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COSMOS_", "DAGSTER_", "MLFLOW_", "AWS_"))}
        own = {"COSMOS_HOME": str(self.path), "COSMOS_PROFILE": str(self.profile), "COSMOS_LAKE": self.lake_url, "PYTHONPATH": str(ROOT)}
        return {**kept, **self.store.environment, **{name: value for name, value in own.items() if value}}

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess:
        done = super().run(*arguments, code=code)
        assert "Traceback" not in done.stderr, done.stderr[-4000:]
        return done


@pytest.fixture(scope="session")
def server() -> Iterator[ObjectStore]:
    with object_store() as made:
        yield made


@pytest.fixture(autouse=True, scope="module")
def reachable(server) -> Iterator[None]:
    """This process reaches the server by the standard variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def store(server) -> Iterator[ObjectStore]:
    """The store without faults, its counts at zero."""
    server.mend()
    server.counts()
    yield server
    server.mend()


@pytest.fixture
def lake_url(store) -> str:
    return f"s3://{store.bucket()}/lake"


@pytest.fixture(scope="session")
def profile(tmp_path_factory) -> Path:
    """nano with as little work as makes sense: 9 frames, 4 updates, two clips a shard so that there are several."""
    settings = yaml.safe_load((ROOT / "cosmos_ops/profiles/nano.yaml").read_text())
    settings["name"] = "tiny"
    settings["clip"] |= {"frames": 9, "height": 32, "width": 48, "max_windows_per_episode": 2}
    settings["generation"] |= {"steps": 2, "batch": 4}
    settings["evaluation"] |= {"max_clips": 4}
    settings["recipes"] = ["lora-r8"]
    settings["shards"] = settings.get("shards", {}) | {"clips_per_shard": 4}
    settings["training"]["overrides"] |= {"steps": 4, "validate_every": 2, "checkpoint_minutes": 0.0}
    path = tmp_path_factory.mktemp("profile") / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def copy(tmp_path, lake_url) -> Callable[[str], Lake]:
    """Makes working copies, by name, of one lake: a machine each, all in this process."""
    return lambda name: Lake(tmp_path / name / "lake", lake_url)


@pytest.fixture
def machine(tmp_path, lake_url, profile, store) -> Callable[[str], Machine]:
    """Makes machines, by name, that share one lake."""
    return lambda name: Machine(tmp_path / name, profile, lake_url, store)


@pytest.fixture
def log(tmp_path) -> Path:
    return write_lerobot(tmp_path / "monday", episodes=6, frames=24)
