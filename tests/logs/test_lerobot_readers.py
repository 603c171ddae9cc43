"""LeRobot v2.0, v2.1 and v3.0 hold the same recordings in three layouts: they must read the same."""

import json

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmos_ops.logs import UnreadableVideo, open_log
from tests.fixtures.lerobot_factory import add_stills, block_path, render, write_lerobot

VERSIONS = ("v2.0", "v2.1", "v3.0")


def read(root):
    reader = open_log(root)
    return reader, list(reader.episodes())


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_table(path, **columns):
    """Replace columns of a Parquet file; None drops one."""
    table = pq.read_table(path)
    for name, values in columns.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        if values is not None:
            table = table.append_column(name, pa.array(values))
    pq.write_table(table, path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_dataset_reads_whole(tmp_path, version):
    reader, episodes = read(write_lerobot(tmp_path, version, episodes=5, frames=30, tasks=("push", "pull"), cameras=("front", "wrist"), episodes_per_file=2))
    info = reader.info()
    assert (info.format, info.format_version, info.robot, info.declared_episodes, info.problems) == ("lerobot", version, "toy-arm", 5, ())
    assert [episode.index for episode in episodes] == [0, 1, 2, 3, 4]
    assert [episode.task for episode in episodes] == ["push", "pull", "push", "pull", "push"]
    for episode in episodes:
        assert episode.problems == ()
        assert (episode.frames, episode.fps, episode.duration_s) == (30, 10.0, pytest.approx(3.0))
        assert [camera.name for camera in episode.cameras] == ["front", "wrist"]
        assert {(camera.height, camera.width, camera.frames, camera.codec) for camera in episode.cameras} == {(96, 128, 30, "h264")}
        np.testing.assert_allclose(episode.state[:, :2], block_path(0, episode.index, 30), atol=1e-6)
        assert episode.action.shape == (30, 2)
        np.testing.assert_allclose(episode.timestamps_s, np.arange(30) / 10)


def test_the_same_recording_has_the_same_id_in_every_layout_and_place(tmp_path):
    ids = [[episode.id for episode in read(write_lerobot(tmp_path / version, version))[1]] for version in VERSIONS]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) == 6
    other = [episode.id for episode in read(write_lerobot(tmp_path / "other", seed=1))[1]]
    assert not set(ids[0]) & set(other)


