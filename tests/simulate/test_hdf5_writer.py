"""ALOHA's HDF5 layout, read back with h5py and OpenCV as ACT's loader does it, and with the project's own reader."""

import cv2
import h5py
import numpy as np
import pytest

from cosmos_ops.logs import open_log
from cosmos_ops.simulate.hdf5_writer import write_aloha_hdf5
from cosmos_ops.simulate.tabletop import CAMERAS, FPS, ROBOT


@pytest.fixture(scope="module")
def compressed(two_recordings, tmp_path_factory):
    root = tmp_path_factory.mktemp("compressed")
    write_aloha_hdf5(root, ROBOT, iter(two_recordings))
    return root


@pytest.fixture(scope="module")
def raw(two_recordings, tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    write_aloha_hdf5(root, ROBOT, two_recordings, raw_images=True)
    return root


@pytest.mark.parametrize("variant", ["compressed", "raw"])
def test_telemetry_and_attributes_are_where_act_looks(variant, two_recordings, request):
    root = request.getfixturevalue(variant)
    assert sorted(path.name for path in root.glob("*.hdf5")) == ["episode_0.hdf5", "episode_1.hdf5"]
    for index, recording in enumerate(two_recordings):
        with h5py.File(root / f"episode_{index}.hdf5") as file:
            assert bool(file.attrs["sim"]) and bool(file.attrs["compress"]) == (variant == "compressed")
            assert (file.attrs["fps"], file.attrs["robot"], file.attrs["task"]) == (FPS, "tabletop-arm", recording.task)
            assert bool(file.attrs["success"]) == recording.succeeded
            assert file["language_raw"].shape == (1,) and file["language_raw"][0].decode() == recording.task
            assert file["/action"].dtype == file["/observations/qpos"].dtype == file["/observations/qvel"].dtype == np.float32
            assert np.array_equal(file["/observations/qpos"], recording.state) and np.array_equal(file["/action"], recording.action)
            assert set(file["/observations/images"]) == set(CAMERAS)
            moved = (recording.state[2:].astype(float) - recording.state[:-2]) * FPS / 2
            assert file["/observations/qvel"][1:-1] == pytest.approx(moved, abs=1e-4)


def test_raw_pictures_are_the_pictures(raw, two_recordings):
    with h5py.File(raw / "episode_1.hdf5") as file:
        for camera, frames in two_recordings[1].frames.items():
            stored = file[f"/observations/images/{camera}"]
            assert stored.chunks == (1, 64, 96, 3) and np.array_equal(stored, frames)
        assert "compress_len" not in file


def test_jpeg_rows_are_padded_to_one_length_and_show_true_colours(compressed, two_recordings):
    with h5py.File(compressed / "episode_0.hdf5") as file:
        lengths = file["/compress_len"][()]
        assert lengths.shape == (len(CAMERAS), two_recordings[0].length) and lengths.dtype == np.float32
        for number, camera in enumerate(sorted(CAMERAS)):
            rows = file[f"/observations/images/{camera}"]
            assert rows.shape == (two_recordings[0].length, int(lengths.max())) and rows.chunks == (1, rows.shape[1]) and rows.dtype == np.uint8
            for row, length, frame in zip(rows, lengths[number].astype(int), two_recordings[0].frames[camera], strict=True):
                assert bytes(row[length - 2 : length]) == b"\xff\xd9" and not row[length:].any(), "the length is where the JPEG ends"
                seen = cv2.cvtColor(cv2.imdecode(row, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
                assert np.abs(seen.astype(int) - frame).mean() < 4


def test_equal_recordings_give_equal_bytes(compressed, raw, two_recordings, tmp_path):
    write_aloha_hdf5(tmp_path, ROBOT, two_recordings)
    for name in ("episode_0.hdf5", "episode_1.hdf5"):
        assert (tmp_path / name).read_bytes() == (compressed / name).read_bytes() != (raw / name).read_bytes()


def test_the_projects_reader_agrees(compressed, two_recordings):
    log = open_log(compressed)
    info = log.info()
    assert (info.format, info.robot, info.licence) == ("aloha-hdf5", "tabletop-arm", "Apache-2.0")
    for episode, recording in zip(log.episodes(), two_recordings, strict=True):
        assert (episode.frames, episode.fps, episode.task) == (recording.length, FPS, recording.task)
        assert np.array_equal(episode.state, recording.state) and np.array_equal(episode.action, recording.action)
        assert episode.outcome == ("success" if recording.succeeded else "failure")
        assert {camera.name for camera in episode.cameras} == set(CAMERAS)
        frame = next(log.decode(episode, episode.cameras[0], start_s=1.0)).image.to_ndarray(format="rgb24")
        assert np.abs(frame.astype(int) - recording.frames[episode.cameras[0].name][FPS]).mean() < 5
