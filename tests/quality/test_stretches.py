"""A bad stretch costs the clips that would show it, and nothing else: from pixels or telemetry to the plan of clips."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmos_ops.lake import Lake
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import index_drop
from cosmos_ops.profiles import load_profile
from cosmos_ops.quality.assess import STRETCHES_SCHEMA, assess_drop
from cosmos_ops.quality.stretches import Span, good_spans, most_frames, runs
from cosmos_ops.shards.plan import plan_clips
from tests.fixtures.lerobot_factory import block_path, render, write_lerobot, write_video

NANO, FPS, FRAMES = load_profile("nano"), 10, 80


def test_what_is_left_between_bad_stretches():
    assert good_spans(7.9, []) == [Span(0.0, 7.9)]
    assert good_spans(7.9, [(3.0, 4.0)]) == [Span(0.0, 3.0), Span(4.0, 7.9)]
    assert good_spans(7.9, [(5.0, 9.0), (-1.0, 1.0), (0.5, 2.0)]) == [Span(2.0, 5.0)]
    assert good_spans(7.9, [(-1.0, 20.0)]) == []
    assert Span(0.0, 2.0).frames(8) == 17 and most_frames([Span(0.0, 2.0), Span(3.0, 3.1)], 8) == 17
    assert runs(np.array([True, False, True, True])) == [(0, 0), (2, 3)] and runs(np.zeros(3, bool)) == []


def video(root, episode, camera="front"):
    return root / f"videos/chunk-000/observation.images.{camera}/episode_{episode:06d}.mp4"


@pytest.fixture
def log(tmp_path):
    return write_lerobot(tmp_path / "toy", episodes=2, frames=FRAMES, fps=FPS, cameras=("front", "side"))


def planned(tmp_path, root):
    lake = Lake(tmp_path / "lake")
    register_drop(lake, root, "toy")
    index_drop(lake, "toy")
    quality = assess_drop(lake, "toy", NANO)
    rows = pq.read_table(plan_clips(lake, "toy", NANO).file("clips.parquet")).to_pylist()
    bad = pq.read_table(quality.file("stretches.parquet"))
    assert bad.schema.equals(STRETCHES_SCHEMA)
    return bad.to_pylist(), pq.read_table(quality.file("quarantine.parquet")).to_pylist(), rows


def shown(rows, index, camera):
    return [(row["frame_times_s"][0], row["frame_times_s"][-1]) for row in rows if (row["index"], row["camera"]) == (index, camera)]


def test_black_frames_cost_the_clips_that_would_show_them(tmp_path, log):
    images = render(block_path(0, 0, FRAMES), 96, 128, 0, "front")
    images[34:40] = 0
    write_video(video(log, 0), images, FPS)
    bad, quarantined, rows = planned(tmp_path, log)
    assert quarantined == []
    ((index, camera, reasons, start_s, stop_s),) = [tuple(row[name] for name in ("index", "camera", "reasons", "start_s", "stop_s")) for row in bad]
    assert (index, camera, reasons) == (0, "front", ["black"]) and 3.0 <= start_s < 3.4 and 3.9 < stop_s <= 4.2
    clips = shown(rows, 0, "front")
    assert len(clips) == 2 and all(last <= start_s + 1e-3 or first >= stop_s - 1e-3 for first, last in clips)
    assert len(shown(rows, 0, "side")) == len(shown(rows, 1, "front")) == 3, "other cameras and episodes lose nothing"


def test_a_jump_of_the_state_costs_the_clips_across_it(tmp_path):
    log = write_lerobot(tmp_path / "many", episodes=10, frames=FRAMES, fps=FPS)
    path = log / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    name = "observation.state"
    state = np.stack(table[name].to_numpy())
    state[40:, 0] += 0.6
    values = pa.array(state.tolist(), table.schema.field(name).type)
    pq.write_table(table.set_column(table.column_names.index(name), table.schema.field(name), values), path)
    bad, quarantined, rows = planned(tmp_path, log)
    assert quarantined == [] and [(row["index"], row["camera"], row["reasons"]) for row in bad] == [(1, None, ["state_jump"])]
    clips = shown(rows, 1, "front")
    assert len(clips) == 2 and all(last <= 3.9 + 1e-3 or first >= 4.0 - 1e-3 for first, last in clips)


def test_where_no_clip_is_left_the_camera_is_rejected_for_it(tmp_path, log):
    images = render(block_path(0, 0, FRAMES), 96, 128, 0, "front")
    images[18:24], images[40:46], images[60:64] = 0, 0, 0
    write_video(video(log, 0), images, FPS)
    bad, quarantined, rows = planned(tmp_path, log)
    assert [(row["index"], row["camera"], row["reasons"]) for row in quarantined] == [(0, "front", ["black"])]
    assert bad == [] and shown(rows, 0, "front") == [] and len(shown(rows, 0, "side")) == 3


def test_bars_are_cut_off_and_the_clip_is_named_for_it(tmp_path, log):
    images = render(block_path(0, 0, FRAMES), 96, 128, 0, "front")
    images[:, :12], images[:, -12:] = 0, 0
    write_video(video(log, 0), images, FPS)
    _, quarantined, rows = planned(tmp_path, log)
    crops = {(row["index"], row["camera"]): row["crop_px"] for row in rows}
    assert quarantined == [] and crops == {(0, "front"): [12, 12, 0, 0], (0, "side"): [0] * 4, (1, "front"): [0] * 4, (1, "side"): [0] * 4}
