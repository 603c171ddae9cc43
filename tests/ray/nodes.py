"""A Ray cluster of separate processes on this machine, and the certainty that none is left."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from cosmos_ops.errors import UserError
from pipelines.environments import PROJECT

_MARK = "COSMOS_TEST_RAY_NODE"
_START_S = 300.0
# Ray gives a node 30 s to start, which a busy machine may not grant it.
_TRIES = 3
# Ports of workers are left to the system; nothing is started before it is needed; nobody watches statistics.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0", "RAY_prestart_worker_first_driver": "0", "OMP_NUM_THREADS": "1"}
_SMALL = ["--num-gpus=0", "--object-store-memory=150000000", "--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"]


@dataclass
class Cluster:
    """One head, and nodes that come and go."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="r-", dir="/tmp")))
    """Short: sockets lie in it, whose paths have little room."""
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    port: int = field(default_factory=lambda: free_port())
    nodes: int = 0

    def __post_init__(self):
        token = self.folder / "token"
        token.write_text(uuid.uuid4().hex)
        token.chmod(0o600)
        self.variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}

    @property
    def address(self) -> str:
        return f"{_own_address()}:{self.port}"

    def start_head(self) -> None:
        self._start(["--head", f"--port={self.port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={free_port()}", f"--temp-dir={self.folder}"])

    def add_node(self) -> str:
        """Returns the node's name here."""
        return self._start([f"--address={self.address}"])

    def kill_node(self, node: str) -> None:
        """kill -9 of its raylet, as when the machine goes."""
        (raylet,) = [pid for pid in self._processes(node) if Path(f"/proc/{pid}/exe").resolve().name == "raylet"]
        os.kill(raylet, signal.SIGKILL)

    def stop(self) -> None:
        """Nothing of any node is left when this returns."""
        self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, arguments: list[str]) -> str:
        self.nodes += 1
        node = f"{self.name}-{self.nodes}"
        command = [str(Path(sys.executable).parent / "ray"), "start", *arguments, "--num-cpus=1", f"--dashboard-agent-listen-port={free_port()}", *_SMALL]
        environment = {**os.environ, **_QUIET, **self.variables, _MARK: node, "PYTHONPATH": str(PROJECT)}
        for _ in range(_TRIES):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_START_S, cwd=self.folder)
            if done.returncode == 0:
                return node
            self._kill(node)
        raise AssertionError(done.stdout + done.stderr)

    def _kill(self, node: str | None = None) -> None:
        deadline = time.monotonic() + 20
        while pids := self._processes(node):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < deadline, f"processes {pids} do not end"

    def _processes(self, node: str | None = None) -> list[int]:
        """Everything a node started inherited its mark."""
        mark = f"{_MARK}={node}\0" if node else f"{_MARK}={self.name}-"
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark.encode() in (folder / "environ").read_bytes() + b"\0" and (folder / "stat").read_text().rpartition(") ")[2][0] != "Z":
                    found.append(int(folder.name))
        return found


def free_port() -> int:
    """A port nobody listens on, below those that the system hands out by itself."""
    for port in range(20000 + os.getpid() % 9000, 32000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            if port not in _given:
                _given.add(port)
                return port
    raise AssertionError("no port is free")


_given: set[int] = set()


def _own_address() -> str:
    """Ray takes loopback for this address."""
    from ray._private.services import get_node_ip_address

    return get_node_ip_address()


def gated(shared: tuple, part):
    """A task that says where it runs and waits for a file, then does what it is for."""
    import ray

    folder, function, own = shared
    (folder / ray.get_runtime_context().get_node_id()).touch()
    wait_for((folder / "open").exists)
    return function(own, part)


def wait_for(holds, limit_s: float = 240.0) -> None:
    """Until `holds()`; fails after the limit."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"{holds} does not hold after {limit_s} s"
        time.sleep(0.05)


def refuse(what: str, part: int) -> int:
    """Part 2 is bad input."""
    if part == 2:
        raise UserError(f"part {part} is {what}")
    return part


def die(folder: Path, part: int) -> None:
    """Leaves a note and ends the worker's process."""
    (folder / str(os.getpid())).touch()
    os.kill(os.getpid(), signal.SIGKILL)
