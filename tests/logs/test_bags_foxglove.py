"""Foxglove MCAP: pictures in protobuf and JSON, and video streams that can be entered at keyframes only."""

import numpy as np
import pytest

from cosmos_ops.logs import UnreadableVideo, open_log
from cosmos_ops.logs.bags import frames as decoding
from cosmos_ops.logs.bags.streams import part
from cosmos_ops.logs.inspect import inspect_log
from tests.fixtures import bag_factory as make
from tests.fixtures.bag_factory import FPS, Heard, at, recording, write_mcap
from tests.fixtures.foxglove_factory import write_foxglove
from tests.shards.lakes import small_profile

CODECS = {"h264": "libx264", "h265": "libx265"}


def only(path):
    reader = open_log(path)
    (episode,) = reader.episodes()
    return reader, episode


def film(units, codec, log_s=0.01):
    return [(number / FPS + log_s, number / FPS, {"data": unit, "format": codec}) for number, unit in enumerate(units)]


@pytest.fixture(scope="module", params=sorted(CODECS))
def video(request, tmp_path_factory):
    """(codec, access units of 45 pictures with a keyframe every 10, file)"""
    units = make.stream(45, CODECS[request.param])
    path = tmp_path_factory.mktemp("video") / "one.mcap"
    return request.param, units, write_foxglove(path, film(units, request.param), "CompressedVideo", rows=45)


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_packed_pictures(tmp_path, encoding, kind):
    camera = [(row / FPS + 0.3, row / FPS, {"data": make.packed(make.picture(row), kind), "format": kind}) for row in range(30)]
    reader, episode = only(write_foxglove(tmp_path / "one.mcap", camera, "CompressedImage", encoding, rows=30))
    assert reader.info().format_version == "mcap" and episode.state.shape == (30, 3)
    (camera,) = episode.cameras
    assert (camera.name, camera.frames, camera.fps, camera.height, camera.width) == ("cam_CompressedImage", 30, FPS, make.HEIGHT, make.WIDTH)
    frames = list(reader.decode(episode, camera))
    assert make.numbers_shown(frames) == list(range(30)) and [frame.time_s for frame in frames] == pytest.approx(np.arange(30) / FPS), "stamps, not log times"
    assert inspect_log(tmp_path / "one.mcap", small_profile())["accepted_episodes"] == 1


def test_raw_pictures(tmp_path):
    shape = {"width": make.WIDTH, "height": make.HEIGHT, "step": make.WIDTH * 3, "encoding": "bgr8"}
    camera = [(row / FPS, row / FPS, {**shape, "data": make.picture(row)[..., ::-1].tobytes()}) for row in range(5)]
    reader, episode = only(write_foxglove(tmp_path / "one.mcap", camera, "RawImage", rows=5))
    for row, frame in enumerate(reader.decode(episode, episode.cameras[0])):
        assert np.array_equal(frame.image.to_ndarray(format="rgb24"), make.picture(row))


def test_a_stream(video):
    codec, _, path = video
    reader, episode = only(path)
    (camera,) = episode.cameras
    expected = {"h264": "h264", "h265": "hevc"}[codec]
    assert (camera.codec, camera.frames, camera.fps, camera.height, camera.width) == (expected, 45, FPS, make.HEIGHT, make.WIDTH)
    frames = list(reader.decode(episode, camera))
    assert make.numbers_shown(frames) == list(range(45)) and [frame.time_s for frame in frames] == pytest.approx(np.arange(45) / FPS)
    for threads in (0, 1, 4):
        assert make.numbers_shown(reader.decode(episode, camera, 2.35, 3.1, threads)) == [24, 25, 26, 27, 28, 29, 30]
    assert inspect_log(path, small_profile())["accepted_episodes"] == 1


def test_a_stretch_is_decoded_from_the_keyframe_before_it(video, monkeypatch):
    _, _, path = video
    reader, episode = only(path)
    fed = []

    def counting(codec, packets, threads):
        def noted():
            for number, unit in packets:
                fed.append(number)
                yield number, unit

        return original(codec, noted(), threads)

    original = decoding.decode_stream
    monkeypatch.setattr(decoding, "decode_stream", counting)
    assert make.numbers_shown(reader.decode(episode, episode.cameras[0], 2.35, 2.65)) == [24, 25, 26] and fed == list(range(20, 27))
    fed.clear()
    sample = reader.sample(episode, episode.cameras[0], [0.0, 2.0, 4.0])
    assert make.numbers_shown(sample.frames) == [0, 20, 40] and fed == [0, 20, 40], "keyframes alone, where they lie close enough"
    assert sample.duration_s == pytest.approx(4.5)
    fed.clear()
    assert make.numbers_shown(reader.sample(episode, episode.cameras[0], [0.0, 0.5, 1.0]).frames) == [0, 5, 10] and fed == list(range(11))


@pytest.mark.timeout(120)
def test_a_decoder_left_in_the_middle_of_a_stream_closes(video):
    codec, units, _ = video
    for taken in range(120):
        stream = decoding.decode_stream({"h264": "h264", "h265": "hevc"}[codec], list(enumerate(units)), threads=4)
        for _ in range(taken % 7):
            next(stream)
        stream.close()


