"""Training on several nodes of a Ray cluster, or several GPUs of one.

    python -m cosmos_ops.training.ray_nodes --nodes N --gpus G -- -m cosmos_ops.training --config X.json

Runs inside a Ray job. Reserves the nodes together, all or none, starts one `torchrun` on each and passes on what the first prints. Exit codes:
0 done, 75 a node was lost or the job was stopped, so that running it again continues from the checkpoint, else what a `torchrun` ended with.
"""

import argparse
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

LOST = 75
"""EX_TEMPFAIL, as the training program says it."""
_WAIT_S = 1.0
_OTHERS_S = 60.0
"""When one node ends badly the others follow: their peers are gone. Which of them was the cause is known after this time."""


class Node:
    """One node's share: a `torchrun` and its processes."""

    def __init__(self):
        self.process: subprocess.Popen | None = None
        self.stopped = False

    def place(self) -> tuple[str, int]:
        """Address of this node and a port on it that is free now."""
        import ray

        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def run(self, rank: int, nodes: int, each: int, master: tuple[str, int], program: list[str]) -> Iterator[str | int]:
        """The lines that the first node's processes print, and at last the exit code."""
        command = [
            sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--node-rank={rank}", f"--nproc-per-node={each}",
            f"--master-addr={master[0]}", f"--master-port={master[1]}", *program,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE if rank == 0 else sys.stderr, text=True, start_new_session=True)
        if self.stopped:
            self.process.terminate()
        if self.process.stdout is not None:
            for line in self.process.stdout:
                yield line.rstrip("\n")
        yield self.process.wait()

    def stop(self) -> None:
        """Ask the processes to save and end."""
        self.stopped = True
        if self.process is not None:
            self.process.terminate()


def main(arguments: list[str] | None = None) -> int:
    """Run one training; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cosmos_ops.training.ray_nodes", description="Start torchrun on several nodes of a Ray cluster.")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--gpus", type=int, required=True, help="of each node; 0: one process a node, on its CPUs")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="what follows `torchrun`")
    options = parser.parse_args(arguments)
    program = options.program[1:] if options.program[:1] == ["--"] else options.program

    import ray

    ray.init(logging_level="ERROR")
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: stops.append(received))
    bundle = {"CPU": 1} | ({"GPU": options.gpus} if options.gpus else {})
    group = ray.util.placement_group([bundle] * options.nodes, strategy="STRICT_SPREAD")
    try:
        if not _ready(group, stops):
            return LOST
        strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        actors = [
            # Two calls at once: one runs, the other may stop it.
            ray.remote(Node)
            .options(num_cpus=1, num_gpus=options.gpus, max_concurrency=2, scheduling_strategy=strategy(group, placement_group_bundle_index=rank))
            .remote()
            for rank in range(options.nodes)
        ]
        return _follow(actors, max(1, options.gpus), program, stops)
    finally:
        ray.util.remove_placement_group(group)  # ends what is left on the nodes


def _ready(group: Any, stops: list[int]) -> bool:
    """Wait for all nodes at once, told why now and then; False where the job was stopped meanwhile."""
    import ray

    told = time.monotonic()
    while not stops:
        if ray.wait([group.ready()], timeout=_WAIT_S)[0]:
            return True
        if time.monotonic() - told > _OTHERS_S:
            told = time.monotonic()
            _say(f"waiting for {len(group.bundle_specs)} nodes with {group.bundle_specs[0]} free; the cluster has {ray.available_resources()} free")
    return False


def _follow(actors: list[Any], each: int, program: list[str], stops: list[int]) -> int:
    """Pass on lines until every node has ended; returns the exit code of all."""
    import ray

    try:
        master = ray.get(actors[0].place.remote())
    except ray.exceptions.RayError as lost:
        return _lost(0, lost)
    run = {actor.run.options(num_returns="streaming").remote(rank, len(actors), each, master, program): rank for rank, actor in enumerate(actors)}
    codes: dict[int, int] = {}
    stopping, until = False, None
    while run and (until is None or time.monotonic() < until):
        if stops and not stopping:
            stopping = True
            for actor in actors:
                actor.stop.remote()
        for stream in ray.wait(list(run), timeout=_WAIT_S)[0]:
            try:
                said = ray.get(next(stream))
            except StopIteration:
                del run[stream]
                continue
            except ray.exceptions.RayError as lost:
                return _lost(run[stream], lost)
            if isinstance(said, str):
                print(said, flush=True)
            else:
                codes[run[stream]] = said
                if said and until is None:
                    until = time.monotonic() + _OTHERS_S
    if stopping and any(codes.values()):
        return LOST
    return next((code for code in codes.values() if code), 0)


def _lost(rank: int, error: Exception) -> int:
    _say(f"node {rank} of the training was lost ({type(error).__name__}); it continues from the last checkpoint when it is started again")
    return LOST


def _say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
