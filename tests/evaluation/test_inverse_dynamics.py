"""The model that reads actions off video: on clips in which the action is to be seen, and on those in which it is not."""

import json
import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from cosmos_ops.base_models.latents import encode_latents
from cosmos_ops.errors import WorkFailed
from cosmos_ops.evaluation.inverse_dynamics import InverseDynamics, train_inverse_dynamics
from cosmos_ops.evaluation.inverse_dynamics.clips import joined, pairs_of
from cosmos_ops.evaluation.inverse_dynamics.fit import Schedule
from cosmos_ops.evaluation.inverse_dynamics.reader import HEIGHT_PX, WIDTH_PX, span_frames
from cosmos_ops.evaluation.leaderboard import build_leaderboard, read_scoreboard
from cosmos_ops.evaluation.samples import read_samples, real_frames
from cosmos_ops.evaluation.score import score
from cosmos_ops.evaluation.served import Task
from cosmos_ops.lake import Lake, read_manifest
from tests.evaluation.conftest import CLIP, FPS
from tests.evaluation.moving import moving_patch
from tests.evaluation.toy_lake import EVALUATION, evaluation_row, write_dataset, write_evaluation_set, write_shard

QUICK = Schedule(steps=150, batch=32)
SPLITS = {0: "validation", 1: "test", 2: "test"}


