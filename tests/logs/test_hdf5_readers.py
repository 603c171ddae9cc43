"""ALOHA, robomimic and RoboNet files as they should be: counts, clocks, colours and slices of time."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.logs import UnreadableVideo, open_log
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.logs.mapping import NAME, mapping_path, mapping_values
from cosmos_ops.shards.read import iterate_shard
from cosmos_ops.shards.write import write_shards
from cosmos_ops.video.transform import FrameFitter
from cosmos_ops.workers import LocalWorkers
from tests.fixtures.hdf5_factory import FILLERS, films, write_aloha, write_robomimic, write_robonet
from tests.shards.lakes import ready_for_shards, small_profile

RED = (255, 0, 0)


def shown(reader, episode, camera, **stretch) -> np.ndarray:
    fitter = FrameFitter(camera.height, camera.width)
    return np.stack([fitter.rgb(frame.image) for frame in reader.decode(episode, camera, **stretch)])


def far(image: np.ndarray, colour) -> int:
    """Largest difference from a colour, 0..255."""
    return int(np.abs(image.astype(int) - colour).max())


@pytest.mark.parametrize(("pictures", "codec"), zip(FILLERS, ("raw", "mjpeg", "mjpeg", "mjpeg", "png"), strict=True))
def test_aloha(tmp_path, pictures, codec):
    path = write_aloha(tmp_path / "episode_3.hdf5", frames=12, pictures=pictures)
    reader = open_log(path)
    (episode,) = reader.episodes()
    assert (reader.info().format, reader.info().declared_episodes, episode.index, episode.frames, episode.fps) == ("aloha-hdf5", 1, 3, 12, 50)
    assert episode.state.shape == episode.action.shape == (12, 14) and episode.timestamps_s[-1] == pytest.approx(11 / 50)
    assert [(camera.name, camera.codec, camera.frames, camera.height, camera.width) for camera in episode.cameras] == [
        ("cam_high", codec, 12, 48, 64),
        ("cam_wrist", codec, 12, 48, 64),
    ]
    made = films(("cam_high", "cam_wrist"), 12, 48, 64, 0, None)
    for camera in episode.cameras:
        error = np.abs(shown(reader, episode, camera).astype(int) - made[camera.name])
        assert error.max() == 0 if codec in ("raw", "png") else error.mean() < 6


@pytest.mark.parametrize("pictures", FILLERS)
def test_red_stays_red(tmp_path, pictures):
    reader = open_log(write_aloha(tmp_path / "episode_0.hdf5", frames=4, pictures=pictures, colour=RED))
    (episode,) = reader.episodes()
    assert far(shown(reader, episode, episode.cameras[0]), RED) <= 3


@pytest.mark.parametrize("pictures", ["raw", "padded"])
def test_red_and_blue_change_places_where_the_mapping_says_so(tmp_path, pictures):
    path = write_aloha(tmp_path / "episode_0.hdf5", frames=4, pictures=pictures, colour=RED, as_bgr=False)
    unmapped = open_log(path)
    assert (far(shown(unmapped, *first_camera(unmapped)), RED) > 200) == (pictures == "padded")
    mapping_path(path).write_text("swap_red_blue: true\n")
    mapped = open_log(path)
    assert far(shown(mapped, *first_camera(mapped)), RED if pictures == "padded" else (0, 0, 255)) <= 3
    assert ("assumed_colours" in codes(unmapped.info())) == (pictures == "padded") and "assumed_colours" not in codes(mapped.info())


def first_camera(reader):
    episode = next(iter(reader.episodes()))
    return episode, episode.cameras[0]


def codes(subject) -> list[str]:
    return [problem.code for problem in subject.problems]


@pytest.mark.parametrize("writer", [write_robomimic, write_robonet])
def test_red_stays_red_elsewhere(tmp_path, writer):
    path = tmp_path / "log.hdf5"
    writer(path, colour=RED)
    reader = open_log(path)
    assert far(shown(reader, *first_camera(reader)), RED) <= 6
    mapping_path(path).write_text("swap_red_blue: true\n")
    reader = open_log(path)
    assert far(shown(reader, *first_camera(reader)), (0, 0, 255)) <= 6


@pytest.mark.parametrize("write", [lambda path: write_aloha(path, 20, fps=10.0), lambda path: write_robonet(path, 20, fps=10)])
def test_slices_of_time(tmp_path, write):
    reader = open_log(write(tmp_path / "episode_0.hdf5"))
    episode, camera = first_camera(reader)

    def times(*stretch):
        return [round(frame.time_s, 6) for frame in reader.decode(episode, camera, *stretch)]

    assert times() == [round(row / 10, 6) for row in range(20)]
    assert times(0.25, 0.6) == [0.3, 0.4, 0.5] and times(0.3, 0.5) == [0.3, 0.4] and times(1.85) == [1.9] and times(-1, 0.1) == [0.0]
    assert times(5, 6) == [] and times(0.5, 0.5) == []
    sample = reader.sample(episode, camera, [0.0, 0.5, 0.52, 1.0, 9.0])
    assert sample.duration_s == pytest.approx(2.0) and len(list(sample.frames)) in (3, 4)
    whole, part = shown(reader, episode, camera), shown(reader, episode, camera, start_s=0.7, stop_s=1.2)
    assert (whole[7:12] == part).all() and len(np.unique(whole.reshape(20, -1), axis=0)) > 15


@pytest.mark.parametrize(("pictures", "rows"), [("raw", 7), ("raw", 64), ("padded", 5)])
def test_rows_that_share_a_chunk(tmp_path, pictures, rows):
    film = films(("cam_high",), 20, 48, 64, 0, None)["cam_high"]
    reader = open_log(write_aloha(tmp_path / "episode_0.hdf5", 20, ("cam_high",), pictures=pictures, rows_a_chunk=min(rows, 20), fps=10.0))
    episode, camera = first_camera(reader)
    some = [frame.image.to_ndarray(format="rgb24") for frame in reader.sample(episode, camera, [0.2, 0.3, 1.4, 1.9]).frames]
    assert np.abs(np.stack(some).astype(int) - film[[2, 3, 14, 19]]).mean() < (1 if pictures == "raw" else 6)


def test_a_folder_of_aloha_episodes(tmp_path):
    for number in (10, 2, 0):
        write_aloha(tmp_path / f"episode_{number}.hdf5", 10, seed=number, task=f"task {number}", success=number == 2, robot="arm", fps=25.0)
    reader = open_log(tmp_path)
    episodes = list(reader.episodes())
    assert [(e.index, e.task, e.outcome, e.robot, e.fps) for e in episodes] == [
        (0, "task 0", "failure", "arm", 25),
        (2, "task 2", "success", "arm", 25),
        (10, "task 10", "failure", "arm", 25),
    ]
    assert len({e.id for e in episodes}) == 3 and [e.id for e in open_log(tmp_path).episodes()] == [e.id for e in episodes]
    assert codes(reader.info()) == ["assumed_colours"] and reader.info().robot == "arm"


def test_what_differs_from_the_other_episodes(tmp_path):
    for number in range(4):
        write_aloha(tmp_path / f"episode_{number}.hdf5", 10, ("top",) if number == 1 else ("top", "wrist"), seed=number, fps=25.0 if number != 2 else 50.0)
    found = [
        [(problem.code, problem.camera, problem.fatal) for problem in episode.problems if problem.code != "no_task"]
        for episode in open_log(tmp_path).episodes()
    ]
    assert found == [[], [("missing_video", "wrist", True)], [("odd_rate", None, False)], []]


def test_the_mapping_wins(tmp_path):
    write_aloha(tmp_path / "episode_0.hdf5", 10, ("a", "b"), fps=10.0, task="said by the file")
    (tmp_path / NAME).write_text(
        "robot: vx300s\nlicence: MIT\nfps: 20\ntask: said here\ncameras: {observations/images/b: wrist, observations/images/c: rear}\n"
        "state: [observations/qpos, observations/qvel]\naction: [observations/qvel]\n"
    )
    reader = open_log(tmp_path)
    (episode,) = reader.episodes()
    assert (episode.robot, reader.info().licence, episode.fps, episode.task) == ("vx300s", "MIT", 20, "said here")
    assert [camera.name for camera in episode.cameras] == ["wrist"] and [(p.code, p.camera) for p in episode.problems] == [("missing_video", "rear")]
    assert episode.state.shape == (10, 28) and (episode.state[:, 14:] == episode.action).all()
    assert [frame.time_s for frame in reader.decode(episode, episode.cameras[0])] == pytest.approx(np.arange(10) / 20)


def test_the_guess_saved_changes_nothing(tmp_path):
    write_aloha(tmp_path / "episode_0.hdf5", 80, task="stack")
    found = inspect_log(tmp_path, small_profile())
    assert found["mapping"] == {
        "fps": 50.0,
        "task": "stack",
        "cameras": {"observations/images/cam_high": "cam_high", "observations/images/cam_wrist": "cam_wrist"},
        "state": ["observations/qpos"],
        "action": ["action"],
    }
    (tmp_path / NAME).write_text("\n".join(f"{name}: {value!r}" for name, value in found["mapping"].items()))
    again = inspect_log(tmp_path, small_profile())
    assert again["episodes"] == found["episodes"] and again["mapping"] == found["mapping"] == mapping_values(open_log(tmp_path).guess())


def test_robomimic(tmp_path):
    reader = open_log(write_robomimic(tmp_path / "image.hdf5"))
    info, episodes = reader.info(), list(reader.episodes())
    assert (info.format, info.format_version, info.robot, info.declared_episodes) == ("robomimic-hdf5", "1.4.1", "Panda", 4)
    assert codes(info) == ["episode_count"] and [e.index for e in episodes] == [0, 1, 2]
    assert [(e.task, e.outcome, e.fps) for e in episodes] == [("lift cube 0", "success", 20), ("lift cube 1", "failure", 20), ("lift cube 2", "success", 20)]
    assert episodes[0].state.shape == (30, 5) and episodes[0].action.shape == (30, 6) and [c.name for c in episodes[0].cameras] == ["agentview"]
    for number, episode in enumerate(episodes):
        film = films(("agentview",), 30, 48, 48, number, None)["agentview"]
        assert (shown(reader, episode, episode.cameras[0]) == film).all()


def test_robomimic_without_pictures_is_one_line(tmp_path):
    path = write_robomimic(tmp_path / "low_dim.hdf5", cameras=())
    with pytest.raises(UserError, match="3 episodes without pictures.*dataset_states_to_obs") as caught:
        open_log(path)
    assert "\n" not in str(caught.value)


def test_robonet(tmp_path):
    write_robonet(tmp_path / "lab_traj7.hdf5", seed=1)
    write_robonet(tmp_path / "lab_traj12.hdf5", seed=2, robot="franka", cameras=3)
    with h5py.File(tmp_path / "lab_traj12.hdf5", "r+") as file:
        file["misc/traj_ok"][()] = False
    reader = open_log(tmp_path)
    first, second = reader.episodes()
    assert (reader.info().format, reader.info().format_version, reader.info().robot) == ("robonet-hdf5", "0.1.0", "franka+sawyer")
    assert codes(reader.info()) == ["mixed_robots"] and (first.index, second.index) == (7, 12)
    assert first.state.shape == (31, 5) and first.action.shape == (30, 4) and [c.codec for c in first.cameras] == ["h264", "h264"]
    assert codes(first) == ["no_task"] and codes(second) == ["marked_invalid", "no_task"]


def test_another_rate_stretches_robonets_video(tmp_path):
    path = write_robonet(tmp_path / "traj0.hdf5", 20)
    mapping_path(path).write_text("fps: 5\n")
    reader = open_log(path)
    episode, camera = first_camera(reader)
    assert episode.duration_s == pytest.approx(4.0) and reader.sample(episode, camera, [0, 1]).duration_s == pytest.approx(4.0)
    assert [frame.time_s for frame in reader.decode(episode, camera, 1.0, 2.0)] == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8])


@pytest.mark.parametrize(
    "write", [lambda root: write_aloha(root / "episode_0.hdf5", 24, fps=10.0, task="push"), lambda root: write_robonet(root / "traj0.hdf5")]
)
def test_a_file_goes_through_the_data_half(tmp_path, write):
    path = write(tmp_path)
    if "robonet" in open_log(path).format:
        mapping_path(path).write_text("task: push\n")
    lake = ready_for_shards(tmp_path / "lake", path, small_profile(), "one")
    shards = write_shards(lake, "one", small_profile(), workers=LocalWorkers(2))
    assert shards.rows == 4
    assert {clip.actions.shape[0] for clip in iterate_shard(lake, str((shards.path / "shard-00000.tar").relative_to(lake.root)))} == {9}


def test_many_threads_read_the_same_file(tmp_path):
    reader = open_log(write_aloha(tmp_path / "episode_0.hdf5", 30, pictures="raw"))
    (episode,) = reader.episodes()
    alone = {camera.name: shown(reader, episode, camera) for camera in episode.cameras}
    with ThreadPoolExecutor(8) as pool:
        for camera, film in pool.map(lambda camera: (camera, shown(reader, episode, camera)), list(episode.cameras) * 8):
            assert (film == alone[camera.name]).all()


def test_pictures_and_rows_of_different_length(tmp_path):
    path = write_aloha(tmp_path / "episode_0.hdf5", 30, fps=10.0)
    with h5py.File(path, "r+") as file:
        rows = file["observations/qpos"][:20]
        for name in ("observations/qpos", "action"):
            del file[name]
            file[name] = rows
    (episode,) = open_log(path).episodes()
    assert episode.frames == 20 and codes(episode) == ["no_task", "frame_count", "frame_count"]
    with pytest.raises(UserError, match="clock_drift"):
        inspect_log(path, small_profile())


def test_h5py_is_imported_only_when_it_is_needed():
    code = "import sys, cosmos_ops.logs, cosmos_ops.logs.inspect; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_h5py_it_is_one_line(tmp_path, monkeypatch):
    path = write_aloha(tmp_path / "episode_0.hdf5", 4)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="read with h5py: not installed; pip install h5py") as caught:
        open_log(path)
    assert "\n" not in str(caught.value)


def test_gone_while_it_is_used(tmp_path):
    reader = open_log(write_aloha(tmp_path / "episode_0.hdf5", 4))
    episode, camera = first_camera(reader)
    (tmp_path / "episode_0.hdf5").unlink()
    with pytest.raises(UnreadableVideo, match="No such file"):
        list(reader.decode(episode, camera))
