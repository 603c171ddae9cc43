"""Bags that are cut short, flipped, forged or half there: what can be read is read, the rest is one line, nothing is a traceback."""

import shutil
import sqlite3
import struct
import tracemalloc

import numpy as np
import pytest
from mcap.writer import CompressionType
from rosbags.rosbag1 import Writer as Rosbag1Writer

from cosmos_ops.errors import UserError
from cosmos_ops.logs import UnreadableVideo, open_log
from cosmos_ops.logs.inspect import inspect_log
from tests.fixtures import bag_factory as make
from tests.fixtures.bag_factory import FPS, ROS1, Heard, at, recording, write_bag, write_mcap
from tests.shards.lakes import small_profile

IMAGE = "sensor_msgs/msg/Image"
FORGED = (0, 2**31 - 1, 2**32 - 1, 2**40, 2**63, 2**64 - 1)


def look(path):
    """(episodes, numbers of the pictures of every camera); reads everything, fails on anything but the expected failures."""
    reader = open_log(path)
    reader.info()
    episodes, shown = list(reader.episodes()), []
    for episode in episodes:
        assert all("\n" not in problem.message and problem.message.isprintable() for problem in episode.problems)
        assert episode.timestamps_s.shape[0] == episode.state.shape[0] == episode.action.shape[0] and (np.diff(episode.timestamps_s) > 0).all()
        assert episode.duration_s >= 0 and episode.fps > 0
        for camera in episode.cameras:
            try:
                shown.append(make.numbers_shown(reader.decode(episode, camera)))
                list(reader.sample(episode, camera, [0.0, 0.5]).frames)
            except UnreadableVideo as error:
                assert "\n" not in str(error)
    return episodes, shown


def ros1(path, heard, compression):
    writer = Rosbag1Writer(path)
    writer.chunk_threshold = 20_000
    if compression:
        writer.set_compression(compression)
    with writer:
        connections = {}
        for topic, kind, log_ns, message in heard:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=ROS1)
            writer.write(connections[topic], log_ns, bytes(ROS1.serialize_ros1(message, kind)))
    return path


WRITERS = {
    "mcap-none": lambda path: write_mcap(path / "one.mcap", recording(), CompressionType.NONE, 6_000),
    "mcap-zstd": lambda path: write_mcap(path / "one.mcap", recording(), CompressionType.ZSTD, 6_000),
    "mcap-lz4": lambda path: write_mcap(path / "one.mcap", recording(), CompressionType.LZ4, 6_000),
    "mcap-one-chunk": lambda path: write_mcap(path / "one.mcap", recording(), CompressionType.ZSTD, 10**7),
    "mcap-no-chunks": lambda path: write_mcap(path / "one.mcap", recording(), CompressionType.NONE, 0),
    "db3": lambda path: (write_bag(path / "bag", recording(), "sqlite") / "bag.db3").rename(path / "one.db3"),
    "ros1-none": lambda path: ros1(path / "one.bag", recording(store=ROS1), None),
    "ros1-lz4": lambda path: ros1(path / "one.bag", recording(store=ROS1), Rosbag1Writer.CompressionFormat.LZ4),
    "ros1-bz2": lambda path: ros1(path / "one.bag", recording(store=ROS1), Rosbag1Writer.CompressionFormat.BZ2),
}


@pytest.fixture(params=sorted(WRITERS))
def whole(request, tmp_path):
    path = WRITERS[request.param](tmp_path)
    shutil.rmtree(tmp_path / "bag", ignore_errors=True)
    (episode,), (shown,) = look(path)
    assert shown == list(range(30)) and episode.problems == ()
    return path


def test_a_file_cut_anywhere_gives_what_lies_before_the_cut(whole):
    content = whole.read_bytes()
    best = 0
    for kept in np.linspace(0, len(content) - 1, 40).astype(int):
        whole.write_bytes(content[:kept])
        (episode,), shown = look(whole)
        if shown:
            assert shown[0] == sorted(set(shown[0])) and (whole.suffix == ".db3" or shown[0] == list(range(len(shown[0])))), "a beginning, in order"
            assert len(shown[0]) >= best - 1, "a longer file gives no less"
            best = max(best, len(shown[0]))
        fatal = {problem.code for problem in episode.problems if problem.fatal}
        told = {problem.code for problem in episode.problems}
        assert fatal or shown
        assert "damaged_log" in told or (shown and len(shown[0]) == 30), kept
    assert best >= 24


def test_flipped_bytes_never_raise(whole):
    content, rng = whole.read_bytes(), np.random.default_rng(5)
    for _ in range(40):
        spoiled = bytearray(content)
        for place in rng.integers(0, len(content), int(rng.integers(1, 30))):
            spoiled[place] = int(rng.integers(256))
        whole.write_bytes(spoiled)
        look(whole)


def test_forged_lengths_never_raise(whole):
    content, rng = whole.read_bytes(), np.random.default_rng(6)
    for place in rng.integers(0, min(len(content), 4_000), 40):
        spoiled = bytearray(content)
        spoiled[place : place + 8] = struct.pack("<Q", FORGED[rng.integers(len(FORGED))])
        whole.write_bytes(spoiled[: len(content)])
        look(whole)


