"""Both LeRobot layouts, read back the way the library does: paths from info.json, one row a frame, time stamps that find the frame."""

import json
from dataclasses import replace

import av
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cosmos_ops.logs import open_log
from cosmos_ops.simulate.lerobot_writer import write_lerobot_v21, write_lerobot_v30
from cosmos_ops.simulate.tabletop import CAMERAS, FPS, ROBOT, record_episode


@pytest.fixture(scope="module")
def recordings():
    return [record_episode(3, episode, height_px=80, width_px=128, frames=24 + 2 * episode) for episode in range(5)]


@pytest.fixture(scope="module")
def v21(recordings, tmp_path_factory):
    root = tmp_path_factory.mktemp("v21")
    write_lerobot_v21(root, ROBOT, recordings)
    return root


@pytest.fixture(scope="module")
def v30(recordings, tmp_path_factory):
    root = tmp_path_factory.mktemp("v30")
    write_lerobot_v30(root, ROBOT, iter(recordings), episodes_per_data_file=3, episodes_per_video_file=2)
    return root


def info_of(root):
    return json.loads((root / "meta/info.json").read_text())


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def decode(path):
    """Times (s) and RGB frames of a whole video."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return np.array([frame.time for frame in frames]), np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def check_telemetry(table, recording, episode, first, task):
    assert np.array_equal(np.stack(table["observation.state"].to_numpy()), recording.state)
    assert np.array_equal(np.stack(table["action"].to_numpy()), recording.action)
    assert table["timestamp"].to_numpy() == pytest.approx(np.arange(recording.length) / FPS)
    assert table["frame_index"].to_pylist() == list(range(recording.length))
    assert table["index"].to_pylist() == list(range(first, first + recording.length))
    assert set(table["episode_index"].to_pylist()) == {episode}
    assert task == recording.task


def test_v21_files_are_where_info_says_and_hold_every_frame(v21, recordings):
    info = info_of(v21)
    tasks = {row["task_index"]: row["task"] for row in lines_of(v21 / "meta/tasks.jsonl")}
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v2.1", FPS, "tabletop-arm")
    assert info["total_episodes"] == len(recordings) and info["total_videos"] == 2 * len(recordings) and info["total_tasks"] == len(tasks)
    assert info["total_frames"] == sum(recording.length for recording in recordings)
    first = 0
    for index, recording in enumerate(recordings):
        place = {"episode_chunk": 0, "episode_index": index}
        table = pq.read_table(v21 / info["data_path"].format(**place))
        check_telemetry(table, recording, index, first, tasks[table["task_index"][0].as_py()])
        first += recording.length
        for camera in CAMERAS:
            times, images = decode(v21 / info["video_path"].format(video_key=f"observation.images.{camera}", **place))
            assert times == pytest.approx(np.arange(recording.length) / FPS)
            assert np.abs(images.astype(int) - recording.frames[camera]).mean() < 5
    assert lines_of(v21 / "meta/episodes.jsonl")[1] == {"episode_index": 1, "tasks": [recordings[1].task], "length": recordings[1].length}


def test_v30_shares_files_between_episodes_and_time_stamps_find_each(v30, recordings):
    info = info_of(v30)
    episodes = pq.read_table(v30 / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    tasks = pd.read_parquet(v30 / "meta/tasks.parquet")
    assert info["codebase_version"] == "v3.0" and len(episodes) == info["total_episodes"] == len(recordings)
    assert sorted(path.name for path in (v30 / "data/chunk-000").iterdir()) == ["file-000.parquet", "file-001.parquet"]
    assert sorted(path.name for path in (v30 / "videos/observation.images.front/chunk-000").iterdir()) == [f"file-00{n}.mp4" for n in range(3)]
    for index, (episode, recording) in enumerate(zip(episodes, recordings, strict=True)):
        path = v30 / info["data_path"].format(chunk_index=episode["data/chunk_index"], file_index=episode["data/file_index"])
        table = pq.read_table(path, filters=[("episode_index", "=", index)])
        check_telemetry(table, recording, index, episode["dataset_from_index"], tasks.iloc[table["task_index"][0].as_py()].name)
        assert (episode["length"], episode["tasks"]) == (recording.length, [recording.task])
        assert episode["dataset_to_index"] - episode["dataset_from_index"] == recording.length
        for camera in CAMERAS:
            key = f"observation.images.{camera}"
            place = {name: episode[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
            times, images = decode(v30 / info["video_path"].format(video_key=key, **place))
            start_s, stop_s = episode[f"videos/{key}/from_timestamp"], episode[f"videos/{key}/to_timestamp"]
            inside = (times >= start_s - 1e-6) & (times < stop_s - 1e-6)
            assert inside.sum() == recording.length
            assert np.abs(images[inside].astype(int) - recording.frames[camera]).mean() < 5


def test_v30_episodes_begin_with_a_key_frame(v30, recordings):
    with av.open(str(v30 / "videos/observation.images.wrist/chunk-000/file-000.mp4")) as container:
        keys = [packet.pts * packet.time_base * FPS for packet in container.demux(video=0) if packet.is_keyframe and packet.pts is not None]
    assert {0, recordings[0].length} <= set(keys)


def test_features_name_every_column_and_camera(v21, v30, recordings):
    for root, parquet in ((v21, "data/chunk-000/episode_000000.parquet"), (v30, "data/chunk-000/file-000.parquet")):
        features = info_of(root)["features"]
        schema = pq.read_schema(root / parquet)
        assert set(schema.names) == {name for name, feature in features.items() if feature["dtype"] != "video"}
        assert features["observation.state"]["names"] == list(ROBOT.state_names) and features["action"]["shape"] == [len(ROBOT.action_names)]
        assert features["observation.images.front"]["shape"] == [80, 128, 3]
        assert features["observation.images.front"]["info"]["video.codec"] == "h264"
        assert "license: apache-2.0" in (root / "README.md").read_text() and "Apache-2.0" in (root / "LICENSE").read_text()


def test_statistics_are_those_of_the_data(v21, v30, recordings):
    every = np.concatenate([recording.state for recording in recordings]).astype(float)
    stats = json.loads((v30 / "meta/stats.json").read_text())["observation.state"]
    assert stats["mean"] == pytest.approx(every.mean(axis=0)) and stats["std"] == pytest.approx(every.std(axis=0))
    assert stats["min"] == pytest.approx(every.min(axis=0)) and stats["count"] == [len(every)]
    rows = lines_of(v21 / "meta/episodes_stats.jsonl")
    assert rows[2]["stats"]["action"]["max"] == pytest.approx(recordings[2].action.max(axis=0))
    image = np.array(rows[2]["stats"]["observation.images.front"]["mean"])
    assert image.shape == (3, 1, 1) and image[:, 0, 0] == pytest.approx(recordings[2].frames["front"].mean(axis=(0, 1, 2)) / 255, abs=0.02)
    row = pq.read_table(v30 / "meta/episodes/chunk-000/file-000.parquet").to_pylist()[1]
    assert row["stats/observation.state/q50"] == pytest.approx(np.median(recordings[1].state.astype(float), axis=0))


def test_equal_recordings_give_equal_bytes_and_other_pixels_do_not(v21, recordings, tmp_path):
    write_lerobot_v21(tmp_path / "same", ROBOT, recordings[:2])
    changed = recordings[0].frames["front"].copy()
    changed[0, :8, :8] ^= 64
    write_lerobot_v21(tmp_path / "other", ROBOT, [replace(recordings[0], frames={**recordings[0].frames, "front": changed}), recordings[1]])
    video = "videos/chunk-000/observation.images.front/episode_000000.mp4"
    for name in (video, "data/chunk-000/episode_000001.parquet", "videos/chunk-000/observation.images.wrist/episode_000001.mp4"):
        assert (tmp_path / "same" / name).read_bytes() == (v21 / name).read_bytes()
    assert (tmp_path / "other" / video).read_bytes() != (v21 / video).read_bytes()


def test_outcomes_are_written_where_asked_for(recordings, tmp_path):
    failed = [recordings[0], replace(recordings[1], succeeded=False)]
    write_lerobot_v21(tmp_path / "v21", ROBOT, failed, outcomes=True)
    write_lerobot_v30(tmp_path / "v30", ROBOT, failed, outcomes=True)
    for root in (tmp_path / "v21", tmp_path / "v30"):
        assert info_of(root)["features"]["next.success"]["dtype"] == "bool"
        rows = pq.read_table(root / "data").to_pandas()
        assert rows.groupby("episode_index")["next.success"].sum().tolist() == [1, 0]
        assert [episode.outcome for episode in open_log(root).episodes()] == ["success", "failure"]


def test_recorded_clocks_are_written_and_a_row_keeps_the_frame_of_its_moment(recordings, tmp_path):
    clock = 3.0 + np.arange(recordings[0].length) / FPS + np.random.default_rng(0).uniform(0, 0.02, recordings[0].length)
    late = replace(recordings[0], times_s=clock, frame_times_s={"front": clock + 0.1, "wrist": clock})
    write_lerobot_v21(tmp_path, ROBOT, [late])
    assert pq.read_table(tmp_path / "data")["timestamp"].to_numpy() == pytest.approx(clock - clock[0], abs=1e-6)
    _, front = decode(tmp_path / "videos/chunk-000/observation.images.front/episode_000000.mp4")
    _, wrist = decode(tmp_path / "videos/chunk-000/observation.images.wrist/episode_000000.mp4")
    assert np.abs(front[1:].astype(int) - recordings[0].frames["front"][:-1]).mean() < 5
    assert np.abs(wrist.astype(int) - recordings[0].frames["wrist"]).mean() < 5
