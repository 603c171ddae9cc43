"""Decoding by time, choosing frames, fitting, encoding: on real videos, against what was drawn into them."""

import io

import av
import cv2
import numpy as np
import pytest

from cosmos_ops.logs.base import TimedFrame, UnreadableVideo
from cosmos_ops.video.decode import decode_frames, look, probe_video
from cosmos_ops.video.encode import encode_mp4, encoder_build
from cosmos_ops.video.filmstrip import filmstrip_png
from cosmos_ops.video.resample import clip_rate, frames_at_rate, nearest_frames, sample_times
from cosmos_ops.video.transform import FITS, FrameFitter, crop_loss, scaled_size
from tests.fixtures.lerobot_factory import write_video

FPS = 10


def grey(count: int) -> np.ndarray:
    """[T, 48, 64, 3] frames whose brightness tells their place."""
    return np.broadcast_to((20 + 4 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, 48, 64, 3)).copy()


def place_of(frame: av.VideoFrame) -> int:
    return round((float(frame.to_ndarray(format="rgb24").mean()) - 20) / 4)


def decoded(data: io.BytesIO) -> list[np.ndarray]:
    data.seek(0)
    with av.open(data) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module", params=[("h264", 2), ("h264", 12), ("h264", 60), ("av1", 2)], ids=lambda p: f"{p[0]}-gop{p[1]}")
def video(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "it.mp4"
    write_video(path, grey(40), FPS, *request.param)
    return path


def test_the_header_tells(video):
    facts = probe_video(video)
    assert (facts.height, facts.width, facts.fps, facts.frames) == (48, 64, 10.0, 40)
    assert facts.duration_s == pytest.approx(4.0)


@pytest.mark.parametrize(("start", "stop"), [(0, 40), (0, 1), (7, 8), (13, 29), (39, 40)])
def test_a_stretch_is_exact(video, start, stop):
    frames = list(decode_frames(video, start / FPS, stop / FPS))
    assert [place_of(image) for _, image in frames] == list(range(start, stop))
    np.testing.assert_allclose([time_s for time_s, _ in frames], np.arange(start, stop) / FPS, atol=1e-6)


def test_past_the_end_there_is_nothing(video):
    assert list(decode_frames(video, 5.0, 6.0)) == []
    with pytest.raises(UnreadableVideo):
        look(video, [0.0, 1.0], 5.0, 1.0)


def test_a_look_sees_what_is_there(video):
    seen = look(video, np.arange(0, 2, 0.4), 1.0, 2.0)
    frames = list(seen.frames)
    assert seen.duration_s == pytest.approx(2.0)
    assert [place_of(image) for _, image in frames] == [round((1.0 + time_s) * FPS) for time_s, _ in frames]
    assert np.abs(np.array([time_s for time_s, _ in frames])[:, None] - np.arange(0, 2, 0.4)).min(axis=0).max() <= 0.2


def test_b_frames_come_in_order(tmp_path):
    path = tmp_path / "b.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"bf": "3", "g": "20", "crf": "10"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for image in grey(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    assert [place_of(image) for _, image in decode_frames(path)] == list(range(40))
    assert [place_of(image) for _, image in decode_frames(path, 1.3, 2.6)] == list(range(13, 26))
    assert [place_of(image) for _, image in look(path, [0.0, 0.5, 1.0], 1.0, 1.5).frames] == [10, 15, 20]


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(2000), b"\x00\x00\x00\x18ftypmp42"])
def test_what_is_no_video_is_unreadable(tmp_path, content):
    path = tmp_path / "it.mp4"
    path.write_bytes(content)
    for attempt in (lambda: probe_video(path), lambda: list(decode_frames(path)), lambda: look(path, [0.0, 1.0])):
        with pytest.raises(UnreadableVideo) as caught:
            attempt()
        assert "it.mp4" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UnreadableVideo):
        probe_video(tmp_path / "absent.mp4")


def test_flipped_bytes_raise_nothing_else(video, tmp_path):
    data = video.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), 20):
            damaged[place] ^= int(rng.integers(1, 256))
        path = tmp_path / "damaged.mp4"
        path.write_bytes(bytes(damaged))
        for attempt in (lambda path=path: list(decode_frames(path)), lambda path=path: list(look(path, np.arange(0, 4, 0.25)).frames)):
            try:
                attempt()
            except UnreadableVideo:
                continue


def timed(times):
    return [TimedFrame(time_s, place) for place, time_s in enumerate(times)]


def test_the_rate_of_a_slow_source_is_its_own():
    assert clip_rate(10, 16) == 10
    assert clip_rate(30, 16) == 16
    assert frames_at_rate(4.0, 10, 10) == 40
    assert frames_at_rate(4.0, 10, 8) == 32
    assert frames_at_rate(0.0, 10, 8) == 0
    for count in range(1, 200):  # a recording at its own rate holds exactly its own frames, whatever the rounding
        assert frames_at_rate(count / 30, 30, 30) == count


def test_native_frames_are_each_chosen_once():
    for fps in (10, 15, 29.97, 30):
        chosen = list(nearest_frames(timed(np.arange(100) / fps), sample_times(0, 100, fps)))
        assert [frame.image for frame in chosen] == list(range(100))


