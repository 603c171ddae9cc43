"""The parts of one piece of work as tasks of a Ray cluster. A node that is lost costs the tasks it ran: they run elsewhere."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from assets.resources.ray_cluster import connect, one_line
from assets.resources.workers import WorkersResource
from cosmos_ops.errors import WorkFailed
from cosmos_ops.workers import AHEAD, Sent, Workers, call_sent, code_hash

RETRIES = 3
"""Nodes or worker processes that a task may lose before it is taken for what kills them."""
_WAIT_S = 1.0
"""Ray waits where a signal does not reach it; this often it looks up."""


class RayWorkersResource(WorkersResource):
    """Workers of the cluster at `address`."""

    address: str

    def open(self) -> Workers:
        """Join the cluster. Raises `UserError` or `WorkFailed` in one line where that is not possible."""
        connect(self.address)
        return RayWorkers()


class RayWorkers:
    """Tasks of the cluster that this process has joined: a CPU each, and a GPU where the work needs one.

    Parts and results travel by value. What they name by a path (the log of a drop; for model work the lake, with its models) every node sees at that path.
    """

    here = False

    def map(self, function: Callable[[Any, Any], Any], shared: Any, parts: Iterable[Any], device: str = "cpu") -> Iterator[Any]:
        """As `Workers.map`. Lost nodes are made up for by running their tasks again, up to `RETRIES` times each."""
        import ray

        kind = "CPU" if device == "cpu" else "GPU"
        if not ray.cluster_resources().get(kind):
            raise WorkFailed(f"the Ray cluster has no {kind}; add a node that has one, or set COSMOS_DEVICE to what there is")
        # Spread: by default Ray fills the first node before it looks at the second, which leaves its tasks waiting for one disk.
        options = {"num_cpus": 1, "num_gpus": int(kind == "GPU"), "max_retries": RETRIES, "scheduling_strategy": "SPREAD"}
        task = ray.remote(call_sent).options(name=function.__name__.strip("_"), **options)
        once = ray.put(Sent(function, shared, code_hash()))
        pending: deque = deque()
        try:
            for part in parts:
                pending.append(task.remote(once, part))
                while len(pending) > AHEAD * max(1, int(ray.cluster_resources().get(kind, 1))):
                    yield _result(pending)
            while pending:
                yield _result(pending)
        finally:
            for waiting in pending:
                ray.cancel(waiting, force=True)

    def threads(self, parts: int) -> int:
        """One: a task has one processor."""
        return 1


def _result(pending: deque) -> Any:
    """The first task's result, which leaves the queue once it is here."""
    import ray

    try:
        while not ray.wait([pending[0]], timeout=_WAIT_S)[0]:
            pass
        result, error = ray.get(pending[0])
    except ray.exceptions.RayTaskError:
        raise  # a fault of ours, with its traceback
    except ray.exceptions.RayError as lost:
        raise WorkFailed(f"a part of the work was lost on the Ray cluster {RETRIES + 1} times: {one_line(lost)}; run again, what is whole is kept") from None
    pending.popleft()
    if error is not None:
        raise error
    return result
