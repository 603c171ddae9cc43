"""`make dev`: Dagster's webserver and daemon and an MLflow server on loopback, until Ctrl-C."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace

from pipelines.environments import DAGSTER_PORT, LOOPBACK, MLFLOW_PORT, PROJECT, Environment, environment, prepare
from pipelines.instance import open_instance

_START_S = 300.0
"""Loading the definitions takes seconds, on a busy machine minutes."""


def main() -> int:
    """Start the three, print their addresses when they answer, stop all when one ends or on Ctrl-C."""
    env = environment()
    dagster_port, mlflow_port = _port(env.dagster_port, DAGSTER_PORT), _port(env.mlflow_port, MLFLOW_PORT)
    mlflow_url = f"http://{LOOPBACK}:{mlflow_port}" if not env.tracking_uri.startswith("http") else env.tracking_uri
    prepare(replace(env, mlflow_url=mlflow_url))
    open_instance(env).dispose()
    processes: dict[str, subprocess.Popen] = {}
    # A plain kill stops the servers as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if not env.tracking_uri.startswith("http"):
            processes["MLflow"] = _start(_mlflow_command(env, mlflow_port))
        workspace = ["-w", str(PROJECT / "workspace.yaml")]
        processes["Dagster daemon"] = _start([sys.executable, "-m", "dagster._daemon", "run", *workspace])
        processes["Dagster"] = _start([sys.executable, "-m", "dagster_webserver", "-h", LOOPBACK, "-p", str(dagster_port), *workspace])
        urls = {"Dagster": f"http://{LOOPBACK}:{dagster_port}", "MLflow": mlflow_url}
        if not all(_answers(url, processes) for url in urls.values()):
            return 1
        for name, url in urls.items():
            print(f"{name:8} {url}")
        print(f"landing  {env.lake.landing}  (a drop put here is noticed)\nCtrl-C stops all", flush=True)
        while all(process.poll() is None for process in processes.values()):
            time.sleep(0.5)
        ended = next(name for name, process in processes.items() if process.poll() is not None)
        print(f"{ended} ended with code {processes[ended].returncode}; stopping the others", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(processes)


def _mlflow_command(env: Environment, port: int) -> list[str]:
    return [
        sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        "--backend-store-uri", env.tracking_uri, "--artifacts-destination", env.artifact_root, "--serve-artifacts",
    ]  # fmt: skip


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _start(command: list[str]) -> subprocess.Popen:
    # In sessions of their own, so that Ctrl-C reaches this process alone and it stops them in order.
    return subprocess.Popen(command, cwd=PROJECT, start_new_session=True)


def _stop(processes: dict[str, subprocess.Popen]) -> None:
    for process in processes.values():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 15
    for process in processes.values():
        # The leader's children, code servers and runs, may take longer than it does.
        while _lives(process) and time.monotonic() < deadline:
            time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _lives(process: subprocess.Popen) -> bool:
    """Whether anything is left of a process's group."""
    process.poll()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 0)
        return True
    return False


def _port(named: int | None, wanted: int) -> int:
    """The port that was named; otherwise the usual one, or a free one when that is taken."""
    if named is not None:
        return named
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, port))
                return probe.getsockname()[1]
    return wanted


def _answers(url: str, processes: dict[str, subprocess.Popen]) -> bool:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        for name, process in processes.items():
            if process.poll() is not None:
                print(f"{name} did not start (code {process.returncode}); its messages are above", file=sys.stderr)
                return False
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    print(f"{url} does not answer after {_START_S:.0f} s", file=sys.stderr)
    return False


if __name__ == "__main__":
    sys.exit(main())
