"""The samples that are left, on one device in this process, on several with a process each, or on machines elsewhere.

Whole batches are dealt out, so that who makes a batch changes nothing in it. Processes write into the same folder, a file a sample; one that dies
takes only its batch with it.
"""

import multiprocessing
import os
import signal
import socket
import tempfile
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.evaluation.samples import Sample
from cosmos_ops.evaluation.sampling import Generation, Measured, latents_name, note_name, video_name
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, atomic_write
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress
from cosmos_ops.workers import LOCAL, Workers


@dataclass(frozen=True)
class Work:
    """What every process needs to know."""

    lake: Lake
    profile: Profile
    latents: Manifest
    adapter: Manifest | None
    folder: Path


def sample_all(
    work: Work, devices: tuple[str, ...], missing: list[Sample], total: int, contender: str, progress: Progress, workers: Workers = LOCAL
) -> dict[str, Any]:
    """Make the missing videos of `total`; returns what it took: seconds added up over processes, memory of the greediest.

    Workers elsewhere take a batch each, on `devices[0]` of theirs, and return the files. Raises `WorkFailed` where a process dies; what is whole by then stays.
    """
    size, done = work.profile.generation.batch, total - len(missing)
    batches = [missing[start : start + size] for start in range(0, len(missing), size)]
    shares = [share for rank in range(len(devices)) if (share := share_of(batches, rank, len(devices)))]
    where = "" if workers.here and len(shares) == 1 else f" on {len(shares)} devices" if workers.here else " on the cluster"
    progress(done, total, f"{contender}: sampling {size} at once{where}")

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total, f"{contender}: {done} of {total} videos")

    count = len(shares)
    if not workers.here:
        made, count = _elsewhere(work, batches, devices[0], report, workers)
    elif len(shares) == 1:
        made = [Generation(work.lake, work.profile, work.latents, work.adapter, devices[0]).run(work.folder, shares[0], report)]
    else:
        made = _in_processes(work, devices, shares, report)
    memory = max(part.peak_memory_bytes for part in made)
    shown_s = sum(work.profile.clip.frames / sample.fps for sample in missing) / len(missing)
    return {
        "generated_now": len(missing),
        "batch": size,
        "devices": count,
        "stage_seconds": {name: round(sum(part.stage_seconds[name] for part in made), 3) for name in made[0].stage_seconds},
        "peak_memory_bytes": memory,
        "memory_bytes_per_video_s": memory / (min(size, len(missing)) * shown_s),
    }


def share_of(batches: list[list[Sample]], rank: int, world_size: int) -> list[list[Sample]]:
    """The batches of one of `world_size` processes: every one goes to exactly one of them."""
    return batches[rank::world_size]


def _elsewhere(work: Work, batches: list[list[Sample]], device: str, report, workers: Workers) -> tuple[list[Measured], int]:
    """What each batch took, and how many processes took part."""
    measured, places = [], set()
    made = workers.map(_batch_elsewhere, Sampling(replace(work, folder=Path()), device), batches, device)
    for batch, done in zip(batches, made, strict=True):
        for name, content in done.files:
            with atomic_write(work.folder / name) as part:
                part.write_bytes(content)
        measured.append(done.measured)
        places.add(done.place)
        report(len(batch))
    return measured, len(places)


@dataclass(frozen=True, eq=False)
class Sampling:
    """What the batches of one contender have in common."""

    work: Work
    """Its folder is of no use elsewhere."""
    device: str


@dataclass(frozen=True, eq=False)
class Batch:
    """What came of one batch elsewhere."""

    files: list[tuple[str, bytes]]
    """In the order in which they are to be written: a sample's note last."""
    measured: Measured
    place: str


_held: tuple[str, Generation] | None = None


def _batch_elsewhere(shared: Sampling, batch: list[Sample]) -> Batch:
    """On another machine: the model is kept from one batch to the next, files go back by value."""
    global _held
    work, device = shared.work, shared.device
    key = digest([work.profile, work.latents.path, work.adapter.path if work.adapter else None, device])
    if _held is None or _held[0] != key:
        _held = None
        _held = key, Generation(work.lake, work.profile, work.latents, work.adapter, device)
    generation = _held[1]
    with tempfile.TemporaryDirectory(prefix="generate-") as place:
        folder = Path(place)
        measured = generation.run(folder, [batch], lambda count: None)
        files = [(name, (folder / name).read_bytes()) for sample in batch for name in (latents_name(sample), video_name(sample), note_name(sample))]
    generation.stages = dict.fromkeys(generation.stages, 0.0)  # the next batch counts for itself
    return Batch(files, measured, f"{socket.gethostname()}/{os.getpid()}")


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
