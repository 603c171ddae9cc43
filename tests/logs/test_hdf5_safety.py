"""HDF5 files that are damaged or hostile: described or refused in one line, and nothing outside the drop is read."""

import multiprocessing
import os
import random
from pathlib import Path

import h5py
import numpy as np
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.logs import UnreadableVideo, open_log
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.inspect import inspect_log
from tests.fixtures.hdf5_factory import write_aloha, write_robomimic, write_robonet
from tests.logs.reading import described
from tests.shards.lakes import small_profile

WRITERS = {
    "episode_0.hdf5": lambda path: write_aloha(path, 12, height=16, width=24, task="push", fps=10.0),
    "raw_0.hdf5": lambda path: write_aloha(path, 12, height=16, width=16, pictures="raw", fps=10.0),
    "varying_0.hdf5": lambda path: write_aloha(path, 12, ("top",), height=16, width=24, pictures="varying", fps=10.0),
    "image.hdf5": lambda path: write_robomimic(path, 2, 12, height=16, width=16),
    "traj_0.hdf5": lambda path: write_robonet(path, 12, 1, height=32, width=32),
}
CUTS, MUTATIONS = 40, 60


@pytest.mark.parametrize("name", WRITERS)
def test_cut_anywhere(tmp_path, name):
    whole = WRITERS[name](tmp_path / name).read_bytes()
    for cut in sorted({0, 1, 7, 8, 9, len(whole) - 1, *np.linspace(10, len(whole) - 2, CUTS, dtype=int).tolist()}):
        (tmp_path / name).write_bytes(whole[:cut])
        assert described(tmp_path / name) is None


@pytest.mark.parametrize("name", WRITERS)
def test_bytes_changed_anywhere(tmp_path, name):
    whole, rng = WRITERS[name](tmp_path / name).read_bytes(), random.Random(0)
    outcomes = set()
    for _ in range(MUTATIONS):
        changed = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            changed[rng.randrange(min(len(changed), 12_000))] = rng.choice((0, 255, rng.randrange(256)))
        (tmp_path / name).write_bytes(changed)
        outcomes.add(described(tmp_path / name) is not None)
    assert True in outcomes


@pytest.mark.parametrize("cut", [0, 100, 5000])
def test_a_damaged_file_in_a_folder_is_an_episode_with_its_problem(tmp_path, cut):
    for number in range(3):
        write_aloha(tmp_path / f"episode_{number}.hdf5", 40, seed=number, fps=10.0, task="push")
    path = tmp_path / "episode_1.hdf5"
    path.write_bytes(path.read_bytes()[:cut])
    found = inspect_log(tmp_path, small_profile())
    assert [(e["index"], e["accepted"], [p["code"] for p in e["problems"]]) for e in found["episodes"]] == [
        (0, True, []),
        (1, False, ["unreadable_file"]),
        (2, True, []),
    ]


def test_a_file_of_another_layout_is_said(tmp_path):
    write_aloha(tmp_path / "episode_0.hdf5", 10)
    with h5py.File(tmp_path / "episode_1.hdf5", "w") as file:
        file["norm_stats"] = np.zeros(3)
    (tmp_path / "more").mkdir()
    write_aloha(tmp_path / "more/episode_9.hdf5", 10)
    reader = open_log(tmp_path)
    assert [[p.code for p in episode.problems if p.fatal] for episode in reader.episodes()] == [[], ["unknown_layout"]]
    assert "nested_files" in [problem.code for problem in reader.info().problems]


@pytest.mark.parametrize(
    ("write", "what"),
    [
        (lambda root: (root / "x.hdf5").write_bytes(b"not HDF5 at all"), "no HDF5 file"),
        (lambda root: h5py.File(root / "x.hdf5", "w").close(), "no known layout; known are aloha-hdf5"),
        (lambda root: write_aloha(root / "a/b/episode_0.hdf5", 4), "further down"),
        (lambda root: (root / "x.txt").write_text("hello"), "no known log format"),
    ],
)
def test_nothing_usable_is_one_line(tmp_path, write, what):
    write(tmp_path)
    with pytest.raises(UserError, match=what) as caught:
        open_log(tmp_path)
    assert "\n" not in str(caught.value)


