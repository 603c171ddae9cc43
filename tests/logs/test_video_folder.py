"""Folders of videos and captions: any codec, any of the usual layouts, nothing passed over in silence."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.logs import open_log
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.logs.mapping import NAME
from cosmos_ops.shards.read import read_clip
from cosmos_ops.shards.write import write_shards
from cosmos_ops.workers import LocalWorkers
from tests.fixtures.lerobot_factory import block_path, render
from tests.fixtures.video_factory import ENCODERS, write_video
from tests.shards.lakes import ready_for_shards, small_profile


def facts(root):
    return [(e.index, e.task, [p.code for p in e.problems if p.fatal]) for e in open_log(root).episodes()]


def with_metas(root, count=3, **video):
    for number in range(count):
        write_video(root / f"videos/{number}.mp4", seed=number, **video)
        (root / "metas").mkdir(exist_ok=True)
        (root / f"metas/{number}.txt").write_text(f"put {number} into the\n bin\n")
    return root


def write_table(path, rows):
    with open(path, "w", newline="") as stream:
        csv.DictWriter(stream, list(rows[0])).writeheader()
        csv.DictWriter(stream, list(rows[0])).writerows(rows)


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("h264", "mp4"),
        ("hevc", "mp4"),
        ("av1", "mp4"),
        ("mpeg4", "mp4"),
        ("mjpeg", "mov"),
        ("h264", "mkv"),
        ("mpeg4", "avi"),
        ("mjpeg", "avi"),
        ("vp9", "webm"),
        ("av1", "webm"),
    ],
)
def test_every_codec_is_read_frame_by_frame(tmp_path, codec, suffix):
    write_video(tmp_path / f"drop/clip.{suffix}", 24, 10, codec)
    reader = open_log(tmp_path / "drop")
    (episode,) = reader.episodes()
    (camera,) = episode.cameras
    assert (reader.info().format, episode.fps, episode.frames, camera.codec) == ("video-folder", 10, 24, codec)
    assert (camera.height, camera.width, episode.state.shape, episode.action.shape) == (48, 64, (24, 0), (24, 0))
    film = render(block_path(0, 0, 24), 48, 64, 0, "video")
    frames = list(reader.decode(episode, camera))
    assert [round(frame.time_s, 2) for frame in frames] == [round(place / 10, 2) for place in range(24)]
    for place in (0, 11, 23):
        assert np.abs(frames[place].image.to_ndarray(format="rgb24").astype(int) - film[place]).mean() < 16, place
    assert [round(frame.time_s, 2) for frame in reader.decode(episode, camera, 1.0, 1.3)] == [1.0, 1.1, 1.2]
    assert reader.sample(episode, camera, [0.0, 1.0, 2.0]).duration_s == pytest.approx(2.4, abs=0.11)


def test_all_codecs_are_tried():
    assert set(ENCODERS) >= {"h264", "hevc", "av1", "mpeg4", "mjpeg"}


def test_b_frames_in_avi_keep_their_order(tmp_path):
    write_video(tmp_path / "drop/clip.avi", 24, 10, "mpeg4", bf="2")
    reader = open_log(tmp_path / "drop")
    (episode,) = reader.episodes()
    film = render(block_path(0, 0, 24), 48, 64, 0, "video")
    frames = list(reader.decode(episode, episode.cameras[0]))
    times_s = [frame.time_s for frame in frames]
    assert times_s == sorted(times_s) and len(frames) == 24
    assert np.abs(frames[20].image.to_ndarray(format="rgb24").astype(int) - film[20]).mean() < 16


def test_varying_rate_is_read_by_time(tmp_path):
    times = [0, 1, 2, 3, 8, 9, 10, 11, 20, 21]
    write_video(tmp_path / "drop/clip.mkv", 10, 10, times=times)
    reader = open_log(tmp_path / "drop")
    (episode,) = reader.episodes()
    assert [round(frame.time_s * 10) for frame in reader.decode(episode, episode.cameras[0], 0.75, 1.15)] == [8, 9, 10, 11]
    assert episode.duration_s == pytest.approx(2.2, abs=0.2)


def test_metas(tmp_path):
    root = with_metas(tmp_path / "drop", 12, frames=2)
    (root / "LICENSE").write_text("Permission is hereby granted, free of charge, to any person")
    assert facts(root) == [(number, f"put {number} into the bin", []) for number in range(12)]
    log = open_log(root).info()
    assert (log.format_version, log.licence, log.declared_episodes, [p.code for p in log.problems]) == ("metas", "MIT", 12, ["no_telemetry"])


def test_what_the_captions_lack_or_have_too_much_is_said(tmp_path):
    root = with_metas(tmp_path / "drop", 3, frames=2)
    (root / "metas/0.txt").unlink()
    (root / "metas/1.txt").write_bytes(b"\xff\xfe\x00")
    (root / "metas/7.txt").write_text("nothing to see")
    episodes = {episode.index: episode for episode in open_log(root).episodes()}
    assert sorted(episodes) == [0, 1, 2, 7]
    assert [(p.code, p.message) for p in episodes[7].problems][0] == ("missing_video", "metas/7.txt has no video")
    assert "no caption is there" in episodes[0].problems[0].message and "not text in UTF-8" in episodes[1].problems[0].message
    assert (episodes[0].task, episodes[2].task) == (None, "put 2 into the bin")


@pytest.mark.parametrize("key", ["text", "caption", "prompt"])
@pytest.mark.parametrize("table", ["metadata.csv", "metadata.jsonl", "videos/metadata.csv"])
def test_tables(tmp_path, table, key):
    root = tmp_path / "drop"
    for name in ("a", "b", "c"):
        write_video(root / f"videos/{name}.mp4", frames=2, seed=ord(name))
    prefix = "" if table.startswith("videos") else "videos/"
    rows = [{"file_name": f"{prefix}a.mp4", key: 'pick "it", now\nplease'}, {"file_name": "b.mp4", key: "b"}, {"file_name": "gone.mp4", key: "x"}]
    rows += [{"file_name": "../../etc/passwd.mp4", key: "y"}, {"file_name": "", key: "z"}, {"file_name": "b.mp4", key: "again"}]
    if table.endswith("csv"):
        write_table(root / table, rows)
    else:
        (root / table).write_text("\n".join(map(json.dumps, rows)))
    found = {task: codes for _, task, codes in facts(root)}
    assert found == {'pick "it", now please': [], "b": [], None: [], "x": ["missing_video"], "y": ["missing_video"], "z": ["missing_video"]}
    assert [problem.code for problem in open_log(root).info().problems] == ["repeated_episode", "no_telemetry"]


def test_a_table_may_name_videos_further_down(tmp_path):
    write_video(tmp_path / "drop/gr1/0.mp4", frames=2)
    write_video(tmp_path / "drop/gr1/1.mp4", frames=2, seed=1)
    with pytest.raises(UserError, match="only further down.*gr1/0.mp4"):
        open_log(tmp_path / "drop")
    write_table(tmp_path / "drop/metadata.csv", [{"file_name": "gr1/1.mp4", "text": "pour"}])
    assert facts(tmp_path / "drop") == [(1, "pour", [])]
    assert "nested_files" in [problem.code for problem in open_log(tmp_path / "drop").info().problems]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("metadata.csv", b"name,text\na.mp4,x\n", "has no column file_name"),
        ("metadata.csv", b"", "has no column file_name"),
        ("metadata.csv", b"file_name,text\n\xff.mp4,x\n", "cannot be read"),
        ("metadata.csv", b'file_name,text\na.mp4,"x\n', "cannot be read"),
        ("metadata.csv", b"file_name,text\na.mp4," + b"x" * 200_000 + b"\n", "cannot be read"),
        ("metadata.jsonl", b'{"file_name": "a.mp4"\n', "cannot be read"),
        ("metadata.jsonl", b"[" * 100_000, "cannot be read"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, name, content, what):
    write_video(tmp_path / "drop/a.mp4", frames=2)
    (tmp_path / "drop" / name).write_bytes(content)
    with pytest.raises(UserError, match=what) as caught:
        open_log(tmp_path / "drop")
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_one_video_alone_and_the_mapping(tmp_path):
    path = write_video(tmp_path / "run.mp4", frames=24)
    path.with_name(f"run.mp4.{NAME}").write_text("robot: gr1\nlicence: MIT\ntask: pour\nfps: 5\ncameras: {video: ego_view}\n")
    reader = open_log(path)
    (episode,) = reader.episodes()
    assert (episode.robot, episode.task, episode.fps, episode.cameras[0].name, reader.info().licence) == ("gr1", "pour", 10, "ego_view", "MIT")
    assert [problem.code for problem in reader.info().problems] == ["no_telemetry", "unused_setting"]
    assert len(list(reader.decode(episode, episode.cameras[0]))) == 24 and reader.guess().cameras == {"video": "ego_view"}


def test_links_out_of_the_drop_are_not_followed(tmp_path):
    secret = write_video(tmp_path / "elsewhere/secret.mp4", frames=2)
    (tmp_path / "elsewhere/secret.txt").write_text("password")
    root = with_metas(tmp_path / "drop", 1, frames=2)
    (root / "videos/1.mp4").symlink_to(secret)
    (root / "metas/0.txt").unlink()
    (root / "metas/0.txt").symlink_to(tmp_path / "elsewhere/secret.txt")
    zero, one = open_log(root).episodes()
    assert zero.task is None and "leads out" in zero.problems[0].message
    assert one.cameras == () and "leads out" in one.problems[0].message
    with pytest.raises(UserError, match="leads out of the drop"):
        register_drop(Lake(tmp_path / "lake"), root)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "webm"])
def test_cut_videos_are_rejected(tmp_path, suffix):
    path = write_video(tmp_path / f"drop/1.{suffix}", 60, codec="vp9" if suffix == "webm" else "h264")
    write_video(tmp_path / "drop/2.mp4", 60, seed=2)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 3, len(whole) // 2):
        path.write_bytes(whole[:size])
        found = inspect_log(tmp_path / "drop", small_profile())["episodes"]
        assert [episode["accepted"] for episode in found] == [False, True], size


def test_clips_come_out_with_actions_of_no_width(tmp_path):
    root = with_metas(tmp_path / "drop", 2)
    profile = small_profile()
    lake = ready_for_shards(tmp_path / "lake", root, profile, "toy")
    manifest = write_shards(lake, "toy", profile, workers=LocalWorkers(1))
    row = pq.read_table(manifest.file("index.parquet")).to_pylist()[0]
    clip = read_clip(lake, str(manifest.file(row["shard"]).relative_to(lake.root)), row["key"])
    assert manifest.rows == 4 and row["caption"] == "put 0 into the bin" and clip.actions.shape == (9, 0)
