import os
from collections.abc import Iterator

import pytest

from tests.ray.nodes import Cluster
from tests.training.conftest import _one_thread, nano_lake  # noqa: F401  fixtures


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of one CPU each, closed by a token; this process knows the way in."""
    import ray
    from ray._raylet import AuthenticationTokenLoader, Config

    cluster = Cluster()
    before = {name: os.environ.get(name) for name in (*cluster.variables, "RAY_ADDRESS")}
    os.environ.update(cluster.variables, RAY_ADDRESS=cluster.address)
    # Ray reads these once, when it is imported, which an earlier test may have done.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
    try:
        cluster.start_head()
        cluster.add_node()
        yield cluster
    finally:
        ray.shutdown()
        cluster.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
