import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import EvaluationSettings, GenerationSettings, TrainingSettings
from cosmos_ops.shards.dataset import build_dataset, build_evaluation_set, read_samples, spread_clips
from cosmos_ops.shards.read import read_clip
from cosmos_ops.shards.write import write_shards
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import ready_for_shards, small_profile


@pytest.fixture(scope="module")
def two_drops(tmp_path_factory):
    """`toy` (6 episodes, one camera) and `apart` (5 others), both with shards. Tests copy it or only read it."""
    home = tmp_path_factory.mktemp("two")
    profile = small_profile()
    lake = ready_for_shards(home / "lake", write_lerobot(home / "toy"), profile)
    ready_for_shards(home / "lake", write_lerobot(home / "apart", episodes=5, seed=1), profile, "apart", lake)
    for drop in ("toy", "apart"):
        write_shards(lake, drop, profile)
    return lake, profile


@pytest.fixture
def lake(tmp_path, two_drops) -> Lake:
    """A copy to write into."""
    return Lake(shutil.copytree(two_drops[0].root, tmp_path / "lake"))


@pytest.fixture
def profile(two_drops):
    return two_drops[1]


def add_drop(lake: Lake, profile, home, name: str, **log) -> None:
    ready_for_shards(lake.root, write_lerobot(home / name, **log), profile, name, lake)
    write_shards(lake, name, profile)


def table(manifest, name: str) -> list[dict]:
    return pq.read_table(manifest.file(name)).to_pylist()


def test_version_follows_content_and_nothing_else(lake, profile, two_drops):
    first = build_dataset(lake, ["toy", "apart"], profile)
    before = {path: path.stat().st_mtime_ns for path in (lake.root / "datasets").rglob("*.*") if not path.name.endswith(".lock")}
    again = build_dataset(lake, ["apart", "toy"], profile)
    assert again.unchanged and again.data_version == first.data_version == first.path.name
    assert {path: path.stat().st_mtime_ns for path in before} == before
    elsewhere = build_dataset(Lake(shutil.copytree(two_drops[0].root, lake.root.parent / "elsewhere")), ["toy", "apart"], profile)
    assert elsewhere.data_version == first.data_version and elsewhere.files == first.files
    assert build_dataset(lake, ["toy"], profile).data_version != first.data_version


def test_meta_and_samples_say_what_is_in(lake, profile):
    manifest = build_dataset(lake, ["toy", "apart"], profile)
    samples = read_samples(lake, manifest.data_version).to_pylist()
    assert len(samples) == manifest.rows == (6 + 5) * 3
    assert manifest.meta["episodes_by_split"] == {"train": 3 + 2, "validation": 2, "test": 4}
    assert manifest.meta["clips_by_split"] == {"train": 15, "validation": 6, "test": 12}
    assert manifest.meta["drops"] == ["apart", "toy"] and manifest.meta["captioners"] == ["task"] and manifest.meta["excluded"] == {}
    assert manifest.meta["robots"] == {"apart": "toy-arm", "toy": "toy-arm"} and set(manifest.meta["licences"]) == {"apart", "toy"}
    clip = read_clip(lake, samples[0]["shard_path"], samples[0]["key"], verify=True)
    assert clip.meta["clip_id"] == samples[0]["clip_id"] and clip.caption == samples[0]["caption"]


def test_a_later_drop_never_replaces_or_moves_an_earlier_ones_clips(lake, profile, tmp_path):
    """`aaa` sorts before `toy` and holds three of its episodes again, two more of its videos under another task, and one of its own."""
    first = build_dataset(lake, ["toy", "apart"], profile)
    split_of = {row["clip_id"]: row["split"] for row in table(first, "samples.parquet")}
    add_drop(lake, profile, tmp_path, "aaa", episodes=3)
    add_drop(lake, profile, tmp_path, "aab", episodes=5, tasks=("do something else",))
    second = build_dataset(lake, ["aaa", "aab", "apart", "toy"], profile)
    samples = table(second, "samples.parquet")
    assert {row["clip_id"]: row["split"] for row in samples} == split_of
    excluded = table(second, "exclusions.parquet")
    assert {(row["drop"], row["reason"]) for row in excluded} == {("aaa", "duplicate_episode"), ("aab", "duplicate_clip")}
    assert second.meta["excluded"] == {"duplicate_clip": 15, "duplicate_episode": 9}
    assert all("drop toy" in row["detail"] for row in excluded)
    assert second.data_version != first.data_version  # its shards and exclusions are others