@pytest.mark.parametrize("version", VERSIONS)
def test_decoding_starts_at_the_episodes_own_first_frame_and_ends_at_its_last(tmp_path, version):
    reader, episodes = read(write_lerobot(tmp_path, version, episodes=4, frames=23, gop=5, episodes_per_file=4))
    for episode in episodes:
        frames = list(reader.decode(episode, episode.cameras[0]))
        np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(23) / 10, atol=1e-6)
        expected = render(block_path(0, episode.index, 23), 96, 128, 0, "front")
        for place in (0, 11, 22):
            shown = frames[place].image.to_ndarray(format="rgb24").astype(int)
            assert np.abs(shown - expected[place]).mean() < 4, (episode.index, place)
        window = list(reader.decode(episode, episode.cameras[0], 0.7, 1.2))
        np.testing.assert_allclose([frame.time_s for frame in window], [0.7, 0.8, 0.9, 1.0, 1.1], atol=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_sampling_finds_frames_near_the_times_and_the_true_length(tmp_path, version):
    reader, episodes = read(write_lerobot(tmp_path, version, episodes=3, frames=40))
    for episode in episodes:
        times_s = np.arange(0, 4, 0.25)
        sample = reader.sample(episode, episode.cameras[0], times_s)
        found = np.array([frame.time_s for frame in sample.frames])
        assert sample.duration_s == pytest.approx(4.0)
        assert np.abs(found[:, None] - times_s[None]).min(axis=0).max() <= 0.125


def test_clocks_may_start_late_and_jitter(tmp_path):
    root = write_lerobot(tmp_path, episodes=1, frames=40)
    rng = np.random.default_rng(0)
    clock = (0.05 + np.arange(40) / 10 + rng.uniform(-0.03, 0.03, 40)).astype(np.float32)
    edit_table(root / "data/chunk-000/episode_000000.parquet", timestamp=clock)
    episode = read(root)[1][0]
    assert episode.problems == ()
    np.testing.assert_allclose(episode.timestamps_s, np.arange(40) / 10)


@pytest.mark.parametrize(
    ("clock", "code", "fatal", "words"),
    [
        (np.arange(100) * 0.107, "clock_drift", False, "0.7 s after"),
        (np.arange(100) * 0.093, "clock_drift", False, "0.7 s before"),
        (np.arange(100) * 0.2, "clock_drift", True, "declared rate of 10"),
        (np.arange(100) * 0.1 + (np.arange(100) > 50) * 3, "clock_gap", True, "3.1 s after row 50"),
        (np.arange(100)[::-1] * 0.1, "broken_clock", True, "do not increase"),
        (np.full(100, np.nan), "broken_clock", True, "not finite"),
        (1.7e9 + np.arange(100) * 0.1, "coarse_clock", False, "too coarsely"),
    ],
)
def test_what_a_recorded_clock_tells(tmp_path, clock, code, fatal, words):
    root = write_lerobot(tmp_path, episodes=1, frames=100, height=32, width=32)
    edit_table(root / "data/chunk-000/episode_000000.parquet", timestamp=clock.astype(np.float32))
    (problem,) = read(root)[1][0].problems
    assert (problem.code, problem.fatal, problem.camera) == (code, fatal, None)
    assert words in problem.message


def test_groot_verdicts_are_no_tasks(tmp_path):
    root = write_lerobot(tmp_path, "v2.0", episodes=3)
    (root / "meta/tasks.jsonl").write_text("".join(json.dumps({"task_index": i, "task": t}) + "\n" for i, t in enumerate(["valid", "lift the cup", "invalid"])))
    lines = [{"episode_index": i, "tasks": tasks, "length": 40} for i, tasks in enumerate([["valid", "lift the cup"], ["valid"], ["lift the cup", "invalid"]])]
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    edit_table(root / "data/chunk-000/episode_000001.parquet", **{"annotation.human.action.task_description": [1] * 40, "annotation.human.validity": [0] * 40})
    episodes = read(root)[1]
    assert [episode.task for episode in episodes] == ["lift the cup"] * 3
    assert [[problem.code for problem in episode.problems] for episode in episodes] == [[], [], ["marked_invalid"]]
    assert episodes[2].problems[0].fatal


def test_a_missing_task_is_said_not_invented(tmp_path):
    root = write_lerobot(tmp_path, episodes=1)
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0, "length": 40}\n')
    edit_table(root / "data/chunk-000/episode_000000.parquet", task_index=None)
    episode = read(root)[1][0]
    assert episode.task is None
    assert [(problem.code, problem.fatal) for problem in episode.problems] == [("no_task", False)]


@pytest.mark.parametrize("version", VERSIONS)
def test_counts_that_do_not_match_are_shown(tmp_path, version):
    root = write_lerobot(tmp_path, version, episodes=2)
    edit_json(root / "meta/info.json", total_episodes=100, total_frames=1)
    reader, episodes = read(root)
    assert len(episodes) == 2
    (problem,) = reader.info().problems
    assert (problem.code, problem.fatal) == ("episode_count", False)
    assert "100" in problem.message


def test_one_episode_on_disk_of_many_listed(tmp_path):
    root = write_lerobot(tmp_path, episodes=1)
    lines = [{"episode_index": i, "tasks": ["push"], "length": 40} for i in range(100)]
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [episode.index for episode in read(root)[1]] == [0]