def elsewhere(root: Path) -> Path:
    """A file outside the drop, with pictures and rows that nobody may see."""
    return write_aloha(root / "elsewhere/secret.hdf5", 12, ("cam",), pictures="raw", fps=10.0)


def replaced(root: Path, name: str, put) -> Path:
    """A drop in which one dataset is something else."""
    path = write_aloha(root / "drop/episode_0.hdf5", 12, ("cam",), pictures="raw", fps=10.0)
    with h5py.File(path, "r+") as file:
        del file[name]
        put(file, name)
    return path.parent


def put_external_link(file, name, target):
    file[name] = h5py.ExternalLink(str(target), name)


def put_soft_link(file, name, target):
    file[name] = h5py.SoftLink("/observations/qvel")


def put_virtual(file, name, target):
    with h5py.File(target) as other:
        source = h5py.VirtualSource(other[name])
        layout = h5py.VirtualLayout(other[name].shape, other[name].dtype)
    layout[...] = source
    file.create_virtual_dataset(name, layout)


def put_external_bytes(file, name, target):
    shape = (12, 48, 64, 3) if "images" in name else (12, 14)
    kind = np.uint8 if "images" in name else np.float32
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    file.create_dataset(name, shape, kind, external=[(str(target), 0, size)])


@pytest.mark.parametrize("put", [put_external_link, put_soft_link, put_virtual, put_external_bytes])
@pytest.mark.parametrize("name", ["observations/images/cam", "observations/qpos"])
def test_nothing_outside_the_file_is_read(tmp_path, monkeypatch, name, put):
    secret = elsewhere(tmp_path)
    drop = replaced(tmp_path, name, lambda file, name: put(file, name, secret))
    (episode,) = open_log(drop).episodes()
    codes = {problem.code: problem.message for problem in episode.problems if problem.fatal}
    if "images" in name:
        assert episode.cameras == () and ("link" in codes["unreadable"] or "other files" in codes["unreadable"])
    else:
        assert episode.state.size == 0 and ("link" in codes["broken_telemetry"] or "other files" in codes["broken_telemetry"])


@pytest.mark.parametrize("group", ["observations", "observations/images"])
def test_a_group_that_is_a_link_is_not_followed(tmp_path, group):
    secret = elsewhere(tmp_path)
    drop = replaced(tmp_path, group, lambda file, name: put_external_link(file, name, secret))
    try:
        assert all(not episode.cameras for episode in open_log(drop).episodes())
    except UserError as error:
        assert "no known layout" in str(error) and "\n" not in str(error)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    secret = elsewhere(tmp_path)
    write_aloha(tmp_path / "drop/episode_0.hdf5", 12)
    (tmp_path / "drop/episode_1.hdf5").symlink_to(secret)
    bad = list(open_log(tmp_path / "drop").episodes())[1]
    assert [problem.code for problem in bad.problems] == ["unreadable_file"] and "leads out" in bad.problems[0].message
    with pytest.raises(UserError, match="leads out of the drop"):
        register_drop(Lake(tmp_path / "lake"), tmp_path / "drop")