@pytest.mark.parametrize("name", ["one.mcap", "one.db3", "one.bag"])
@pytest.mark.parametrize("content", [b"", b"\0" * 5_000, b"hello", bytes(range(256)) * 40])
def test_garbage_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path, tmp_path / name):
        (episode,), _ = look(path)
        assert [problem.code for problem in episode.problems if problem.fatal] == ["damaged_log"]
        with pytest.raises(UserError, match="no episode can be used") as caught:
            inspect_log(path, small_profile())
        assert "\n" not in str(caught.value)


def test_a_good_bag_beside_garbage_is_used(tmp_path):
    write_mcap(tmp_path / "a.mcap", recording())
    (tmp_path / "b.mcap").write_bytes(b"\x89MCAP0\r\n" + b"\x01" * 100)
    found = inspect_log(tmp_path, small_profile())
    assert [episode["accepted"] for episode in found["episodes"]] == [True, False]


def test_a_database_that_is_no_bag(tmp_path):
    with sqlite3.connect(tmp_path / "one.db3") as db:
        db.execute("CREATE TABLE other (x)")
    db.close()
    (episode,), _ = look(tmp_path / "one.db3")
    assert "no tables `topics` and `messages`" in episode.problems[0].message


def test_a_database_with_a_journal_beside_it_is_told_and_not_touched(tmp_path):
    path = WRITERS["db3"](tmp_path)
    shutil.rmtree(tmp_path / "bag")
    path.with_name("one.db3-wal").write_bytes(b"x" * 100)
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    (episode,), (shown,) = look(path)
    assert shown == list(range(30)) and "one.db3-wal" in next(problem.message for problem in episode.problems if problem.code == "damaged_log")
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "spoil", [lambda text: "", lambda text: text[: len(text) // 2], lambda text: text.replace("relative_file_paths", "paths"), lambda text: "\0" + text]
)
def test_damaged_metadata_does_not_hide_the_files(tmp_path, spoil):
    path = write_bag(tmp_path / "bag", recording())
    metadata = path / "metadata.yaml"
    metadata.write_text(spoil(metadata.read_text()))
    (episode,), (shown,) = look(path)
    assert shown == list(range(30)) and not any(problem.fatal for problem in episode.problems)


def test_paths_in_metadata_do_not_lead_out(tmp_path):
    outside = write_mcap(tmp_path / "outside.mcap", recording())
    path = write_bag(tmp_path / "drop/bag", recording())
    metadata = path / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("- bag.mcap", "- ../../outside.mcap"))
    (episode,), shown = look(path)
    assert shown == [] and "missing_file" in [problem.code for problem in episode.problems]
    (path / "outside.mcap").symlink_to(outside)
    (episode,), shown = look(tmp_path / "drop")
    assert shown == [] and any(problem.fatal and "leads out" in problem.message for problem in episode.problems)


def test_a_file_packed_as_a_whole_is_told(tmp_path):
    path = write_bag(tmp_path / "bag", recording())
    (path / "bag.mcap").rename(path / "bag.mcap.zstd")
    (episode,), _ = look(path)
    assert [problem.code for problem in episode.problems if problem.fatal] == ["unsupported_compression"]
    assert "zstd -d" in episode.problems[0].message


def test_a_chunk_that_unpacks_to_a_mountain_is_refused(tmp_path):
    import zstandard

    path = write_mcap(tmp_path / "one.mcap", recording(), CompressionType.ZSTD, 10**7)
    content = path.read_bytes()
    at_chunk = content.index(b"\x06", 60)
    bomb = zstandard.compress(b"\0" * 2**28)
    for size in (2**28, 2**40):
        body = struct.pack("<QQQI", 0, 0, size, 0) + struct.pack("<I", 4) + b"zstd" + struct.pack("<Q", len(bomb)) + bomb
        path.write_bytes(content[:at_chunk] + b"\x06" + struct.pack("<Q", len(body)) + body)
        (episode,), _ = look(path)
        assert any(problem.fatal for problem in episode.problems)


def test_a_few_broken_pictures_are_left_out_and_told(tmp_path):
    heard = []
    for one in recording(30):
        number = round((one.log_ns - at(0.015)) / 1e8)
        if "camera" in one.topic and number in (3, 11):
            content = make.packed(make.picture(number))
            one = one._replace(message=make.compressed(make.picture(number), number / FPS, content=content[: len(content) // 2 if number == 3 else 5]))
        heard.append(one)
    reader = open_log(write_mcap(tmp_path / "one.mcap", heard))
    (episode,) = reader.episodes()
    told = next(problem for problem in episode.problems if problem.code == "damaged_frames")
    assert (told.fatal, told.camera) == (False, "front") and told.message.startswith("2 of 30 pictures")
    assert make.numbers_shown(reader.decode(episode, episode.cameras[0])) == [n for n in range(30) if n not in (3, 11)]


def test_memory_is_that_of_a_chunk_not_of_the_bag(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (240, 320, 3), np.uint8)
    heard = [*recording(100, cameras=()), *(Heard("/cam/image_raw", IMAGE, at(row / FPS), make.image(noise, row / FPS)) for row in range(100))]
    path = write_mcap(tmp_path / "one.mcap", sorted(heard, key=lambda one: one.log_ns), CompressionType.NONE, 500_000)
    assert path.stat().st_size > 20_000_000
    list(open_log(path).episodes())  # libraries are loaded
    reader = open_log(path)
    tracemalloc.start()
    (episode,) = reader.episodes()
    seen = sum(1 for _ in reader.decode(episode, episode.cameras[0]))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == 100 and most_bytes < 6_000_000
