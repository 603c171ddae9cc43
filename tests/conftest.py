"""What every test process has: thread teams no larger than half the machine, because tests start processes of their own."""

import os
from collections.abc import Iterator

# Before torch is imported: it reads the variable once.
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))

import pytest

from tests.fixtures.postgres_server import PostgresServer, postgres_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, told by the time that their tests ask for: at the end of a run a worker with nothing left waits for the other's file."""
    longest: dict[object, float] = {}
    for item in items:
        asked = item.get_closest_marker("timeout")
        seconds = asked.args[0] if asked else float(item.get_closest_marker("slow") is not None)
        longest[item.path] = max(longest.get(item.path, 0.0), seconds)
    items.sort(key=lambda item: -longest[item.path])


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Matrices as small as the tests' are no faster on two threads, and far slower where other processes want the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL; each test makes databases of its own in it."""
    with postgres_server() as server:
        yield server