@pytest.mark.parametrize(
    ("name", "put", "code"),
    [
        ("observations/qpos", lambda f, n: f.create_dataset(n, (2**40, 14), np.float64, chunks=(1, 14)), "broken_telemetry"),
        ("observations/qpos", lambda f, n: f.create_dataset(n, (12, 14), np.float64, chunks=(2**14, 2**14), maxshape=(None, None)), "broken_telemetry"),
        ("observations/qpos", lambda f, n: f.create_dataset(n, data=["a"] * 12, dtype=h5py.string_dtype()), "broken_telemetry"),
        ("observations/qpos", lambda f, n: f.create_dataset(n, data=[f.ref] * 12, dtype=h5py.ref_dtype), "broken_telemetry"),
        ("observations/qpos", lambda f, n: f.create_dataset(n, data=np.zeros((0, 14))), "broken_telemetry"),
        ("observations/qpos", lambda f, n: f.create_dataset(n, data=np.zeros((5, 14))), "broken_telemetry"),
        ("observations/qpos", lambda f, n: f.create_group(n), "broken_telemetry"),
        ("action", lambda f, n: f.create_dataset(n, data=3.0), "broken_telemetry"),
        ("observations/images/cam", lambda f, n: f.create_dataset(n, (12, 60_000, 60_000, 3), np.uint8, chunks=(1, 64, 64, 3)), "unsupported_camera"),
        ("observations/images/cam", lambda f, n: f.create_dataset(n, (12, 1600, 2000, 3), np.uint8, chunks=(12, 1600, 2000, 3)), None),
        ("observations/images/cam", lambda f, n: f.create_dataset(n, (64, 2000, 2000, 3), np.uint8, chunks=(64, 2000, 2000, 3)), "unreadable"),
        ("observations/images/cam", lambda f, n: f.create_dataset(n, (12, 48, 64), np.uint16), "unsupported_camera"),
        ("observations/images/cam", lambda f, n: f.create_dataset(n, (12, 3, 48, 64), np.uint8), "unsupported_camera"),
        ("observations/images/cam", lambda f, n: f.create_dataset(n, data=["x"] * 12, dtype=h5py.string_dtype()), "unsupported_camera"),
        ("observations/images/cam", lambda f, n: f.create_dataset(n, (12, 500), np.uint8), "unreadable"),
        ("observations/images/cam", lambda f, n: f.create_dataset(n, (0, 48, 64, 3), np.uint8), "unreadable"),
        ("observations/images/cam", lambda f, n: f.create_dataset(n, (12,), h5py.vlen_dtype(np.float32)), "unsupported_camera"),
    ],
)
def test_odd_datasets(tmp_path, name, put, code):
    (episode,) = open_log(replaced(tmp_path, name, put)).episodes()
    assert [problem.code for problem in episode.problems if problem.fatal] == ([code] if code else [])
    assert all("\n" not in problem.message for problem in episode.problems)


def test_names_that_are_no_text(tmp_path):
    drop = replaced(tmp_path, "observations/images/cam", lambda f, n: f.create_dataset(b"observations/images/\xff\xfe\n", (12, 48, 64, 3), np.uint8))
    (episode,) = open_log(drop).episodes()
    (problem,) = [problem for problem in episode.problems if problem.fatal]
    assert problem.code == "unsupported_camera" and problem.message.isprintable() and problem.camera.isprintable()
    assert open_log(drop).guess().cameras == {}


def test_a_damaged_picture_is_named(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5", 12, ("cam",), fps=10.0)
    with h5py.File(path, "r+") as file:
        file["observations/images/cam"][5, 300:] = 0
        file["observations/images/cam"][7] = 0
    reader = open_log(path)
    (episode,) = reader.episodes()
    assert len(list(reader.decode(episode, episode.cameras[0], 0, 0.5))) == 5
    with pytest.raises(UnreadableVideo, match="frame 5: the picture is cut short"):
        list(reader.decode(episode, episode.cameras[0]))
    with pytest.raises(UnreadableVideo, match="frame 7: neither a JPEG"):
        list(reader.decode(episode, episode.cameras[0], 0.65))


def comes_back(path) -> bool:
    """Whether reading ends, tried in a process of its own: a failure is a failure then, not a hang."""
    process = multiprocessing.get_context("spawn").Process(target=described, args=(path,))
    process.start()
    process.join(60)
    alive = process.is_alive()
    process.kill()
    return not alive and process.exitcode == 0


@pytest.mark.parametrize("name", ["observations/images/cam", "observations/qpos", "observations", "action"])
def test_a_links_target_is_not_even_opened(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")  # whoever opens it for reading waits for ever
    assert comes_back(replaced(tmp_path, name, lambda file, name: put_external_link(file, name, tmp_path / "pipe")))


def test_an_endless_heap_ends(tmp_path):
    """HDF5 itself never comes back from this file."""
    path = write_aloha(tmp_path / "episode_0.hdf5", 12, height=16, width=16, pictures="raw", task="push the block to the left of the table")
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL") + 16
    while content[place]:
        place += 16 + -(-int.from_bytes(content[place + 8 : place + 16], "little") // 8) * 8
    content[place + 8 : place + 16] = bytes(8)  # the free space that ends the heap, now without a size
    path.write_bytes(content)
    assert comes_back(path)
