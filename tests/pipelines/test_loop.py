"""The loop that runs by itself, with the real webserver and daemon: a drop comes in, the model is adapted again, the challenger takes over;
a faulty drop changes nothing; and a daemon that is killed in the middle finishes when it is back."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.fixtures.lerobot_factory import write_lerobot, write_video
from tests.fixtures.servers import make_dev, post_json
from tests.pipelines.conftest import Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

_RUNS = "{ runsOrError { ... on Runs { results { runId status jobName tags { key value } } } } }"
_SWITCH_ON = "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
_REPOSITORIES = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
_DEADLINE_S = 1500.0


class Loop:
    """`make dev` as a process, and what its pages answer."""

    def __init__(self, home: Home, variables: dict[str, str]):
        self.home, self.variables = home, variables
        self.url = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen]:
        with make_dev(self.home.environment | self.variables) as (process, urls):
            self.url = urls["Dagster"]
            yield process

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        told = post_json(f"{self.url}/graphql", {"query": query, "variables": variables})
        assert "errors" not in told, told
        return told["data"]

    def switch_on(self, sensor: str) -> None:
        (node,) = self.ask(_REPOSITORIES)["repositoriesOrError"]["nodes"]
        selector = {"repositoryName": node["name"], "repositoryLocationName": node["location"]["name"], "sensorName": sensor}
        assert self.ask(_SWITCH_ON, s=selector)["startSensor"]["__typename"] == "Sensor"

    def runs(self, job: str) -> list[dict[str, Any]]:
        """Runs of a job, the newest first."""
        return [run for run in self.ask(_RUNS)["runsOrError"]["results"] if run["jobName"] == job]

    def ended(self, job: str, drop: str | None = None) -> str | None:
        """How the newest run of a job (of a drop) ended, None while it has not."""
        for run in self.runs(job):
            if drop is None or {"key": "cosmos/drop", "value": drop} in run["tags"]:
                return run["status"] if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None
        return None


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + _DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(1)
    return value


@pytest.fixture
def loop(adapted, copy_of, tmp_path) -> Loop:
    """A home with a champion of four updates, a recipe that learns more, and a gate of one metric: the toy's eight videos are too few for the package's."""
    home = copy_of(adapted)
    home.run("promote", "1", "--force", "--reason", "to have something to beat")
    settings = yaml.safe_load(adapted.profile.read_text())
    settings["training"]["overrides"] |= {"steps": 80, "validate_every": 40}
    settings["evaluation"] |= {"max_clips": 8}
    settings["recipes"] = ["lora-r8"]
    (tmp_path / "learns.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "gates.yaml").write_text("against: [base, incumbent]\nmust_beat: [psnr]\n")
    return Loop(Home(home.path, tmp_path / "learns.yaml"), {"COSMOS_GATES": str(tmp_path / "gates.yaml")})


def deliver(folder: Path, landing: Path) -> None:
    """Copy a drop in as people do: the marker comes last."""
    shutil.copytree(folder, landing / folder.name)
    (landing / folder.name / "_SUCCESS").touch()


def faulty(root: Path) -> Path:
    """Six episodes whose camera was covered."""
    write_lerobot(root, episodes=6, frames=24, seed=11)
    for path in sorted(root.rglob("*.mp4")):
        path.unlink()
        write_video(path, np.zeros((24, 96, 128, 3), np.uint8), 10)
    return root


def test_the_loop_runs_by_itself(loop, tmp_path):
    home, landing = loop.home, loop.home.lake / "landing"
    before = home.json("history")
    assert before["champion"] == 1
    with loop.running():
        loop.switch_on("new_episodes")
        deliver(write_lerobot(tmp_path / "tuesday", "v3.0", episodes=26, frames=24, seed=7), landing)
        assert wait_for(lambda: loop.ended("ingest", "tuesday")) == "SUCCESS"
        wait_for(lambda: len(loop.runs("adapt")) == 2)  # the first is the command line's
        assert wait_for(lambda: loop.ended("adapt")) == "SUCCESS"
        after = home.json("history")
        assert after["champion"] not in (None, 1) and after["history"][-1]["action"] == "promote", after
        assert "beats base and the incumbent" in after["history"][-1]["reason"]

        # Nothing of a covered camera is usable: its drop stops at a check, and the champion stays.
        deliver(faulty(tmp_path / "wednesday"), landing)
        assert wait_for(lambda: loop.ended("ingest", "wednesday")) == "FAILURE"
        assert home.json("history") == after and len(loop.runs("adapt")) == 2

    # Killed in the middle of a drop, with everything it started; back again, it finishes.
    with loop.running() as process:
        deliver(write_lerobot(tmp_path / "thursday", episodes=6, frames=24, seed=13), landing)
        wait_for(lambda: any(run["status"] == "STARTED" for run in loop.runs("ingest")))
        kill_all_of(home, process)
    assert not list(home.lake.glob("drops/thursday/shards/*/manifest.json")), "it was done before it could be killed"
    with loop.running():
        assert wait_for(lambda: loop.ended("ingest", "thursday") == "SUCCESS")
    assert list(home.lake.glob("drops/thursday/shards/*/manifest.json"))


def kill_all_of(home: Home, process: subprocess.Popen) -> None:
    """As a power cut does: every process of this home at once."""
    wanted = f"COSMOS_HOME={home.path}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if int(pid) != os.getpid() and wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(int(pid), signal.SIGKILL)
    process.wait(timeout=60)
