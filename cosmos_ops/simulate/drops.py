"""Whole drops of simulated teleoperation, written once and atomically."""

import json
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import locked
from cosmos_ops.progress import Progress, silent
from cosmos_ops.simulate.faults import COPIES, FORMATS, Planted, copied_episode, spoil_recording, without_camera
from cosmos_ops.simulate.file_faults import spoil_files
from cosmos_ops.simulate.hdf5_writer import write_aloha_hdf5
from cosmos_ops.simulate.lerobot_writer import CRF, write_lerobot_v21, write_lerobot_v30
from cosmos_ops.simulate.mcap_writer import write_ros2_mcap
from cosmos_ops.simulate.recording import Recording
from cosmos_ops.simulate.request import Request, drop_request
from cosmos_ops.simulate.robots import Record, simulator

__all__ = ["FORMATS", "MARKER", "write_drop", "write_requested"]

MARKER = "meta/generator.json"
_DRAWN_AHEAD = 1


def write_drop(
    path: Path | str,
    seed: int,
    episodes: int,
    fmt: str = "lerobot-v3.0",
    faults: bool | tuple[str, ...] = False,
    robot: str = "tabletop",
    cameras: tuple[str, ...] | None = None,
    height_px: int | None = None,
    width_px: int | None = None,
    raw_images: bool = False,
    crf: int = CRF,
    progress: Progress = silent,
) -> tuple[Planted, ...]:
    """Write `episodes` episodes of a simulated robot as one dataset at `path`; returns the faults that were planted.

    `faults`: True plants one of each that the format allows, a tuple names them, a name may be repeated; each spoils one of the episodes.
    `cameras`: None takes the robot's first two. Without a size, pictures are 160 x 256; one side alone keeps that shape.
    `raw_images`: no JPEG in the formats that hold pictures. `crf`: x264's rate factor in those that hold video, 0 (lossless) to 40.
    A folder that was written with the same arguments is left untouched; one written with others is replaced; one
    that was not written here, wrong arguments or too few episodes raise `UserError`. The marker `meta/generator.json`
    records the arguments and the faults.
    """
    request = drop_request(seed, episodes, fmt, faults, robot, cameras, height_px, width_px, raw_images, crf)
    write_requested(path, request, progress)
    return request.planted


def write_requested(path: Path | str, request: Request, progress: Progress = silent, record: Record | None = None) -> bool:
    """As `write_drop`; returns whether the drop was there already and is unchanged. Raises `WorkFailed` when the disk fails.

    `record` stands for the simulator's: to write the same episodes with other faults without simulating them again.
    """
    path = Path(os.path.abspath(path))
    try:
        return _write_or_leave(path, request, progress, record or simulator(request.robot).record)
    except (PermissionError, FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} cannot be written ({error.strerror}: {error.filename}); choose another folder") from None
    except OSError as error:
        raise WorkFailed(f"{path} could not be written ({error.strerror or error}); make room or choose another disk, then try again") from None


def _write_or_leave(path: Path, request: Request, progress: Progress, record: Record) -> bool:
    marker = request.marker()
    with locked(path):
        if path.exists() and _is_whole(path, marker):
            progress(request.episodes, request.episodes, f"{path.name} is there already")
            return True
        work = path.parent / f".{path.name}.tmp"
        if work.exists():  # a killed attempt
            shutil.rmtree(work)
        work.mkdir(parents=True)
        try:
            _write(work, request, _recordings(request, path.name, progress, record))
            spoil_files(work, request.fmt, request.planted)
            (work / MARKER).parent.mkdir(exist_ok=True)
            (work / MARKER).write_text(json.dumps(marker, indent=1) + "\n")
        except BaseException:
            shutil.rmtree(work)
            raise
        if path.exists():
            shutil.rmtree(path)
        work.rename(path)
    return False


def _is_whole(path: Path, marker: dict) -> bool:
    try:
        found = json.loads((path / MARKER).read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or "generator" not in found:
        raise UserError(f"{path} is there and was not written by the simulator; choose another folder")
    return _comparable(found) == _comparable(marker)


def _comparable(marker: dict) -> dict:
    """Details follow from the rest, and earlier versions did not record them."""
    planted = marker.get("planted")
    if not isinstance(planted, list) or not all(isinstance(item, dict) for item in planted):
        return marker
    return {**marker, "planted": [{key: value for key, value in item.items() if key != "detail"} for item in planted]}


def _recordings(request: Request, name: str, progress: Progress, record: Record) -> Iterator[Recording]:
    copies = _copies(request, COPIES)
    originals: dict[int, Recording] = {}
    # Episodes are drawn ahead while earlier ones are encoded; each has a seed of its own, so order does not matter.
    with ThreadPoolExecutor(_DRAWN_AHEAD) as pool:
        ahead: deque[Future[Recording]] = deque()
        for index in range(request.episodes + _DRAWN_AHEAD):
            if index < request.episodes and index not in copies:
                ahead.append(pool.submit(record, request.seed, index, request.cameras, request.height_px, request.width_px, None))
            if index >= _DRAWN_AHEAD:
                done = index - _DRAWN_AHEAD
                # A copy is kept, not drawn again: with a graphics card, equal seeds need not give equal pixels.
                recording = originals[copies[done]] if done in copies else ahead.popleft().result()
                if done in copies.values():
                    originals = {done: recording}
                yield _spoilt(recording, done, request)
                progress(done + 1, request.episodes, name)


def _copies(request: Request, kinds: tuple[str, ...]) -> dict[int, int]:
    """Episode -> the one that it repeats. Copies lie after their original and before the next one's."""
    return {item.episode_index: copied_episode(item, request.planted) for item in request.planted if item.fault in kinds}


def _spoilt(recording: Recording, episode: int, request: Request) -> Recording:
    for item in request.planted:
        if item.episode_index == episode:
            recording = spoil_recording(recording, item)
            if item.fault == "missing_video" and request.fmt != "lerobot-v2.1":  # there it is a file that is lost
                recording = without_camera(recording, item.camera)
    return recording


def _write(root: Path, request: Request, recordings: Iterator[Recording]) -> None:
    spec = simulator(request.robot).spec
    # The tabletop's operator hands over nothing but successes.
    outcomes = simulator(request.robot).renderer
    if request.fmt == "lerobot-v2.1":
        write_lerobot_v21(root, spec, recordings, request.robot, outcomes, crf=request.crf)
    elif request.fmt == "lerobot-v3.0":
        write_lerobot_v30(root, spec, recordings, request.robot, outcomes, crf=request.crf)
    elif request.fmt == "aloha-hdf5":
        write_aloha_hdf5(root, spec, recordings, request.robot, request.raw_images)
    else:
        write_ros2_mcap(root, spec, recordings, request.robot, request.raw_images, _copies(request, ("duplicate",)))
