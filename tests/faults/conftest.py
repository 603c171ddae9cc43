"""A home with small settings, and `make dev` in it whose servers may be killed."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.dev_servers import DevServers, dev_servers
from tests.fixtures.lerobot_factory import write_lerobot
from tests.pipelines.conftest import Home, built_models, copy_of, home, log, tiny_profile  # noqa: F401  fixtures

MEASURED = os.environ.get("COSMOS_TEST_FAULTS")
"""A file to which each fault's measured recovery is appended as a line of JSON; the README holds such figures."""


@pytest.fixture
def recovered(request, capsys) -> Callable[[str, float], None]:
    """Tell how long a recovery took."""

    def tell(fault: str, seconds: float) -> None:
        with capsys.disabled():
            print(f"\n  {fault}: {seconds:.1f} s", flush=True)
        if MEASURED:
            with open(MEASURED, "a") as stream:
                stream.write(json.dumps({"fault": fault, "seconds": round(seconds, 1), "test": request.node.nodeid, "at": int(time.time())}) + "\n")

    return tell


@pytest.fixture(scope="module")
def dev(tmp_path_factory, tiny_profile) -> Iterator[DevServers]:  # noqa: F811
    """A running `make dev`; a test may kill its servers, and leaves them running."""
    folder = tmp_path_factory.mktemp("dev")
    with dev_servers(Home(folder / "home", tiny_profile).environment, folder / "dev.log") as servers:
        yield servers


def deliver(folder: Path, home_folder: Path, name: str, episodes: int = 5, seed: int = 0) -> None:
    """Put a new drop into the landing folder as people do: the marker comes last."""
    log = write_lerobot(folder / name, episodes=episodes, frames=24, seed=seed)  # noqa: F811
    landed = home_folder / "lake/landing" / name
    shutil.copytree(log, landed)
    (landed / "_SUCCESS").touch()
