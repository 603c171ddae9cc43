"""Whole drops of simulated teleoperation, written once and atomically."""

import json
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from cosmos_ops.errors import UserError
from cosmos_ops.lake import locked
from cosmos_ops.progress import Progress, silent
from cosmos_ops.simulate.faults import FILE_FAULTS, PIXEL_FAULTS, Planted, plan_faults, spoil_file, spoil_recording
from cosmos_ops.simulate.lerobot_tables import CHUNK_SIZE, video_key
from cosmos_ops.simulate.lerobot_writer import V21_VIDEO, write_lerobot_v21, write_lerobot_v30
from cosmos_ops.simulate.recording import Recording
from cosmos_ops.simulate.tabletop import CAMERAS, ROBOT, record_episode

GENERATOR_VERSION = "1"
"""Raised whenever equal arguments would give other bytes."""
MARKER = "meta/generator.json"
_DRAWN_AHEAD = 1
FORMATS = {"lerobot-v2.1": PIXEL_FAULTS + FILE_FAULTS, "lerobot-v3.0": PIXEL_FAULTS}
"""Format -> faults that make sense in it."""


def write_drop(
    path: Path | str,
    seed: int,
    episodes: int,
    fmt: str = "lerobot-v3.0",
    faults: bool | tuple[str, ...] = False,
    cameras: tuple[str, ...] = CAMERAS,
    progress: Progress = silent,
) -> tuple[Planted, ...]:
    """Write `episodes` episodes of the tabletop arm as one dataset at `path`; returns the faults that were planted.

    `faults`: True plants one of each that the format allows, a tuple names them. Each spoils one of the episodes.
    A folder that was written with the same arguments is left untouched; one written with others is replaced; one
    that was not written here, wrong arguments or too few episodes raise `UserError`. The marker `meta/generator.json`
    records the arguments and the faults.
    """
    path = Path(path)
    if fmt not in FORMATS:
        raise UserError(f"format {fmt!r} cannot be written; choose from {', '.join(FORMATS)}")
    if episodes < 1:
        raise UserError(f"{episodes} episodes make no drop; ask for at least 1")
    wanted = FORMATS[fmt] if faults is True else tuple(faults or ())
    senseless = [fault for fault in wanted if fault not in FORMATS[fmt]]
    if senseless:
        raise UserError(f"fault {senseless[0]!r} cannot be planted in {fmt}; it allows {', '.join(FORMATS[fmt])}")
    planted = plan_faults(wanted, episodes, cameras, seed)
    marker = {
        "generator": "tabletop",
        "version": GENERATOR_VERSION,
        "seed": seed,
        "episodes": episodes,
        "format": fmt,
        "cameras": list(cameras),
        "planted": [asdict(item) for item in planted],
    }
    with locked(path):
        if path.exists() and _is_whole(path, marker):
            progress(episodes, episodes, f"{path.name} is there already")
            return planted
        work = path.parent / f".{path.name}.tmp"
        if work.exists():  # a killed attempt
            shutil.rmtree(work)
        _write(work, fmt, _recordings(seed, episodes, cameras, planted, path.name, progress), planted)
        (work / MARKER).write_text(json.dumps(marker, indent=1) + "\n")
        if path.exists():
            shutil.rmtree(path)
        work.rename(path)
    return planted


def _is_whole(path: Path, marker: dict) -> bool:
    try:
        found = json.loads((path / MARKER).read_text())
    except (OSError, ValueError):
        raise UserError(f"{path} is there and was not written by the simulator; choose another folder") from None
    return found == marker


def _recordings(seed: int, episodes: int, cameras: tuple[str, ...], planted: tuple[Planted, ...], name: str, progress: Progress) -> Iterator[Recording]:
    faults = {item.episode_index: item for item in planted}
    # Episodes are drawn ahead while earlier ones are encoded; each has a seed of its own, so order does not matter.
    with ThreadPoolExecutor(_DRAWN_AHEAD) as pool:
        ahead: deque[Future[Recording]] = deque()
        for index in range(episodes + _DRAWN_AHEAD):
            if index < episodes:
                ahead.append(pool.submit(record_episode, seed, index, cameras))
            if index >= _DRAWN_AHEAD:
                done = index - _DRAWN_AHEAD
                recording = ahead.popleft().result()
                yield spoil_recording(recording, faults[done]) if done in faults else recording
                progress(done + 1, episodes, name)


def _write(root: Path, fmt: str, recordings: Iterator[Recording], planted: tuple[Planted, ...]) -> None:
    root.mkdir(parents=True)
    if fmt == "lerobot-v3.0":
        write_lerobot_v30(root, ROBOT, recordings)
        return
    write_lerobot_v21(root, ROBOT, recordings)
    for item in planted:
        if item.camera is not None:
            place = {"episode_chunk": item.episode_index // CHUNK_SIZE, "episode_index": item.episode_index}
            spoil_file(root / V21_VIDEO.format(video_key=video_key(item.camera), **place), item)
