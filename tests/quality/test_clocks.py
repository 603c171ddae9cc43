"""Clocks: what is measured, what is corrected, what is not; and videos whose frames come when they like."""

from fractions import Fraction

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmos_ops.lake import Lake
from cosmos_ops.logs import open_log
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import index_drop
from cosmos_ops.profiles import load_profile
from cosmos_ops.quality.assess import assess_drop
from cosmos_ops.quality.clocks import ClockFacts
from cosmos_ops.quality.verdicts import judge
from cosmos_ops.video.resample import nearest_frames
from tests.fixtures.hdf5_factory import write_aloha
from tests.fixtures.lerobot_factory import block_path, render, write_lerobot

NANO, ROWS, FPS = load_profile("nano"), 60, 10


def set_clock(root, episode, clock_s):
    path = root / f"data/chunk-000/episode_{episode:06d}.parquet"
    table = pq.read_table(path)
    field = table.schema.field("timestamp")
    pq.write_table(table.set_column(table.column_names.index("timestamp"), field, pa.array(clock_s, field.type)), path)


def write_at(path, images, times_s, fps=FPS):
    """An mp4 whose frames are at these times, milliseconds."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12", "preset": "veryfast", "g": "2", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *images.shape[1:3], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, time_s in zip(images, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time_s), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def cameras(tmp_path, root):
    lake = Lake(tmp_path / "lake")
    register_drop(lake, root, "toy")
    index_drop(lake, "toy")
    manifest = assess_drop(lake, "toy", NANO)
    return {row["index"]: row for row in pq.read_table(manifest.file("cameras.parquet")).to_pylist()}, manifest


@pytest.mark.parametrize(("rate", "told"), [(1.06, True), (0.94, True), (1.01, False)])
def test_drift_is_judged_by_its_rate_too(tmp_path, rate, told):
    """6 % of 6 s is 0.35 s: little, and yet a clock that cannot be right."""
    root = write_lerobot(tmp_path / "toy", episodes=1, frames=ROWS, fps=FPS)
    set_clock(root, 0, 0.05 + np.arange(ROWS) / FPS * rate)
    row = cameras(tmp_path, root)[0][0]
    assert row["accepted"] and ("clock_drift" in row["notes"]) == told
    assert row["clock_drift_s"] == pytest.approx((rate - 1) * (ROWS - 1) / FPS, abs=1e-3)
    assert row["clock_offset_s"] == pytest.approx(0.05, abs=1e-3)
    assert row["clock_correction"] == ("offset and drift" if told else "offset")


def test_a_pause_costs_the_clips_across_it(tmp_path):
    root = write_lerobot(tmp_path / "toy", episodes=2, frames=ROWS, fps=FPS)
    set_clock(root, 1, np.arange(ROWS) / FPS + 1.5 * (np.arange(ROWS) >= 30))
    rows, manifest = cameras(tmp_path, root)
    assert rows[1]["accepted"] and rows[1]["clock_gap_s"] == pytest.approx(1.6, abs=1e-3) and rows[0]["clock_gap_s"] == pytest.approx(0.1, abs=1e-3)
    ((stretch),) = pq.read_table(manifest.file("stretches.parquet")).to_pylist()
    assert (stretch["index"], stretch["camera"], stretch["reasons"]) == (1, None, ["clock_gap"])
    assert (stretch["start_s"], stretch["stop_s"]) == (pytest.approx(2.9), pytest.approx(3.0))


def test_frames_of_a_variable_rate_are_chosen_by_time(tmp_path):
    root = write_lerobot(tmp_path / "toy", episodes=1, frames=ROWS, fps=FPS)
    rng = np.random.default_rng(6)
    times_s = np.concatenate([[0.0], np.sort(rng.uniform(0.02, 5.88, 70)), [5.9]]).round(3)
    times_s = times_s[np.concatenate([[True], np.diff(times_s) > 0.004])]
    levels = np.linspace(20, 230, len(times_s))
    images = np.broadcast_to(levels[:, None, None, None], (len(levels), 96, 128, 3)).astype(np.uint8).copy()
    write_at(root / "videos/chunk-000/observation.images.front/episode_000000.mp4", images, times_s)
    reader = open_log(root)
    (episode,) = reader.episodes()
    wanted_s = np.arange(0, 5.9, 1 / 8)
    chosen = list(nearest_frames(reader.decode(episode, episode.cameras[0]), wanted_s))
    nearest = np.abs(times_s[None] - wanted_s[:, None]).min(axis=1)
    assert np.abs([frame.time_s for frame in chosen] - wanted_s) == pytest.approx(nearest, abs=2e-3)
    shown = np.array([frame.image.to_ndarray(format="gray").mean() for frame in chosen])
    expected = np.interp([frame.time_s for frame in chosen], times_s, levels)
    assert np.abs(shown - expected).max() < 4, "the picture is the one of that time"


def test_a_hole_in_a_video_is_a_gap_of_that_camera(tmp_path):
    root = write_lerobot(tmp_path / "toy", episodes=1, frames=80, fps=FPS, cameras=("front", "side"))
    kept = np.concatenate([np.arange(35), np.arange(50, 80)])
    images = render(block_path(0, 0, 80), 96, 128, 0, "side")
    write_at(root / "videos/chunk-000/observation.images.side/episode_000000.mp4", images[kept], kept / FPS)
    reader = open_log(root)
    (verdict,) = judge(reader, reader.episodes(), NANO)
    front, side = verdict.cameras
    assert front.problems == () and side.accepted
    ((code, start_s, stop_s),) = [(problem.code, problem.start_s, problem.stop_s) for problem in side.problems]
    assert (code, start_s, stop_s) == ("clock_gap", pytest.approx(3.4), pytest.approx(5.0)) and side.clock.gap_s == pytest.approx(1.6)


def test_a_hole_in_a_lone_video_is_a_gap_and_its_frames_keep_their_times(tmp_path):
    kept = np.concatenate([np.arange(40), np.arange(60, 100)])
    write_at(tmp_path / "a.mp4", render(block_path(0, 0, 100), 96, 128, 0, "a")[kept], kept / FPS)
    reader = open_log(tmp_path)
    (verdict,) = judge(reader, reader.episodes(), NANO)
    (camera,) = verdict.cameras
    gaps = [(problem.start_s, problem.stop_s) for problem in camera.problems if problem.code == "clock_gap"]
    assert camera.accepted and gaps == [(pytest.approx(3.9), pytest.approx(6.0))] and camera.clock.gap_s == pytest.approx(2.1)


def test_a_log_without_any_clock_claims_no_measurement(tmp_path):
    write_aloha(tmp_path / "episode_0.hdf5", 40, ("top",), fps=10.0)
    reader = open_log(tmp_path)
    (verdict,) = judge(reader, reader.episodes(), NANO)
    assert verdict.cameras[0].clock == ClockFacts()