def test_an_episode_that_is_not_listed_is_still_found(tmp_path):
    root = write_lerobot(tmp_path, episodes=3)
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 1, "tasks": ["push"], "length": 40}\n')
    episodes = read(root)[1]
    assert [episode.index for episode in episodes] == [0, 1, 2]
    assert [[problem.code for problem in episode.problems] for episode in episodes] == [["not_listed"], [], ["not_listed"]]
    assert [episode.task for episode in episodes] == ["push the red block to the left", "push", "push the red block to the left"]
    (root / "meta/episodes.jsonl").unlink()
    assert len(read(root)[1]) == 3


def test_float64_telemetry_and_scalar_actions(tmp_path):
    root = write_lerobot(tmp_path, episodes=1)
    path = root / "data/chunk-000/episode_000000.parquet"
    before = read(root)[1][0]
    edit_table(path, **{"observation.state": before.state.astype(np.float64).tolist(), "action": np.arange(40) * 0.5})
    after = read(root)[1][0]
    np.testing.assert_array_equal(after.state, before.state)
    assert after.state.dtype == after.action.dtype == np.float32
    assert after.action.shape == (40, 1)


def test_state_in_parts_is_put_together_in_name_order(tmp_path):
    root = write_lerobot(tmp_path, episodes=1)
    path = root / "data/chunk-000/episode_000000.parquet"
    edit_table(path, **{"observation.state": None, "observation.state.b": [[2.0, 3.0]] * 40, "observation.state.a": [1.0] * 40})
    np.testing.assert_array_equal(read(root)[1][0].state[0], [1, 2, 3])


def test_rows_out_of_order_are_put_in_order(tmp_path):
    root = write_lerobot(tmp_path, episodes=1)
    path = root / "data/chunk-000/episode_000000.parquet"
    before = read(root)[1][0]
    pq.write_table(pq.read_table(path).take(pa.array(np.random.default_rng(0).permutation(40))), path)
    assert read(root)[1][0].id == before.id


def test_success_is_the_outcome(tmp_path):
    root = write_lerobot(tmp_path, episodes=3)
    edit_table(root / "data/chunk-000/episode_000000.parquet", **{"next.success": [False] * 39 + [True]})
    edit_table(root / "data/chunk-000/episode_000001.parquet", **{"next.success": [False] * 40})
    assert [episode.outcome for episode in read(root)[1]] == ["success", "failure", None]


def test_depth_and_image_cameras_are_refused_with_a_reason(tmp_path):
    root = write_lerobot(tmp_path, episodes=1, cameras=("front", "depth", "still"))
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.depth"]["info"]["video.is_depth_map"] = True
    info["features"]["observation.images.still"]["dtype"] = "image"
    info["features"]["observation.images.head_depth"] = info["features"]["observation.images.front"]
    (root / "meta/info.json").write_text(json.dumps(info))
    episode = read(root)[1][0]
    assert [camera.name for camera in episode.cameras] == ["front"]
    assert [(problem.code, problem.camera) for problem in episode.problems] == [
        ("unsupported_camera", "depth"),
        ("unsupported_camera", "head_depth"),
        ("unreadable", "still"),
    ]
    assert "the telemetry has no column observation.images.still" in episode.problems[2].message


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_pictures_in_the_rows_are_a_camera(tmp_path, version):
    root = add_stills(write_lerobot(tmp_path, version, episodes=3, frames=40, height=48, width=64), "wrist", 3, 40)
    reader, episodes = read(root)
    for episode in episodes:
        camera = episode.cameras[1]
        assert (camera.name, camera.codec, camera.frames, camera.fps, camera.height, camera.width) == ("wrist", "png", 40, 10, 48, 64)
        film = render(block_path(0, episode.index, 40), 48, 64, 0, "wrist")
        frames = list(reader.decode(episode, camera, 1.45, 3.5))
        assert [frame.time_s for frame in frames] == pytest.approx(np.arange(15, 35) / 10)
        assert all(np.array_equal(frame.image.to_ndarray(format="rgb24"), film[row]) for row, frame in enumerate(frames, start=15))
        sample = reader.sample(episode, camera, [0.0, 1.52, 9.0])
        assert sample.duration_s == pytest.approx(4.0) and [frame.time_s for frame in sample.frames] == pytest.approx([0.0, 1.5, 3.9])


