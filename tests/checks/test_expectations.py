import time

import pandas as pd
import pytest

from assets.checks.expectations import CheckOutcome, validate_table
from assets.checks.suites import SUITES
from cosmos_ops.lake import Lake
from cosmos_ops.shards.write import write_shards
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import ready_for_shards, small_profile

FILES = {"episodes": "episodes", "cameras": "quality", "clips": "clips", "captions": "captions", "shards": "shards"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, pd.DataFrame]:
    """Every checked table of a real drop."""
    home = tmp_path_factory.mktemp("checks")
    profile = small_profile()
    lake: Lake = ready_for_shards(home / "lake", write_lerobot(home / "log", cameras=("front", "wrist")), profile)
    write_shards(lake, "toy", profile)
    folders = {table: lake.drop_stage("toy", stage, None if table == "episodes" else profile.data_fingerprint) for table, stage in FILES.items()}
    names = {table: "index" if table == "shards" else table for table in FILES}
    return {table: pd.read_parquet(folder / f"{names[table]}.parquet") for table, folder in folders.items()}


@pytest.fixture
def copies(tables) -> dict[str, pd.DataFrame]:
    return {table: df.copy(deep=True) for table, df in tables.items()}


def failed(table: str, df: pd.DataFrame) -> dict[str, CheckOutcome]:
    """What failed, by its message's first words up to any bracket."""
    return {outcome.message.partition(" (")[0]: outcome for outcome in validate_table(table, df).outcomes if not outcome.success}


@pytest.mark.parametrize("table", FILES)
def test_a_sound_drop_passes_everything(tables, table):
    before = tables[table].columns.tolist()
    outcomes = validate_table(table, tables[table]).outcomes
    assert len(outcomes) == len(SUITES[table][1]) and all(outcome.success for outcome in outcomes), [o for o in outcomes if not o.success]
    assert tables[table].columns.tolist() == before, "the table itself stays as it is"


def test_an_empty_caption_is_an_error_that_names_the_clip_and_the_remedy(copies):
    df = copies["captions"]
    df.loc[3, "caption"] = "  "
    (outcome,) = failed("captions", df).values()
    assert outcome.severity == "error" and outcome.failing_rows == [df.loc[3, "clip_id"]]
    assert f"1 of {len(df)} rows" in outcome.message and "captions.template" in outcome.remedy
    assert "`task` to cosmos-drop.yaml" in outcome.remedy


def test_a_long_caption_is_a_warning(copies):
    df = copies["captions"]
    df.loc[0, "caption"] = "word " * 1000
    (outcome,) = failed("captions", df).values()
    assert outcome.severity == "warning" and outcome.failing_rows == [df.loc[0, "clip_id"]]


def test_a_caption_that_the_encoder_would_cut_is_an_error(copies):
    df = copies["captions"]
    df["tokens"] = 20
    df.loc[2, "tokens"] = 65
    (outcome,) = failed("captions", df).values()
    assert outcome.severity == "error" and outcome.failing_rows == [df.loc[2, "clip_id"]] and "captions.max_tokens" in outcome.message + outcome.remedy


def test_a_refusal_is_no_caption(copies):
    df = copies["captions"]
    df.loc[1, "caption"] = "I'm sorry, but as an AI I can't see the video."
    (outcome,) = failed("captions", df).values()
    assert outcome.severity == "error" and outcome.failing_rows == [df.loc[1, "clip_id"]] and "captions.vlm.prompt" in outcome.remedy


def test_one_caption_for_all_clips_is_an_error_unless_they_have_one_task(copies):
    df = copies["captions"]
    assert df["caption"].nunique() == df["task"].nunique() == 1 and not failed("captions", df)
    df.loc[0, "task"] = None
    outcome = failed("captions", df)["every clip has the same caption"]
    assert outcome.severity == "error" and outcome.failing_rows == [] and "captions.template" in outcome.remedy
    df = copies["captions"].assign(task="push", captioner="vlm")
    (outcome,) = failed("captions", df).values()
    assert outcome.severity == "warning" and "same caption" in outcome.message


def test_twins_are_both_named(copies):
    df = copies["clips"]
    df.loc[1, "clip_id"] = df.loc[0, "clip_id"]
    assert failed("clips", df)["a clip is planned twice"].failing_rows == [df.loc[0, "clip_id"]] * 2


def test_an_episode_in_two_splits_is_an_error(copies):
    df = copies["clips"]
    mine = df["episode_id"] == df.loc[0, "episode_id"]
    df.loc[0, "split"] = "train" if df.loc[0, "split"] != "train" else "test"
    outcome = failed("clips", df)["an episode is in several splits: training would see held-out data"]
    assert outcome.severity == "error" and outcome.failing_rows == df.loc[mine, "clip_id"].tolist()


def test_times_that_turn_back_or_overlap_are_errors(copies):
    df = copies["clips"]
    df.at[0, "frame_times_s"] = df.at[0, "frame_times_s"][::-1].copy()
    df.at[4, "frame_times_s"] = df.at[4, "frame_times_s"] - 0.5
    df.at[7, "frame_times_s"] = df.at[7, "frame_times_s"][:5]
    found = failed("clips", df)
    assert found["frame times do not increase"].failing_rows == [df.at[0, "clip_id"]]
    assert found["windows of one camera overlap"].failing_rows == [df.at[4, "clip_id"]]
    assert found["a clip has another number of frames than the rest"].failing_rows == [df.at[7, "clip_id"]]


