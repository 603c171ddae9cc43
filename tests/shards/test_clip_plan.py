from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import index_drop
from cosmos_ops.profiles import QualitySettings
from cosmos_ops.quality.assess import assess_drop
from cosmos_ops.shards.plan import plan_clips, window_numbers
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import small_profile


def plan(home, log, profile):
    lake = Lake(home)
    register_drop(lake, log, "toy")
    index_drop(lake, "toy")
    assess_drop(lake, "toy", profile)
    return plan_clips(lake, "toy", profile)


def rows_of(manifest) -> list[dict]:
    return pq.read_table(manifest.file("clips.parquet")).to_pylist()


def test_windows_are_whole_apart_and_of_every_camera(planned, profile):
    rows = rows_of(plan_clips(planned, "toy", profile))
    # 40 frames at 10 a second last from 0 to 3.9 s: 32 moments at 8 a second, 3 windows of 9.
    assert len(rows) == 6 * 2 * 3
    assert [(row["index"], row["camera"], row["window"]) for row in rows] == sorted((row["index"], row["camera"], row["window"]) for row in rows)
    assert len({row["clip_id"] for row in rows}) == len(rows)
    for first, second in zip(rows, rows[1:], strict=False):
        times_s = np.array(first["frame_times_s"])
        assert len(times_s) == 9 and np.allclose(np.diff(times_s), 1 / 8) and 0 <= times_s[0] and times_s[-1] <= 3.9
        if (first["index"], first["camera"]) == (second["index"], second["camera"]):
            assert second["frame_times_s"][0] > times_s[-1]
    by_episode = {}
    for row in rows:
        by_episode.setdefault(row["episode_id"], set()).add(row["split"])
    assert sorted(split for splits in by_episode.values() for split in splits) == ["test"] * 2 + ["train"] * 3 + ["validation"]


def test_planning_again_touches_nothing(planned, profile):
    first = plan_clips(planned, "toy", profile)
    before = first.file("clips.parquet").stat()
    again = plan_clips(planned, "toy", profile)
    assert again.unchanged and again.data_version == first.data_version
    assert again.file("clips.parquet").stat().st_mtime_ns == before.st_mtime_ns and again.file("clips.parquet").stat().st_ino == before.st_ino


@pytest.mark.parametrize(("native_fps", "fps", "windows"), [(30, 8.0, 1), (4, 4.0, 4)])
def test_rate_is_the_sources_up_to_the_profiles(tmp_path, native_fps, fps, windows):
    log = write_lerobot(tmp_path / "log", episodes=1, frames=40, fps=native_fps)
    rows = rows_of(plan(tmp_path / "lake", log, small_profile()))
    assert [row["fps"] for row in rows] == [fps] * windows
    assert np.allclose(np.diff(rows[0]["frame_times_s"]), 1 / fps)


def test_windows_are_capped_evenly_and_keep_their_ids(tmp_path, planned, profile, toy_log):
    every = {(row["index"], row["camera"], row["window"]): row["clip_id"] for row in rows_of(plan_clips(planned, "toy", profile))}
    capped = replace(profile, clip=replace(profile.clip, max_windows_per_episode=2))
    rows = rows_of(plan(tmp_path, toy_log, capped))
    assert {row["window"] for row in rows} == {0, 2}
    assert all(row["clip_id"] == every[row["index"], row["camera"], row["window"]] for row in rows)


def test_another_geometry_is_another_clip_and_another_folder(tmp_path, planned, profile, toy_log):
    other = replace(profile, clip=replace(profile.clip, fit="pad"))
    first, second = plan_clips(planned, "toy", profile), plan(tmp_path, toy_log, other)
    assert not {row["clip_id"] for row in rows_of(first)} & {row["clip_id"] for row in rows_of(second)}
    assert first.path.name != second.path.name


def test_an_accepted_camera_without_a_whole_clip_is_named(tmp_path):
    log = write_lerobot(tmp_path / "log", episodes=1, frames=10, fps=10)
    lenient = replace(small_profile(frames=17), quality=QualitySettings(min_frames=5))
    with pytest.raises(WorkFailed, match=r"episode 0 .*front.*no clip of 17 frames.*min_frames"):
        plan(tmp_path / "lake", log, lenient)


def test_a_drop_without_an_accepted_camera_says_so(tmp_path):
    log = write_lerobot(tmp_path / "log", episodes=2, frames=6)
    with pytest.raises(WorkFailed, match="no accepted camera.*quarantine"):
        plan(tmp_path / "lake", log, small_profile())


def test_a_drop_that_was_not_assessed_says_so(tmp_path, toy_log, profile):
    lake = Lake(tmp_path)
    register_drop(lake, toy_log, "toy")
    index_drop(lake, "toy")
    with pytest.raises(UserError, match="materialize `quality` first"):
        plan_clips(lake, "toy", profile)


@given(st.integers(1, 300), st.integers(1, 40))
def test_chosen_windows_are_distinct_ordered_and_spread(windows, most):
    chosen = window_numbers(windows, most)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(windows, most) and 0 <= chosen[0] and chosen[-1] < windows
    if 1 < most < windows:
        assert chosen[0] == 0 and chosen[-1] == windows - 1
        gaps = np.diff(chosen)
        assert gaps.max() - gaps.min() <= 1