def test_forgotten_episodes_and_copies_of_their_videos_are_left_out(lake, profile, tmp_path):
    add_drop(lake, profile, tmp_path, "renamed", episodes=5, tasks=("do something else",))
    before = build_dataset(lake, ["toy", "apart"], profile)
    gone = table(before, "samples.parquet")[-1]["episode_id"]  # of toy, which comes last by name
    (lake.root / "forgotten.json").write_text(json.dumps({gone: "operator withdrew", "0" * 16: "never seen"}))
    after = build_dataset(lake, ["toy", "apart", "renamed"], profile)
    left = table(after, "samples.parquet")
    assert gone not in {row["episode_id"] for row in left}
    forgotten = [row for row in table(after, "exclusions.parquet") if row["reason"] == "forgotten"]
    videos = {row["video_sha256"] for row in table(before, "samples.parquet") if row["episode_id"] == gone}
    assert {row["episode_id"] for row in forgotten if row["drop"] == "toy"} == {gone} and all("operator withdrew" in row["detail"] for row in forgotten)
    assert not videos & {row["video_sha256"] for row in left}
    (lake.root / "forgotten.json").write_text("[1]")
    with pytest.raises(UserError, match="forgotten.json must map"):
        build_dataset(lake, ["toy"], profile)


def test_the_cap_takes_training_clips_by_hash(lake, profile):
    every = build_dataset(lake, ["toy", "apart"], profile)
    few = build_dataset(lake, ["toy", "apart"], replace(profile, training=TrainingSettings(max_train_clips=4)))
    fewer = build_dataset(lake, ["toy", "apart"], replace(profile, training=TrainingSettings(max_train_clips=3)))
    assert few.meta["clips_by_split"] == {"train": 4, "validation": 6, "test": 12} and few.meta["excluded"] == {"over_cap": 11}
    ids = [{row["clip_id"] for row in table(manifest, "samples.parquet")} for manifest in (fewer, few, every)]
    assert ids[0] < ids[1] < ids[2]
    assert len({manifest.data_version for manifest in (every, few, fewer)}) == 3


def test_a_drop_without_shards_under_this_profile_is_named(lake, profile):
    other = replace(profile, shards=replace(profile.shards, crf=30))
    with pytest.raises(UserError, match=r"drop apart: its shards under profile nano .*ingest the drop under this profile"):
        build_dataset(lake, ["toy", "apart"], other)
    with pytest.raises(UserError, match="at least one drop"):
        build_dataset(lake, [], profile)


def test_evaluation_set_is_spread_seeded_and_frozen(lake, profile):
    version = build_dataset(lake, ["toy", "apart"], profile).data_version
    settings = replace(profile, evaluation=EvaluationSettings(max_clips=6, min_clips=2), generation=GenerationSettings(seeds=(0, 7)))
    manifest = build_evaluation_set(lake, version, settings)
    rows = table(manifest, "samples.parquet")
    assert len(rows) == 12 and [row["seed"] for row in rows] == [0, 7] * 6
    assert [row["sample_key"] for row in rows] == [f"{row['clip_id']}-{row['seed']}" for row in rows]
    samples = {row["clip_id"]: row for row in read_samples(lake, version).to_pylist()}
    assert all(samples[row["clip_id"]]["split"] == "test" and row["prompt"] == samples[row["clip_id"]]["caption"] for row in rows)
    per_episode = [sum(row["episode_id"] == episode for row in rows) for episode in {row["episode_id"] for row in rows}]
    assert sorted(per_episode) == [2, 2, 4, 4], "6 clips over 4 held-out episodes, two seeds each"
    assert build_evaluation_set(lake, version, settings).unchanged
    other_seeds = build_evaluation_set(lake, version, replace(settings, generation=GenerationSettings(seeds=(1,))))
    assert other_seeds.data_version != manifest.data_version


def test_more_training_data_leaves_the_evaluation_set_as_it_is(lake, profile, tmp_path):
    first = build_evaluation_set(lake, build_dataset(lake, ["toy", "apart"], profile).data_version, profile)
    add_drop(lake, profile, tmp_path, "small", episodes=4, seed=9)
    grown = build_dataset(lake, ["toy", "apart", "small"], profile)
    again = build_evaluation_set(lake, grown.data_version, profile)
    assert again.unchanged and again.data_version == first.data_version


def test_too_few_held_out_clips_say_so(lake, profile, tmp_path):
    add_drop(lake, profile, tmp_path, "small", episodes=4, seed=9)
    version = build_dataset(lake, ["small"], profile).data_version
    with pytest.raises(WorkFailed, match=r"holds out 0 clips, evaluation.min_clips asks for 2.*5 or more usable episodes"):
        build_evaluation_set(lake, version, profile)


def test_every_beginning_of_the_order_is_spread_over_episodes_then_cameras():
    clips = [
        {"episode_id": f"e{episode}", "camera": f"c{camera}", "clip_id": f"{episode}{camera}{window}"}
        for episode in range(3)
        for camera in range(2)
        for window in range(4 if episode else 1)
    ]
    ordered = spread_clips(clips)
    assert spread_clips(clips[::-1]) == ordered and len(ordered) == len(clips)
    assert {clip["episode_id"] for clip in ordered[:3]} == {"e0", "e1", "e2"}
    assert len({(clip["episode_id"], clip["camera"]) for clip in ordered[:6]}) == 6
