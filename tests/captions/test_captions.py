from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from cosmos_ops.base_models.cosmos_text import token_ids
from cosmos_ops.base_models.nano.tokenizer import build_tokenizer
from cosmos_ops.base_models.token_count import TokenCounter, token_counter
from cosmos_ops.captions.task import task_captions
from cosmos_ops.captions.write import FALLBACK, caption_drop
from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import CaptionSettings, load_profile
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import ready_for_shards, small_profile

CLIP = {"task": " pick up\n the  cup ", "robot": "cr5", "camera": "top"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    home = tmp_path_factory.mktemp("captions")
    log = write_lerobot(home / "log", episodes=4, tasks=("push the block", "lift the block"))
    return ready_for_shards(home / "lake", log, small_profile())


def rows_of(manifest) -> list[dict]:
    return pq.read_table(manifest.file("captions.parquet")).to_pylist()


def test_white_space_is_collapsed_and_fields_are_filled():
    assert task_captions("{task}", [CLIP]) == ["pick up the cup"]
    assert task_captions("A {robot} arm. {task}. Seen from the  {camera} camera.", [CLIP]) == ["A cr5 arm. pick up the cup. Seen from the top camera."]


def test_a_missing_value_gives_no_caption_instead_of_half_a_caption():
    assert task_captions("robot, {task}", [{**CLIP, "task": None}, {**CLIP, "task": " "}, CLIP]) == ["", "", "robot, pick up the cup"]
    assert task_captions("a robot at work", [{**CLIP, "task": None}]) == ["a robot at work"]


@pytest.mark.parametrize("template", ["{tsk}", "{}", "{task!r}", "{task:>20}", "{task.__class__}", "{task", " "])
def test_a_wrong_template_names_what_it_may_hold(template):
    with pytest.raises(UserError, match=r"captions\.template.*\{task\}, \{robot\}, \{camera\}"):
        task_captions(template, [CLIP])


def test_every_clip_gets_one_row_and_tokens_are_not_guessed(lake):
    manifest = caption_drop(lake, "toy", small_profile())
    rows = rows_of(manifest)
    clips = pq.read_table(lake.drop_stage("toy", "clips", small_profile().data_fingerprint) / "clips.parquet").to_pylist()
    assert [row["clip_id"] for row in rows] == [clip["clip_id"] for clip in clips]
    assert [row["caption"] for row in rows] == [clip["task"] for clip in clips] and len({row["caption"] for row in rows}) == 2
    assert {(row["captioner"], row["captioner_version"], row["tokens"]) for row in rows} == {("task", "1", None)}
    assert manifest.unchanged and manifest.meta["empty"] == 0


def test_where_a_log_has_no_task_its_telemetry_speaks(tmp_path):
    log = write_lerobot(tmp_path / "log", episodes=2, tasks=("push the block", " "))
    lake = ready_for_shards(tmp_path / "lake", log, small_profile())
    manifest = caption_drop(lake, "toy", small_profile())
    rows = rows_of(manifest)
    told = {row["captioner"]: row for row in rows}
    assert set(told) == {"task", FALLBACK} and told["task"]["caption"] == "push the block"
    assert told[FALLBACK]["caption"].startswith("The arm moves ") and "telemetry" in told[FALLBACK]["captioner_version"]
    assert manifest.meta["without_task"] == sum(row["captioner"] == FALLBACK for row in rows) and manifest.meta["empty"] == 0


def test_tokens_are_the_encoders_and_count_to_no_other_version(lake):
    uncounted = caption_drop(lake, "toy", small_profile())
    counted = caption_drop(lake, "toy", small_profile(), TokenCounter("bytes", 40, lambda text: len(text.encode())))
    rows = rows_of(counted)
    assert [row["tokens"] for row in rows] == [len(row["caption"]) for row in rows] and {row["max_tokens"] for row in rows} == {40}
    assert not counted.unchanged and counted.data_version == uncounted.data_version and counted.meta["tokens"] == 14
    assert {row["max_tokens"] for row in rows_of(caption_drop(lake, "toy", small_profile()))} == {64}


def test_nano_counts_as_its_text_encoder_reads():
    counter = token_counter(load_profile("nano").base_model)
    tokenizer = build_tokenizer()
    for caption in ("put the banana on the plate", "The arm moves joint 3 by 49 degrees; its gripper closes at 4.1 s."):
        ids = token_ids(tokenizer, caption, 128)
        assert sum(number != tokenizer.pad_token_id for number in ids) == counter.count(caption) + 128 - counter.room
    # One more token than there is room for, and the encoder cuts it.
    word = next(word for word in (" the", "a") if counter.count(word * 3) == 3)
    assert counter.count(word * counter.room) == counter.room
    assert tokenizer.pad_token_id not in token_ids(tokenizer, word * counter.room, 128)


def test_an_unknown_captioner_names_the_known(lake):
    profile = small_profile()
    with pytest.raises(UserError, match="'oracle' is unknown; known are task"):
        caption_drop(lake, "toy", replace(profile, captions=replace(profile.captions, captioner="oracle")))


def test_equal_captions_have_an_equal_version_and_others_another(tmp_path, lake):
    log = lake.root.parent / "log"
    profile = small_profile(captions=CaptionSettings(template="robot: {task}"))
    other = ready_for_shards(tmp_path / "other", log, small_profile())
    reworded = ready_for_shards(tmp_path / "reworded", log, profile)
    versions = [caption_drop(lake, "toy", small_profile()), caption_drop(other, "toy", small_profile()), caption_drop(reworded, "toy", profile)]
    assert versions[0].data_version == versions[1].data_version != versions[2].data_version