def test_what_comes_before_the_first_keyframe_is_left_out(video, tmp_path):
    codec, units, _ = video
    reader, episode = only(write_foxglove(tmp_path / "late.mcap", film(units, codec)[7:], "CompressedVideo", rows=45))
    (camera,) = episode.cameras
    assert camera.frames == 35 and make.numbers_shown(reader.decode(episode, camera)) == list(range(10, 45))
    told = {problem.code: problem for problem in episode.problems}
    assert "3 of 38 pictures of /cam/CompressedVideo are left out (it needs an earlier picture" in told["damaged_frames"].message
    assert "10 before" not in told["trimmed"].message and "9 before" in told["trimmed"].message
    assert next(reader.decode(episode, camera)).time_s == pytest.approx(0.1)


def test_a_stream_out_of_which_messages_were_lost(video, tmp_path):
    codec, units, _ = video
    kept = [one for number, one in enumerate(film(units, codec)) if number not in (13, 14, 15)]
    reader, episode = only(write_foxglove(tmp_path / "lost.mcap", kept, "CompressedVideo", rows=45))
    assert "3 of 45 pictures are missing at 10 a second" in [problem.message for problem in episode.problems]
    numbers = make.numbers_shown(reader.decode(episode, episode.cameras[0]))
    assert numbers[:13] == list(range(13)) and numbers[-25:] == list(range(20, 45)), "sound again from the next keyframe"


def test_headers_in_a_message_of_their_own(tmp_path):
    units = make.stream(20)
    at_slice = units[0].rindex(b"\x00\x00\x01")
    camera = [(-0.001, -0.001, {"data": units[0][:at_slice], "format": "h264"})]
    camera += film([units[0][at_slice:], *units[1:]], "h264")
    reader, episode = only(write_foxglove(tmp_path / "one.mcap", camera, "CompressedVideo", rows=20))
    assert episode.cameras[0].frames == 20 and make.numbers_shown(reader.decode(episode, episode.cameras[0])) == list(range(20))


def test_a_damaged_stream_is_unreadable_not_a_traceback(video, tmp_path):
    codec, units, _ = video
    rng = np.random.default_rng(3)
    broken = [unit if number % 10 == 0 else unit[:7] + rng.bytes(len(unit)) for number, unit in enumerate(units)]
    reader, episode = only(write_foxglove(tmp_path / "one.mcap", film(broken, codec), "CompressedVideo", rows=45))
    try:
        shown = make.numbers_shown(reader.decode(episode, episode.cameras[0]))
    except UnreadableVideo as error:
        assert "/cam/CompressedVideo" in str(error)
    else:
        assert [number for number in shown if number % 10 == 0] == [0, 10, 20, 30, 40]


def test_a_stream_of_noise_is_no_camera(video, tmp_path):
    codec, units, _ = video
    rng = np.random.default_rng(3)
    broken = [unit if number % 10 == 0 else b"\xff" + rng.bytes(len(unit)).replace(b"\0", b"") for number, unit in enumerate(units)]
    _, episode = only(write_foxglove(tmp_path / "one.mcap", film(broken, codec), "CompressedVideo", rows=45))
    (problem,) = [problem for problem in episode.problems if problem.fatal]
    assert (
        problem.camera
        and problem.message == "40 of 45 pictures of /cam/CompressedVideo are left out (it holds no start code, so it is no access unit in Annex B)"
    )


def test_an_unknown_codec_is_told(tmp_path):
    _, episode = only(write_foxglove(tmp_path / "one.mcap", film([b"\x12\x00"] * 5, "av1"), "CompressedVideo", rows=5))
    assert "its video is in av1, known are h264 and h265" in next(problem.message for problem in episode.problems if problem.code == "ignored_topics")
    assert [problem.code for problem in episode.problems if problem.fatal] == ["no_camera"]


def test_foxgloves_types_in_a_ros_2_bag(tmp_path):
    from cosmos_ops.logs.bags.messages import _store

    name, units = "foxglove_msgs/msg/CompressedVideo", make.stream(20)
    store = _store("ros2_humble")
    make.ROS2.fielddefs[name], make.ROS2.types[name] = store.fielddefs[name], store.types[name]
    heard = recording(20, cameras=())
    for number, unit in enumerate(units):
        stamp = make.header(number / FPS).stamp
        heard.append(Heard("/cam/h264", name, at(number / FPS + 0.01), store.types[name](stamp, "cam", np.frombuffer(unit, np.uint8), "h264")))
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert make.numbers_shown(reader.decode(episode, episode.cameras[0])) == list(range(20)) and episode.cameras[0].name == "cam"


@pytest.mark.parametrize(
    ("codec", "units", "picture", "entry"),
    [
        ("h264", (0x67, 0x68, 0x65), True, True),
        ("h264", (0x41,), True, False),
        ("h264", (0x65,), True, False),
        ("h264", (0x67, 0x41), True, False),
        ("h264", (0x67, 0x68), False, True),
        ("hevc", (0x40, 0x42, 0x44, 0x26), True, True),
        ("hevc", (0x42, 0x2A), True, True),
        ("hevc", (0x02,), True, False),
    ],
)
def test_where_a_stream_can_be_entered(codec, units, picture, entry):
    data = b"".join(b"\x00\x00\x00\x01" + bytes([unit, 1, 2, 3]) for unit in units)
    assert part(codec, data) == (picture, entry)