def test_depth_in_the_rows_and_damaged_pictures_are_told(tmp_path):
    root = add_stills(write_lerobot(tmp_path, episodes=1, frames=20), "wrist", 1, 20)
    path, name = root / "data/chunk-000/episode_000000.parquet", "observation.images.wrist"
    whole = pq.read_table(path)
    deep = cv2.imencode(".png", np.zeros((48, 64), np.uint16))[1].tobytes()
    good = whole[name][0]["bytes"].as_py()
    for contents, code, word in (
        ([deep] * 20, "unsupported_camera", "16 bit"),
        ([None] * 20, "unreadable", "only its name"),
        ([b"x"] * 20, "unreadable", "neither a JPEG"),
        ([1.0] * 20, "unreadable", "a JPEG or PNG a row"),
        ([good, *[good[:-20]] * 19], None, "frame 1: the picture is cut short"),
    ):
        structure = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        column = pa.array(contents) if contents[0] == 1.0 else pa.array([{"bytes": content, "path": ""} for content in contents], structure)
        pq.write_table(whole.drop_columns([name]).append_column(name, column), path)
        reader, (episode,) = read(root)
        told = [(problem.code, problem.message) for problem in episode.problems if problem.camera == "wrist"]
        if code is None:
            with pytest.raises(UnreadableVideo, match=word):
                list(reader.decode(episode, episode.cameras[1]))
        else:
            assert [camera.name for camera in episode.cameras] == ["front"] and told[0][0] == code and word in told[0][1]


def test_columns_called_as_others_call_them(tmp_path):
    root = write_lerobot(tmp_path, episodes=1)
    path = root / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.rename_columns([{"observation.state": "state", "action": "actions"}.get(name, name) for name in table.column_names]), path)
    _, (episode,) = read(root)
    assert (episode.state.shape[1], episode.action.shape[1], episode.problems) == (3, 2, ())
    pq.write_table(table.drop_columns(["observation.state"]), path)
    _, (episode,) = read(root)
    assert [(problem.code, problem.fatal) for problem in episode.problems] == [("no_telemetry", False)]


def test_sizes_come_from_the_shape_or_the_video_where_info_is_silent(tmp_path):
    root = write_lerobot(tmp_path, episodes=1, cameras=("a", "b", "c"))
    info = json.loads((root / "meta/info.json").read_text())
    shapes = {"a": ([3, 96, 128], ["channels", "height", "width"]), "b": ([96, 128, 3], None), "c": (None, None)}
    for camera, (shape, names) in shapes.items():
        feature = info["features"][f"observation.images.{camera}"]
        feature.pop("info")
        feature |= {"shape": shape, "names": names}
    (root / "meta/info.json").write_text(json.dumps(info))
    assert [(camera.height, camera.width) for camera in read(root)[1][0].cameras] == [(96, 128)] * 3


def test_the_video_of_a_v3_episode_never_shows_its_neighbour(tmp_path):
    root = write_lerobot(tmp_path, "v3.0", episodes=3, frames=20, gop=8, episodes_per_file=3)
    table = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet")
    shifted = {
        name: [value + 1e-4 * (-1) ** place for place, value in enumerate(table[name].to_pylist())]
        for name in table.column_names
        if name.endswith("_timestamp")
    }
    shifted = {name: np.maximum(values, 0) for name, values in shifted.items()}
    edit_table(root / "meta/episodes/chunk-000/file-000.parquet", **shifted)
    reader, episodes = read(root)
    for episode in episodes:
        times = [frame.time_s for frame in reader.decode(episode, episode.cameras[0])]
        np.testing.assert_allclose(times, np.arange(20) / 10, atol=2e-4)
        assert min(times) >= 0
        assert reader.sample(episode, episode.cameras[0], [0.0, 1.0]).duration_s == pytest.approx(2.0, abs=1e-3)