def test_the_nearest_frame_is_chosen_earlier_on_a_tie():
    chosen = list(nearest_frames(timed([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), [0.0, 0.125, 0.25, 0.375, 0.5, 0.54]))
    assert [frame.image for frame in chosen] == [0, 1, 2, 4, 5, 5]


def test_a_gap_is_not_papered_over():
    with pytest.raises(UnreadableVideo, match="no frame within"):
        list(nearest_frames(timed([0.0, 0.1, 3.0]), [0.0, 1.0]))
    with pytest.raises(UnreadableVideo):
        list(nearest_frames([], [0.0]))


def picture(height: int, width: int) -> av.VideoFrame:
    """Left half red, right half blue, a white middle dot."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0], image[:, width // 2 :, 2] = 200, 200
    image[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4] = 255
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")


@pytest.mark.parametrize("source", [(480, 640), (256, 256), (96, 128), (720, 1280), (33, 47), (400, 200)])
@pytest.mark.parametrize("fit", FITS)
def test_pictures_fit_and_stay_centred(source, fit):
    fitter = FrameFitter(80, 128, fit)
    frame = picture(*source)
    rgb = fitter.rgb(frame)
    assert rgb.shape == (80, 128, 3) and rgb.dtype == np.uint8
    assert (rgb[36:44, 60:68].mean(axis=2) > 80).any()
    inner = slice(0, 128) if fit != "pad" else slice(*_pad_edges(source))
    columns = rgb[20].astype(int)[inner]
    assert columns[2, 0] > 150 > columns[2, 2] and columns[-3, 2] > 150 > columns[-3, 0]
    again = cv2.cvtColor(fitter.i420(frame), cv2.COLOR_YUV2RGB_I420).astype(int)
    assert np.abs(again - rgb).mean() < 6


def _pad_edges(source) -> tuple[int, int]:
    _, width = scaled_size(*source, 80, 128, "pad")
    return (128 - width) // 2, (128 - width) // 2 + width


def test_what_a_crop_loses():
    assert crop_loss(480, 640, 480, 640) == 0
    assert crop_loss(480, 640, 432, 768) == pytest.approx(0.25, abs=0.005)
    assert crop_loss(256, 256, 80, 128) == pytest.approx(0.375, abs=0.005)
    assert crop_loss(256, 256, 80, 128, "pad") == 0


@pytest.mark.parametrize("planes", [False, True])
def test_equal_frames_give_equal_bytes(planes, tmp_path):
    images = [FrameFitter(48, 64).rgb(av.VideoFrame.from_ndarray(image, format="rgb24")) for image in grey(17)]
    if planes:
        images = [FrameFitter(48, 64).i420(av.VideoFrame.from_ndarray(image, format="rgb24")) for image in grey(17)]
    first, second = io.BytesIO(), io.BytesIO()
    assert encode_mp4(images, 8, first) == encode_mp4(iter(images), 8.0, second) == 17
    assert first.getvalue() == second.getvalue()
    encode_mp4(images, 8, tmp_path / "it.mp4")
    assert (tmp_path / "it.mp4").read_bytes() == first.getvalue()
    other = io.BytesIO()
    encode_mp4(images, 8, other, crf=30)
    assert other.getvalue() != first.getvalue()


@pytest.mark.parametrize("fps", [8, 10, 16, 29.97, 6.25])
def test_what_is_encoded_comes_back(fps, tmp_path):
    encode_mp4(list(grey(17)), fps, tmp_path / "it.mp4", crf=10, gop=4)
    frames = list(decode_frames(tmp_path / "it.mp4"))
    assert [place_of(image) for _, image in frames] == list(range(17))
    np.testing.assert_allclose([time_s for time_s, _ in frames], np.arange(17) / fps, atol=1e-4)
    assert probe_video(tmp_path / "it.mp4").fps == pytest.approx(fps, rel=1e-4)
    with av.open(str(tmp_path / "it.mp4")) as container:
        assert [packet.is_keyframe for packet in container.demux(video=0) if packet.pts is not None] == [place % 4 == 0 for place in range(17)]


def test_colours_survive_the_encoder():
    image = np.zeros((48, 64, 3), np.uint8)
    image[:] = (200, 60, 30)
    data = io.BytesIO()
    encode_mp4([image] * 3, 8, data, crf=5)
    assert np.abs(decoded(data)[1].astype(int) - image).max() <= 4


def test_the_build_names_the_encoder():
    assert "x264 core" in encoder_build() and "libswscale" in encoder_build()


def test_a_film_strip_is_a_readable_picture(tmp_path):
    rows = [("episode 0 / front", list(grey(6))), ("épisode 一 / nothing to see", []), ("a wide one", [np.full((20, 200, 3), 250, np.uint8)])]
    filmstrip_png(rows, tmp_path / "a.png", marks=["accepted", "rejected", None])
    filmstrip_png(rows, tmp_path / "b.png", marks=["accepted", "rejected", None])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    image = cv2.imread(str(tmp_path / "a.png"))[..., ::-1]
    assert image.shape[1] >= 960 and 2 * 96 < image.shape[0] < 400
    assert tuple(image[10, 1]) == (60, 170, 75)
    assert image[:20].max() > 200, "the label is drawn"
    filmstrip_png([], tmp_path / "none.png")
    assert cv2.imread(str(tmp_path / "none.png")) is not None
