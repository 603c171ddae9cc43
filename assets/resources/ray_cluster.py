"""The way to a Ray cluster: whether it answers, what it has, and this process's connection to it."""

import logging
import signal
import socket
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cosmos_ops.errors import UserError, WorkFailed

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_ANSWER_S = 5.0


@dataclass(frozen=True)
class ClusterFacts:
    """What a cluster has, of its nodes that live."""

    nodes: int
    cpus: float
    gpus: float
    version: str
    """Ray's own."""
    jobs_url: str | None
    """Where jobs are submitted; None where nothing answers there."""


def connect(address: str) -> None:
    """Join the cluster at `address` with this process, once. Raises `UserError` without Ray, `WorkFailed` where the cluster does not take it."""
    try:
        import ray
    except ImportError:
        raise UserError("Ray is not installed; install the project with its extra `ray`") from None
    if ray.is_initialized():
        return
    _knock(address)
    on_main = threading.current_thread() is threading.main_thread()
    stops = signal.getsignal(signal.SIGTERM) if on_main else None
    try:
        # Prints of tasks would mix with this program's own; what matters of them comes back as results and errors.
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except Exception as error:  # Ray raises a dozen kinds, each of which means the same here
        raise WorkFailed(f"the Ray cluster at {address} does not take this machine: {one_line(error)}; `cosmos-ops doctor` looks at it") from None
    finally:
        if on_main:
            signal.signal(signal.SIGTERM, stops)  # Ray puts its own in place, and a cancelled run would not be told


def has(address: str, kind: str) -> float:
    """How many `CPU` or `GPU` the cluster at `address` has. Raises like `connect`."""
    connect(address)
    import ray

    return ray.cluster_resources().get(kind, 0.0)


def look(address: str, jobs_url: str = "") -> ClusterFacts:
    """What the cluster at `address` has. Raises like `connect`."""
    _knock(address)
    # Before this process joins: to ask a Ray client's cluster means to join it for a moment.
    url = jobs_url or jobs_address(address)
    connect(address)
    import ray

    has = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    return ClusterFacts(nodes, has.get("CPU", 0.0), has.get("GPU", 0.0), f"Ray {ray.__version__}", url if url and _serves(url) else None)


def jobs_address(address: str) -> str | None:
    """The URL of the dashboard of the cluster at `address` as the cluster tells it, None without one."""
    from ray.dashboard.utils import get_address_for_submission_client

    try:
        return get_address_for_submission_client(address)
    except (ValueError, ConnectionError):
        return None


def client_of(address: str, jobs_url: str = "") -> "JobSubmissionClient":
    """What submits jobs to the cluster at `address`. Raises `UserError` without Ray, `WorkFailed` where its dashboard does not answer."""
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError:
        raise UserError("Ray is not installed; install the project with its extra `ray`") from None
    _knock(address)
    try:
        return JobSubmissionClient(jobs_url or jobs_address(address))
    except Exception as error:
        told = f"the Ray cluster at {address} takes no jobs: {one_line(error)}; start its dashboard, or say where it is in RAY_API_SERVER_ADDRESS"
        raise WorkFailed(told) from None


def _knock(address: str) -> None:
    """Ray itself tries for minutes; whether anybody listens is known at once."""
    place = address.removeprefix("ray://").partition("/")[0]
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"{address!r} is no address of a Ray cluster; it is HOST:6379 on one of its nodes, else ray://HOST:10001")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise WorkFailed(f"no Ray cluster answers at {address} ({error.strerror or error}); start it (`ray start --head`) or correct RAY_ADDRESS") from None


def _serves(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/api/version", timeout=_ANSWER_S).close()
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # it answers, and asks for the token
    except (urllib.error.URLError, OSError):
        return False
    return True


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