def told(episode: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """A patch that moves right and down as the first two actions say; the third says nothing that can be seen, the fourth never changes."""
    rng = np.random.default_rng([episode, window])
    step_px = rng.uniform(-3, 3, 2)
    actions = np.column_stack([np.tile(step_px, (CLIP.frames, 1)), rng.normal(size=CLIP.frames), np.ones(CLIP.frames)])
    return moving_patch(CLIP.frames, CLIP.height, CLIP.width, tuple(step_px), seed=7), actions.astype(np.float32)


def split_of(episode: int) -> str:
    return SPLITS.get(episode, "train")


def lake_of(root, draw) -> tuple[Lake, list[dict]]:
    lake = Lake(root)
    rows = write_shard(lake, 16, 2, FPS, draw, split_of)
    write_dataset(lake, rows)
    write_evaluation_set(lake, EVALUATION, [evaluation_row(row) for row in rows if row["split"] == "test"])
    return lake, rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    lake, _ = lake_of(tmp_path_factory.mktemp("reading"), told)
    return lake, train_inverse_dynamics(lake, "dataset0", QUICK)


def measured(lake, manifest, read):
    samples = read_samples(lake, EVALUATION)
    return samples, InverseDynamics(manifest).measure(Task(lake, samples, read, 1, ("action_consistency",)), lambda *step: None)


def test_what_can_be_seen_is_read_and_what_cannot_is_left_out(trained):
    _, manifest = trained
    assert manifest.meta["absence"] is None and manifest.meta["read"] == [0, 1]
    seen = manifest.meta["channel_skill"]
    assert min(seen[:2]) > 0.5 > 0.2 > max(seen[2:]) and seen[3] == 0
    assert manifest.meta["skill"] == pytest.approx(np.mean(seen[:2]), abs=1e-3)
    assert manifest.meta["pairs"] == 13 * 2 * (CLIP.frames - 1)


def test_training_again_does_nothing_and_anew_gives_the_same(trained, tmp_path):
    lake, manifest = trained
    assert train_inverse_dynamics(lake, "dataset0", QUICK).unchanged
    again, _ = lake_of(tmp_path, told)
    assert train_inverse_dynamics(again, "dataset0", QUICK).data_version == manifest.data_version


def test_a_video_that_does_what_was_commanded_is_near_the_floor_and_others_are_not(trained):
    lake, manifest = trained
    samples, right = measured(lake, manifest, lambda sample: real_frames(lake, sample))
    videos = {sample.sample_key: real_frames(lake, sample) for sample in samples}
    still = measured(lake, manifest, lambda sample: np.repeat(videos[sample.sample_key][:1], CLIP.frames, axis=0))[1]
    back = measured(lake, manifest, lambda sample: np.concatenate([videos[sample.sample_key][:1], videos[sample.sample_key][::-1]])[: CLIP.frames])[1]

    def mean(values):
        return np.mean([columns["action_consistency"] for columns in values.values()])

    assert right.values == right.references["real"]
    assert mean(right.values) < 0.7 * mean(right.references["constant"])
    assert mean(still.values) > 1.3 * mean(right.values) and mean(back.values) > 1.3 * mean(right.values)
    assert still.references == right.references


def test_clips_without_the_actions_or_of_another_camera_have_no_value(trained):
    lake, manifest = trained
    samples = read_samples(lake, EVALUATION)
    strange = [replace(samples[0], camera="elsewhere"), *samples[1:]]
    served = InverseDynamics(manifest).measure(Task(lake, strange, lambda sample: real_frames(lake, sample), 1, ("action_consistency",)), lambda *step: None)
    assert served.values[samples[0].sample_key] == {"action_consistency": None}
    assert served.references["real"][samples[0].sample_key] == {"action_consistency": None}
    assert served.values[samples[1].sample_key]["action_consistency"] > 0


def test_a_clip_with_too_few_generated_frames_to_span_the_time_has_no_value(trained):
    lake, manifest = trained
    samples = read_samples(lake, EVALUATION)[:1]
    for first, known in ((CLIP.frames - 1, True), (CLIP.frames, False), (CLIP.frames + 1, False)):
        served = InverseDynamics(manifest).measure(
            Task(lake, samples, lambda sample: real_frames(lake, sample), first, ("action_consistency",)), lambda *step: None
        )
        assert (served.values[samples[0].sample_key]["action_consistency"] is not None) is known
    assert len(pairs_of(*told(5, 0), 100.0, 0)) == 0


def test_without_telemetry_or_skill_or_validation_clips_there_is_a_reason(tmp_path):
    def silent_log(episode, window):
        return told(episode, window)[0], np.zeros((CLIP.frames, 0), np.float32)

    def unrelated(episode, window):
        return told(episode, window)[0], np.random.default_rng([9, episode, window]).normal(size=(CLIP.frames, 2)).astype(np.float32)

    cases = {"silent": (silent_log, "no recorded actions"), "unrelated": (unrelated, "reads no action channel.*0.2 is needed")}
    for name, (draw, reason) in cases.items():
        lake, _ = lake_of(tmp_path / name, draw)
        manifest = train_inverse_dynamics(lake, "dataset0", Schedule(steps=30, batch=32))
        assert re.search(reason, manifest.meta["absence"]), manifest.meta["absence"]
        assert manifest.meta["skill"] is None and InverseDynamics(manifest).absence == manifest.meta["absence"]
    lake, rows = lake_of(tmp_path / "short", told)
    write_dataset(lake, [row for row in rows if row["split"] != "validation"], "short")
    assert "no validation clips" in train_inverse_dynamics(lake, "short", QUICK).meta["absence"]


def test_damaged_weights_are_named(trained, tmp_path):
    _, manifest = trained
    with pytest.raises(WorkFailed, match="materialize `inverse_dynamics` again"):
        InverseDynamics(replace(manifest, path=tmp_path))


def test_scores_and_leaderboard_show_it_beside_its_floor(world, trained):
    lake, manifest = trained
    profile = replace(world.profile, evaluation=replace(world.profile.evaluation, metrics=("psnr", "action_consistency")))
    latents = encode_latents(lake, "dataset0", world.profile, "cpu")
    here = replace(world, lake=lake, profile=profile, latents=latents)
    made = here.generate()
    scored = score(lake, profile, made, EVALUATION, latents, servers={"inverse_dynamics": InverseDynamics(manifest)})
    rows = pq.read_table(scored.file("scores.parquet")).to_pylist()
    assert {row["metric"] for row in rows} == {"psnr", "action_consistency"} and all(row["value"] > 0 for row in rows)
    board = read_scoreboard(build_leaderboard(lake, profile, "dataset0", EVALUATION, {"base": scored}, {"base": made}, {}))
    beside = board["references"]["action_consistency"]
    assert beside["real"]["mean"] < beside["constant"]["mean"] and beside["real"]["n"] == 4
    absent = score(lake, profile, made, EVALUATION, latents)
    assert "trained on clips with recorded actions" in absent.meta["unavailable"]["action_consistency"] and absent.path != scored.path
    assert json.loads(absent.file("summary.json").read_text())["scores"].keys() == {"psnr"}
    assert read_manifest(scored.path).meta["served"] == ["action_consistency"]


def test_pairs_keep_frames_and_actions_together():
    frames, actions = told(5, 0)
    one, two = pairs_of(frames, actions, FPS, 0), pairs_of(frames[::-1], actions, FPS, 1, first=4)
    both = joined([one, two])
    assert len(one) == CLIP.frames - 1 and len(two) == CLIP.frames - 1 - 4 and len(both) == len(one) + len(two)
    assert both.pictures(np.arange(2)).shape == (2, 2, 3, HEIGHT_PX, WIDTH_PX)
    assert both.camera.tolist() == [0] * len(one) + [1] * len(two)
    assert both.before[-1] == CLIP.frames + CLIP.frames - 2 and both.after[-1] == both.before[-1] + 1
    np.testing.assert_array_equal(both.actions[-1], actions[CLIP.frames - 2])
    assert (span_frames(8.0), span_frames(16.0), span_frames(4.0)) == (1, 2, 1)
