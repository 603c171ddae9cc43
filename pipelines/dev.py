"""`make dev`: Dagster's webserver and daemon and an MLflow server on loopback, until Ctrl-C. One that dies is started again."""

import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

from cosmos_ops.errors import UserError
from pipelines.clock import release_sensors, watch_for_jumps
from pipelines.environments import DAGSTER_PORT, LOOPBACK, MLFLOW_PORT, PROJECT, Environment, environment, prepare
from pipelines.instance import open_instance
from pipelines.processes import process_mark
from pipelines.supervise import Server, stop, supervise

_START_S = 300.0
"""Loading the definitions takes seconds, on a busy machine minutes."""
_LOCK_S = 20.0
"""A daemon whose `make dev` is gone may take so long to end."""


def main() -> int:
    """Start the three, print their addresses when they answer, start again what ends, stop all on Ctrl-C."""
    # A plain kill stops the servers as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        env = environment()
        prepare(env)
        with _only_daemon(env) as lock:
            return _serve(env, lock)
    except UserError as error:
        print(f"make dev: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def _serve(env: Environment, lock: int) -> int:
    dagster_port, mlflow_port = _port(env.dagster_port, DAGSTER_PORT), _port(env.mlflow_port, MLFLOW_PORT)
    mlflow_url = f"http://{LOOPBACK}:{mlflow_port}" if not env.tracking_uri.startswith("http") else env.tracking_uri
    prepare(replace(env, mlflow_url=mlflow_url))
    _release(env)
    workspace = ["-w", str(PROJECT / "workspace.yaml")]
    daemon = Server("Dagster daemon", [sys.executable, "-m", "dagster._daemon", "run", *workspace], PROJECT, held=lock, children_stay=True)
    servers = [
        daemon,
        Server("Dagster", [sys.executable, "-m", "dagster_webserver", "-h", LOOPBACK, "-p", str(dagster_port), *workspace], PROJECT),
    ]
    if not env.tracking_uri.startswith("http"):
        servers.insert(0, Server("MLflow", _mlflow_command(env, mlflow_port), PROJECT))
    try:
        for server in servers:
            server.start()
        urls = {"Dagster": f"http://{LOOPBACK}:{dagster_port}", "MLflow": mlflow_url}
        if not all(_answers(url, servers) for url in urls.values()):
            return 1
        for name, url in urls.items():
            print(f"{name:8} {url}")
        print(f"landing  {env.lake.landing}  (a drop put here is noticed)\nCtrl-C stops all", flush=True)
        print(f"{supervise(servers, watch_for_jumps(lambda: _begin_again(env, daemon)))}; stopping the others", file=sys.stderr)
        return 1
    finally:
        stop(servers)


@contextlib.contextmanager
def _only_daemon(env: Environment) -> Iterator[int]:
    """Hold what only one daemon of a home may hold; the daemon inherits it, so that it is held as long as either lives.

    Dagster itself only warns of a second daemon, and both would work: runs asked for twice, limits counted apart.
    """
    path = env.dagster_home / ".daemon.lock"
    with open(path, "a+") as stream:
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = path.read_text().strip()
                if time.monotonic() > deadline or (holder.isdigit() and process_mark(int(holder)) is not None):
                    what = f"a Dagster daemon works on {env.dagster_home} already (started by process {holder})"
                    raise UserError(f"{what}; stop it, or set COSMOS_HOME to another folder") from None
                time.sleep(0.2)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield stream.fileno()


def _begin_again(env: Environment, daemon: Server) -> None:
    """After a step back of the clock: the daemon counts its pauses by it, and its queue and its sensors would stand still until it has caught up."""
    print("the clock was set back: the daemon begins again", file=sys.stderr, flush=True)
    daemon.kill()  # outright: runs that it launched go on
    _release(env)
    daemon.start()


def _release(env: Environment) -> None:
    with open_instance(env) as instance:
        released = release_sensors(instance)
    if released:
        print(f"{', '.join(released)} last looked in the future, and look again now", file=sys.stderr, flush=True)


def _mlflow_command(env: Environment, port: int) -> list[str]:
    # The store's address is in MLFLOW_BACKEND_STORE_URI: it may hold a password, and a command line is for everybody on the machine to read.
    return [
        sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        "--artifacts-destination", env.artifact_root, "--serve-artifacts",
    ]  # fmt: skip


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


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


def _answers(url: str, servers: list[Server]) -> bool:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        for server in servers:
            if (code := server.ended()) is not None:
                print(f"{server.name} did not start (code {code}); its messages are above", file=sys.stderr)
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
