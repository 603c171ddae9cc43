"""What every test process has: thread teams no larger than half the machine, because tests start processes of their own."""

import os
from collections.abc import Iterator

# Before torch is imported: it reads the variable once.
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))

import pytest

from tests.fixtures.postgres_server import PostgresServer, postgres_server


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
