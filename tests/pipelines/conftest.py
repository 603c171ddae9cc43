"""A home of its own for each test, the real command line in a subprocess, and one adapted home that read-only tests share."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.fixtures.lerobot_factory import write_lerobot

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Home:
    """A `COSMOS_HOME` and the command line in it."""

    path: Path
    profile: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COSMOS_", "DAGSTER_", "MLFLOW_"))}
        return {**kept, "COSMOS_HOME": str(self.path), "COSMOS_PROFILE": str(self.profile), "PYTHONPATH": str(ROOT)}

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines", *arguments], env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run([sys.executable, "-m", "pipelines", *arguments], env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=540)
        assert done.returncode == code, f"exit {done.returncode}, expected {code}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert "Traceback" not in done.stdout
        return done

    def json(self, *arguments: str) -> dict:
        return json.loads(self.run(*arguments, "--json").stdout.strip().splitlines()[-1])

    @property
    def lake(self) -> Path:
        return self.path / "lake"


@pytest.fixture(scope="session")
def tiny_profile(tmp_path_factory) -> Path:
    """The nano profile with as little work as makes sense: 9 frames, 4 updates, 2 sampler steps."""
    settings = yaml.safe_load((ROOT / "cosmos_ops/profiles/nano.yaml").read_text())
    settings["name"] = "tiny"
    settings["clip"] |= {"frames": 9, "height": 32, "width": 48, "max_windows_per_episode": 2}
    settings["generation"] |= {"steps": 2, "batch": 4}
    settings["evaluation"] |= {"max_clips": 4}
    settings["training"]["overrides"] |= {"steps": 4, "validate_every": 2, "checkpoint_minutes": 0.0}
    path = tmp_path_factory.mktemp("profile") / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="session")
def one_recipe_profile(tiny_profile) -> Path:
    """The same with one adapter to train."""
    path = tiny_profile.with_name("one-recipe.yaml")
    path.write_text(yaml.safe_dump(yaml.safe_load(tiny_profile.read_text()) | {"recipes": ["lora-r8"]}))
    return path


@pytest.fixture(scope="session")
def built_models(tmp_path_factory, tiny_profile) -> Path:
    """The nano weights, built once: building them takes longer than using them."""
    from cosmos_ops.base_models import load_world_model
    from cosmos_ops.profiles import load_profile

    cache = tmp_path_factory.mktemp("models")
    load_world_model(load_profile(str(tiny_profile)).base_model, cache, "cpu", ("vae",))
    return cache


@pytest.fixture
def home(tmp_path, tiny_profile) -> Home:
    return Home(tmp_path / "home", tiny_profile)


@pytest.fixture
def log(tmp_path) -> Path:
    return write_lerobot(tmp_path / "monday", episodes=6, frames=24)


@pytest.fixture(scope="session")
def adapted(tmp_path_factory, tiny_profile, built_models) -> Home:
    """A home with one drop ingested and one whole run; tests must not change it."""
    folder = tmp_path_factory.mktemp("adapted")
    home = Home(folder / "home", tiny_profile)
    shutil.copytree(built_models, home.lake / "models")
    home.run("ingest", str(write_lerobot(folder / "monday", episodes=8, frames=24)))
    (folder / "run.json").write_text(json.dumps(home.json("run")))
    return home


@pytest.fixture
def copy_of(tmp_path) -> Callable[[Home], Home]:
    """A private copy of a home, for tests that change it."""

    def copy(home: Home) -> Home:
        shutil.copytree(home.path, tmp_path / "copy", symlinks=True)
        return Home(tmp_path / "copy", home.profile)

    return copy
