"""ALOHA episodes in HDF5, one file each, in the layout that ACT's recorders write and its loader reads.

Layout: `record_sim_episodes.py` of tonyzhaozh/act (raw pictures) and `aloha_scripts/record_episodes.py` of the ALOHA repositories (JPEG pictures padded
to one length, their lengths in `compress_len`). The task text lies in `language_raw`, where RDT and its relatives keep it.
"""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from cosmos_ops.simulate.card import write_card
from cosmos_ops.simulate.recording import Recording, RobotSpec

EPISODE = "episode_{episode_index}.hdf5"
_JPEG_QUALITY = 92


def write_aloha_hdf5(root: Path, robot: RobotSpec, recordings: Iterable[Recording], simulator: str = "tabletop", raw_images: bool = False) -> None:
    """Write `episode_0.hdf5` and on into the empty folder `root`; recordings are taken one at a time. `simulator` is named on the card."""
    episodes = 0
    for recording in recordings:
        write_episode(root / EPISODE.format(episode_index=episodes), robot, recording.on_rows(), raw_images)
        episodes += 1
    write_card(root, robot, episodes, "HDF5 in ALOHA's layout", simulator)


def write_episode(path: Path, robot: RobotSpec, recording: Recording, raw_images: bool = False) -> None:
    """One file; equal recordings give equal bytes. `raw_images`: uint8 [T, H, W, 3] RGB instead of JPEG rows."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["sim"] = True
        file.attrs["compress"] = not raw_images
        # ALOHA's own files leave these to the task's configuration.
        file.attrs["fps"] = recording.fps
        file.attrs["robot"] = robot.name
        file.attrs["task"] = recording.task
        file.attrs["success"] = recording.succeeded
        file.create_dataset("language_raw", data=[recording.task], dtype=h5py.string_dtype())
        file.create_dataset("action", data=recording.action)
        observations = file.create_group("observations")
        observations.create_dataset("qpos", data=recording.state)
        observations.create_dataset("qvel", data=_velocity(recording))
        images = observations.create_group("images")
        if raw_images:
            for camera, frames in recording.frames.items():
                images.create_dataset(camera, data=frames, chunks=(1, *frames.shape[1:]))
        elif recording.frames:
            _write_jpegs(file, images, recording)


def jpeg(image: np.ndarray) -> bytes:
    """A baseline JPEG of uint8 [H, W, 3] RGB."""
    fine, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert fine
    return encoded.tobytes()


def _write_jpegs(file, images, recording: Recording) -> None:
    """uint8 [T, P] a camera: each row one JPEG, filled up with zeros to the longest of all; true lengths in `compress_len` [cameras by name, T]."""
    encoded = {camera: [jpeg(image) for image in recording.frames[camera]] for camera in sorted(recording.frames)}
    lengths = np.array([[len(content) for content in contents] for contents in encoded.values()], np.float32)
    padded = int(lengths.max())
    for camera, contents in encoded.items():
        rows = np.zeros((len(contents), padded), np.uint8)
        for row, content in zip(rows, contents, strict=True):
            row[: len(content)] = np.frombuffer(content, np.uint8)
        images.create_dataset(camera, data=rows, chunks=(1, padded))
    file.create_dataset("compress_len", data=lengths)


def _velocity(recording: Recording) -> np.ndarray:
    """[T, S] float32 by central differences: the simulators hand over positions."""
    if recording.length < 2:
        return np.zeros_like(recording.state)
    return np.gradient(recording.state.astype(np.float64), recording.clock_s, axis=0).astype(np.float32)
