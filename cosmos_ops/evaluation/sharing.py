"""The samples that are left, on one device in this process, or on several with a process each.

Whole batches are dealt out, so that who makes a batch changes nothing in it. Processes write into the same folder, a file a sample; one that dies
takes only its batch with it.
"""

import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.evaluation.samples import Sample
from cosmos_ops.evaluation.sampling import Generation, Measured
from cosmos_ops.lake import Lake, Manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress


@dataclass(frozen=True)
class Work:
    """What every process needs to know."""

    lake: Lake
    profile: Profile
    latents: Manifest
    adapter: Manifest | None
    folder: Path


def sample_all(work: Work, devices: tuple[str, ...], missing: list[Sample], total: int, contender: str, progress: Progress) -> dict[str, Any]:
    """Make the missing videos of `total`; returns what it took: seconds added up over processes, memory of the greediest.

    Raises `WorkFailed` where a process dies; what is whole by then stays.
    """
    size, done = work.profile.generation.batch, total - len(missing)
    batches = [missing[start : start + size] for start in range(0, len(missing), size)]
    shares = [share for rank in range(len(devices)) if (share := share_of(batches, rank, len(devices)))]
    progress(done, total, f"{contender}: sampling {size} at once" + (f" on {len(shares)} devices" if len(shares) > 1 else ""))

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total, f"{contender}: {done} of {total} videos")

    if len(shares) == 1:
        made = [Generation(work.lake, work.profile, work.latents, work.adapter, devices[0]).run(work.folder, shares[0], report)]
    else:
        made = _in_processes(work, devices, shares, report)
    memory = max(part.peak_memory_bytes for part in made)
    shown_s = sum(work.profile.clip.frames / sample.fps for sample in missing) / len(missing)
    return {
        "generated_now": len(missing),
        "batch": size,
        "devices": len(shares),
        "stage_seconds": {name: round(sum(part.stage_seconds[name] for part in made), 3) for name in made[0].stage_seconds},
        "peak_memory_bytes": memory,
        "memory_bytes_per_video_s": memory / (min(size, len(missing)) * shown_s),
    }


def share_of(batches: list[list[Sample]], rank: int, world_size: int) -> list[list[Sample]]:
    """The batches of one of `world_size` processes: every one goes to exactly one of them."""
    return batches[rank::world_size]


def _in_processes(work: Work, devices: tuple[str, ...], shares: list[list[list[Sample]]], report) -> list[Measured]:
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    running: dict[Connection, tuple[str, multiprocessing.Process]] = {}
    made: list[Measured] = []
    started = []
    try:
        for device, batches in zip(devices, shares, strict=False):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(work, device, batches, torch.get_num_threads(), theirs), daemon=True)
            process.start()
            started.append(process)
            theirs.close()
            running[ours] = device, process
        while running:
            for pipe in wait(list(running)):
                try:
                    said = pipe.recv()
                except EOFError:
                    device, process = running[pipe]
                    process.join()
                    why = f"exit code {process.exitcode}; out of memory, or killed"
                    raise WorkFailed(f"the process that generated on {device} died ({why}); run again, what is whole is kept") from None
                if isinstance(said, Exception):
                    raise said
                if isinstance(said, Measured):
                    made.append(said)
                    del running[pipe]
                else:
                    report(said)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.join()
    return made


def _work(work: Work, device: str, batches: list[list[Sample]], threads: int, pipe: Connection) -> None:
    """One process. It ends with the next batch when nobody listens any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends this process
    torch.set_num_threads(threads)
    try:
        pipe.send(Generation(work.lake, work.profile, work.latents, work.adapter, device).run(work.folder, batches, pipe.send))
    except (UserError, WorkFailed) as error:
        pipe.send(error)