def test_rates_and_unknown_splits_are_errors(copies):
    df = copies["clips"]
    df.loc[0, "fps"], df.loc[1, "fps"], df.loc[2, "split"] = 0.0, 241.0, "holdout"
    found = failed("clips", df)
    assert found["the frame rate is not within (0, 240] a second".partition(" (")[0]].failing_rows == df.loc[[0, 1], "clip_id"].tolist()
    assert found["split is none of train, validation, test"].failing_rows == [df.loc[2, "clip_id"]]


def test_no_held_out_clip_is_a_warning_only(copies):
    df = copies["clips"]
    df["split"] = "train"
    (outcome,) = failed("clips", df).values()
    assert outcome.severity == "warning" and outcome.message == "no clip is held out for evaluation" and outcome.failing_rows == []


def test_a_damaged_episode_may_be_in_the_index_and_a_sound_one_without_frames_may_not(copies):
    df = copies["episodes"]
    df["frames"] = df["frames"].astype(int)
    df.loc[0, "frames"] = 0
    found = failed("episodes", df)
    assert found["a usable episode has no frames"].failing_rows == [df.loc[0, "episode_id"]]
    df.at[0, "problems"] = [{"code": "broken_telemetry", "message": "?", "camera": None, "fatal": True}]
    assert not failed("episodes", df)
    for row in df.index:
        df.at[row, "problems"] = df.at[0, "problems"]
    assert failed("episodes", df)["every episode has a fatal problem"].severity == "error"


def test_missing_tasks_and_drifting_clocks_are_warnings(copies):
    df = copies["episodes"]
    df.loc[1, "task"] = None
    df.loc[2, "duration_s"] += 2.0
    found = failed("episodes", df)
    assert {outcome.severity for outcome in found.values()} == {"warning"}
    assert found["an episode has no task text"].failing_rows == [df.loc[1, "episode_id"]]
    assert found["telemetry time and frame count disagree by over 1 s"].failing_rows == [df.loc[2, "episode_id"]]


def test_quarantine_must_be_reasoned_and_a_drop_of_rejects_stops(copies):
    df = copies["cameras"]
    df.loc[0, "accepted"] = False
    name = f"{df.loc[0, 'episode_id']}/{df.loc[0, 'camera']}"
    assert failed("cameras", df)["a camera is rejected without a reason or accepted with one"].failing_rows == [name]
    for row in df.index[:-1]:
        df.at[row, "accepted"], df.at[row, "reasons"] = False, ["black"]
    found = failed("cameras", df)
    assert [outcome.severity for outcome in found.values()] == ["warning"]
    assert len(found["over half of the cameras are in quarantine"].failing_rows) == len(df) - 1
    df.at[df.index[-1], "accepted"], df.at[df.index[-1], "reasons"] = False, ["black"]
    assert failed("cameras", df)["every camera is in quarantine"].severity == "error"


def test_shards_that_cannot_be_read_are_errors_and_equal_videos_a_warning(copies):
    df = copies["shards"]
    df.loc[0, "size_bytes"] = 0
    df.loc[2, "offset_bytes"] -= 700
    df.loc[3, "shard_sha256"] = "?"
    df.loc[5, "video_sha256"] = df.loc[4, "video_sha256"]
    found = failed("shards", df)
    assert found["a clip has no bytes"].failing_rows == [df.loc[0, "clip_id"]]
    assert found["clips overlap inside a shard"].failing_rows == [df.loc[2, "clip_id"]]
    assert found["the shard's hash is no SHA-256"].failing_rows == [df.loc[3, "clip_id"]]
    assert found["two clips have the same pixels"].failing_rows == df.loc[[4, 5], "clip_id"].tolist()
    assert [outcome.severity for outcome in found.values()].count("warning") == 1


@pytest.mark.parametrize("table", FILES)
def test_an_empty_table_is_one_clear_error(tables, table):
    (outcome,) = validate_table(table, tables[table].iloc[:0]).outcomes
    assert not outcome.success and outcome.severity == "error" and outcome.remedy


def test_a_column_that_is_not_there_fails_its_expectations_without_an_exception(tables):
    found = [outcome for outcome in validate_table("captions", tables["captions"].drop(columns="captioner")).outcomes if not outcome.success]
    assert [outcome.expectation for outcome in found] == ["expect_column_values_to_not_be_null(captioner)"]
    assert '"captioner" in BatchData does not exist' in found[0].message


def test_named_rows_are_few_and_the_count_is_whole(copies):
    df = pd.concat([copies["captions"]] * 5, ignore_index=True)
    df["clip_id"], df["caption"] = [f"{number:016x}" for number in range(len(df))], ""
    (outcome,) = failed("captions", df).values()
    assert len(outcome.failing_rows) == 100 and f"{len(df)} of {len(df)} rows" in outcome.message


def test_validation_itself_is_quick(tables):
    started = time.process_time()
    validate_table("shards", tables["shards"])
    assert time.process_time() - started < 2.0
