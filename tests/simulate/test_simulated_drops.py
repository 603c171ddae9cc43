"""Drops: written whole or not at all, repeatable to the byte, with exactly the faults they admit to."""

import json

import av
import numpy as np
import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import file_sha256
from cosmos_ops.simulate import drops, request
from cosmos_ops.simulate.drops import FORMATS, MARKER, write_drop
from cosmos_ops.simulate.faults import Planted, plan_faults

PIXELS_AND_FILES = ("too_short", "black", "frozen", "truncated_video", "missing_video")


def hashes(root):
    return {str(path.relative_to(root)): file_sha256(path) for path in sorted(root.rglob("*")) if path.is_file()}


def luma(path):
    """[T, H, W] of a video, 0-255."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray").astype(np.float32) for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    root = tmp_path_factory.mktemp("drops") / "faulty"
    return root, write_drop(root, 4, 6, "lerobot-v2.1", faults=PIXELS_AND_FILES)


def video(root, planted, camera=None):
    return root / f"videos/chunk-000/observation.images.{camera or planted.camera}/episode_{planted.episode_index:06d}.mp4"


def test_every_planted_fault_is_there_and_nothing_else(faulty):
    root, planted = faulty
    by_fault = {item.fault: item for item in planted}
    assert set(by_fault) == set(PIXELS_AND_FILES) and len({item.episode_index for item in planted}) == len(planted)
    lengths = [json.loads(line)["length"] for line in (root / "meta/episodes.jsonl").read_text().splitlines()]
    assert luma(video(root, by_fault["black"])).max() < 8
    still = luma(video(root, by_fault["frozen"]))
    assert (np.abs(np.diff(still, axis=0)).mean(axis=(1, 2)) < 0.15).mean() > 0.9 and still.std() > 10
    assert len(still) == lengths[by_fault["frozen"].episode_index]
    assert lengths[by_fault["too_short"].episode_index] == 9 == len(luma(video(root, by_fault["too_short"], "front")))
    assert by_fault["too_short"].camera is None
    assert not video(root, by_fault["missing_video"]).exists()
    with pytest.raises(av.FFmpegError):
        luma(video(root, by_fault["truncated_video"]))
    for index, length in enumerate(lengths):
        for camera in ("front", "wrist"):
            if any(item.episode_index == index and item.camera == camera for item in planted):
                continue
            images = luma(video(root, Planted(index, camera, "none")))
            assert len(images) == length and images.mean() > 40
            assert (np.abs(np.diff(images, axis=0)).mean(axis=(1, 2)) > 0.15).mean() > 0.7


def test_the_frozen_camera_has_moving_telemetry(faulty):
    import pyarrow.parquet as pq

    root, planted = faulty
    index = next(item.episode_index for item in planted if item.fault == "frozen")
    state = np.stack(pq.read_table(root / f"data/chunk-000/episode_{index:06d}.parquet")["observation.state"].to_numpy())
    assert np.ptp(state, axis=0).max() > 0.3


@pytest.mark.parametrize("fmt", sorted(FORMATS))
def test_equal_arguments_give_equal_bytes(fmt, tmp_path):
    write_drop(tmp_path / "one", 7, 2, fmt, faults=("frozen",), cameras=("front",))
    write_drop(tmp_path / "two", 7, 2, fmt, faults=("frozen",), cameras=("front",))
    write_drop(tmp_path / "other", 8, 2, fmt, cameras=("front",))
    one, other = hashes(tmp_path / "one"), hashes(tmp_path / "other")
    assert one == hashes(tmp_path / "two")
    assert {name for name in one if name.endswith((".mp4", ".parquet", ".hdf5", ".mcap")) and one[name] == other.get(name)} <= {"meta/tasks.parquet"}


def test_a_written_drop_is_left_alone_and_other_arguments_replace_it(tmp_path):
    drop, calls = tmp_path / "drop", []
    first = write_drop(drop, 0, 1, cameras=("wrist",))
    before = {path: path.stat().st_mtime_ns for path in drop.rglob("*")}
    assert write_drop(drop, 0, 1, cameras=("wrist",), progress=lambda *seen: calls.append(seen)) == first
    assert before == {path: path.stat().st_mtime_ns for path in drop.rglob("*")}
    assert calls == [(1, 1, "drop is there already")]
    write_drop(drop, 1, 1, cameras=("wrist",))
    assert json.loads((drop / MARKER).read_text())["seed"] == 1
    assert before != {path: path.stat().st_mtime_ns for path in drop.rglob("*")}


def test_a_killed_attempt_is_cleared_and_progress_counts_episodes(tmp_path):
    stale = tmp_path / ".drop.tmp"
    (stale / "videos").mkdir(parents=True)
    (stale / "videos/half.mp4").write_bytes(b"half")
    calls = []
    write_drop(tmp_path / "drop", 0, 2, cameras=("front",), progress=lambda *seen: calls.append(seen))
    assert not stale.exists() and not list((tmp_path / "drop").rglob("half.mp4"))
    assert calls == [(1, 2, "drop"), (2, 2, "drop")]


def test_a_drop_whose_marker_is_of_an_earlier_version_is_left_alone(tmp_path):
    write_drop(tmp_path / "drop", 0, 2, cameras=("front",), faults=("black",))
    marker = json.loads((tmp_path / "drop" / MARKER).read_text())
    assert marker.keys() == {"generator", "version", "seed", "episodes", "format", "cameras", "planted"}, "new settings only where they are used"
    del marker["planted"][0]["detail"]
    (tmp_path / "drop" / MARKER).write_text(json.dumps(marker))
    before = hashes(tmp_path / "drop")
    write_drop(tmp_path / "drop", 0, 2, cameras=("front",), faults=("black",))
    assert hashes(tmp_path / "drop") == before


def test_a_failure_leaves_the_drop_that_was_there_and_nothing_else(tmp_path, monkeypatch):
    write_drop(tmp_path / "drop", 0, 1, cameras=("front",))
    before = hashes(tmp_path / "drop")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drops, "spoil_files", full)
    with pytest.raises(WorkFailed, match="No space left"):
        write_drop(tmp_path / "drop", 1, 1, cameras=("front",))
    assert hashes(tmp_path / "drop") == before
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["drop"]


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(request.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install h5py"):
        write_drop(tmp_path / "drop", 0, 1, "aloha-hdf5")
    with pytest.raises(UserError, match="pip install mcap"):
        write_drop(tmp_path / "drop", 0, 1, "ros2-mcap")
    assert list(tmp_path.iterdir()) == []


def test_one_side_of_the_picture_keeps_its_shape():
    sizes = [request.drop_request(0, 1, height_px=height, width_px=width) for height, width in ((None, None), (80, None), (None, 512), (66, 90))]
    assert [(made.height_px, made.width_px) for made in sizes] == [(160, 256), (80, 128), (320, 512), (66, 90)]


def test_somebody_elses_folder_is_never_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(UserError, match="was not written by the simulator"):
        write_drop(tmp_path / "mine", 0, 1)
    assert (tmp_path / "mine/notes.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fmt": "lerobot-v1.6"}, "cannot be written; choose from lerobot-v2.1"),
        ({"fmt": "lerobot-v3.0", "faults": ("missing_video",)}, "cannot be planted in lerobot-v3.0"),
        ({"fmt": "lerobot-v2.1", "faults": ("upside_down",)}, "'upside_down'"),
        ({"episodes": 2, "faults": True}, "need as many episodes"),
        ({"episodes": 0}, "ask for at least 1"),
        ({"seed": -1}, "below 0"),
        ({"robot": "nao"}, "cannot be simulated; choose from tabletop"),
        ({"cameras": ("front", "rear")}, "no camera 'rear'; name one or more of front, wrist"),
        ({"cameras": ()}, "cameras none"),
        ({"cameras": ("front", "front")}, "each once"),
        ({"height_px": 81}, "even numbers"),
        ({"width_px": 100_000}, "even numbers"),
        ({"raw_images": True}, "holds video, not pictures"),
    ],
)
def test_wrong_arguments_are_one_line_and_write_nothing(arguments, message, tmp_path):
    with pytest.raises(UserError, match=message):
        write_drop(tmp_path / "drop", **{"seed": 0, "episodes": 3, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_faults_are_planned_by_seed():
    faults = FORMATS["lerobot-v2.1"]
    plans = [plan_faults(faults, 30, ("front", "wrist"), seed) for seed in (0, 0, 1)]
    assert plans[0] == plans[1] != plans[2]
