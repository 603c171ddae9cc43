"""Scores, paired comparisons and the leaderboard of real generations."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.evaluation.breakdown import SCHEMA as BREAKDOWN_SCHEMA
from cosmos_ops.evaluation.breakdown import breakdown, worse_groups
from cosmos_ops.evaluation.estimates import differences, estimates, paired, read_scores
from cosmos_ops.evaluation.leaderboard import SCHEMA, build_leaderboard, read_scoreboard, soundness
from cosmos_ops.evaluation.metrics import columns
from cosmos_ops.evaluation.score import SCHEMA as SCORES_SCHEMA
from cosmos_ops.lake import read_manifest
from tests.evaluation.conftest import CLIP, CLIPS_EACH, EPISODES, FPS
from tests.evaluation.toy_lake import DATASET, EVALUATION, PROMPTS, write_evaluation_set

METRICS = {"psnr", "ssim", "latent_frechet", "motion_ratio", "motion_epe", "tse_sift_matches"}
PARTIAL = {"tse_sift"}
N = EPISODES * CLIPS_EACH


def test_scores_are_per_sample_and_name_what_is_missing(world, scored):
    table = pq.read_table(scored["base"].file("scores.parquet"))
    assert table.schema.equals(SCORES_SCHEMA)
    rows = table.to_pylist()
    assert len(rows) == scored["base"].rows == N * 6
    assert {row["metric"] for row in rows} == METRICS - {"latent_frechet"} | PARTIAL
    assert len({row["sample_key"] for row in rows}) == N
    summary = json.loads(scored["base"].file("summary.json").read_text())
    assert set(summary["scores"]) - PARTIAL == METRICS
    assert "LPIPS" in summary["unavailable"]["lpips"]
    psnr = [row["value"] for row in rows if row["metric"] == "psnr"]
    assert summary["scores"]["psnr"]["mean"] == pytest.approx(sum(psnr) / N)
    assert scored["base"].meta["evaluation_set"] == EVALUATION


def test_two_seeds_of_a_clip_are_two_samples_of_one_cluster(world):
    row = pq.read_table(world.lake.evaluation_set(EVALUATION) / "samples.parquet").to_pylist()[0]
    rows = [row | {"seed": seed, "sample_key": f"{row['clip_id']}-{seed}"} for seed in (0, 7)]
    write_evaluation_set(world.lake, "pair", rows)
    made = world.score(world.generate(version="pair"), version="pair")
    psnr = [row for row in pq.read_table(made.file("scores.parquet")).to_pylist() if row["metric"] == "psnr"]
    assert [row["seed"] for row in psnr] == [0, 7] and psnr[0]["value"] != psnr[1]["value"]
    entry = json.loads(made.file("summary.json").read_text())["scores"]["psnr"]
    assert (entry["n"], entry["clusters"], entry["low"]) == (2, 1, None)


def test_metrics_that_cannot_be_measured_are_refused_before_any_work(world, generated):
    only = replace(world, profile=replace(world.profile, evaluation=replace(world.profile.evaluation, metrics=("fvd", "lpips"))))
    with pytest.raises(UserError, match="nothing that can be measured here"):
        only.score(generated["base"])


def test_scoring_again_does_nothing_and_scoring_anew_gives_the_same(world, generated, scored):
    assert world.score(generated["base"]).unchanged
    other = replace(world, profile=replace(world.profile, evaluation=replace(world.profile.evaluation, metrics=("psnr",))))
    only = other.score(generated["base"])
    assert only.path != scored["base"].path
    expected = [row for row in pq.read_table(scored["base"].file("scores.parquet")).to_pylist() if row["metric"] == "psnr"]
    assert pq.read_table(only.file("scores.parquet")).to_pylist() == expected


def test_the_scoreboard_is_complete_and_paired(scored, leaderboard):
    board = read_scoreboard(leaderboard)
    assert set(board["scores"]) == {"base", "incumbent", "lora-r8"}
    for entries in board["scores"].values():
        assert set(entries) - PARTIAL == METRICS
        for entry in (entries[metric] for metric in METRICS):
            assert (entry["n"], entry["clusters"]) == (N, EPISODES)
            assert entry["low"] <= entry["mean"] <= entry["high"]
    assert set(board["paired"]) == {"lora-r8", "incumbent"}
    base, lora = (read_scores(scored[name].path) for name in ("base", "lora-r8"))
    for metric in ("psnr", "motion_epe", "motion_ratio"):
        assert board["paired"]["lora-r8"][metric]["diff"] == pytest.approx(differences(base, lora, metric).mean())
    epe = board["scores"]["base"]["motion_epe"]["mean"] - board["scores"]["lora-r8"]["motion_epe"]["mean"]
    assert board["paired"]["lora-r8"]["motion_epe"]["diff"] == pytest.approx(epe)
    ratio = (abs(math.log(a)) - abs(math.log(b)) for a, b in zip(base.values["motion_ratio"], lora.values["motion_ratio"], strict=True))
    assert board["paired"]["lora-r8"]["motion_ratio"]["diff"] == pytest.approx(sum(ratio) / N)
    frechet = board["scores"]["base"]["latent_frechet"]["mean"] - board["scores"]["lora-r8"]["latent_frechet"]["mean"]
    assert board["paired"]["lora-r8"]["latent_frechet"]["diff"] == pytest.approx(frechet)
    assert soundness(board) == []


def test_differences_come_with_wins_and_with_how_many_samples_they_take(scored, leaderboard):
    board = read_scoreboard(leaderboard)
    base, lora = (read_scores(scored[name].path) for name in ("base", "lora-r8"))
    pair = board["paired"]["lora-r8"]["psnr"]
    assert pair["win_rate"] == np.mean(differences(base, lora, "psnr") > 0)
    assert pair["win_low"] <= pair["win_rate"] <= pair["win_high"]
    assert pair["notable_diff"] == columns()["psnr"].notable
    expected = N * (pair["visible_diff"] / pair["notable_diff"]) ** 2
    assert pair["samples_for_notable"] == max(1, math.ceil(expected - 1e-9))
    of_the_set = board["paired"]["lora-r8"]["latent_frechet"]
    assert of_the_set["win_rate"] is None and of_the_set["samples_for_notable"] > 0


def test_a_broken_task_is_seen_behind_a_good_mean(scored, leaderboard):
    board = read_scoreboard(leaderboard)
    assert set(board["breakdown"]) == {"task", "camera"} and set(board["breakdown"]["task"]) == set(PROMPTS)
    every = board["breakdown"]["camera"]["top"]
    assert every["scores"]["base"]["psnr"] == board["scores"]["base"]["psnr"]
    parts = [entry["paired"]["lora-r8"]["psnr"]["diff"] for entry in board["breakdown"]["task"].values()]
    assert np.mean(parts) == pytest.approx(board["paired"]["lora-r8"]["psnr"]["diff"])
    table = pq.read_table(leaderboard.file("breakdown.parquet"))
    assert table.schema.equals(BREAKDOWN_SCHEMA)
    one = next(row for row in table.to_pylist() if (row["by"], row["contender"], row["metric"]) == ("camera", "lora-r8", "psnr"))
    assert (one["diff"], one["diff_low"], one["diff_high"]) == tuple(every["paired"]["lora-r8"]["psnr"][name] for name in ("diff", "low", "high"))

    # An adapter that gains 1 dB on every task but one, where it loses 2.
    base = read_scores(scored["base"].path)
    change = np.where(np.array(base.groups["task"]) == PROMPTS[2], -2.0, 1.0) + 0.01 * np.arange(N)
    base = replace(base, episodes=[f"episode of {key}" for key in base.sample_keys], values={"psnr": base.values["psnr"]}, replicates={})
    broken = replace(base, values={"psnr": base.values["psnr"] + change})
    made = {"breakdown": breakdown({"base": base, "broken": broken}, "base")}
    assert worse_groups(made) == {"broken": [f"psnr of task {PROMPTS[2]!r}"]}


def test_samples_without_a_value_are_left_out_of_that_metric_alone(scored):
    base = read_scores(scored["base"].path)
    holes = base.values["psnr"].copy()
    holes[:3] = np.nan
    holed = replace(base, values=base.values | {"tse_sift": holes})
    assert estimates(holed)["tse_sift"].n == N - 3 and estimates(holed)["psnr"].n == N
    full = replace(base, values=base.values | {"tse_sift": base.values["psnr"]})
    assert paired(full, holed)["tse_sift"].n == N - 3 and paired(full, holed)["tse_sift"].value == 0
    nothing = replace(base, values=base.values | {"tse_sift": np.full(N, np.nan)})
    assert "tse_sift" not in estimates(nothing) and "tse_sift" not in paired(full, nothing)


def test_cost_is_by_video_and_by_second_of_video(leaderboard):
    rows = pq.read_table(leaderboard.file("cost.parquet")).to_pylist()
    assert {row["contender"] for row in rows} == set(read_scoreboard(leaderboard)["scores"])
    for row in rows:
        assert row["videos"] == N and row["device"] == "cpu"
        assert row["compute_s_per_video_s"] == pytest.approx(row["seconds_per_video"] / (CLIP.frames / FPS))
        assert row["memory_bytes_per_video_s"] == pytest.approx(row["peak_memory_bytes"] / (3 * CLIP.frames / FPS))


def test_an_incumbent_that_is_a_recipes_adapter_is_noted(leaderboard):
    board = read_scoreboard(leaderboard)
    assert board["same_as"] == {"incumbent": "lora-r8"}
    same = {"diff": 0, "low": 0, "high": 0, "n": N, "clusters": EPISODES}
    assert all(same.items() <= board["paired_incumbent"]["lora-r8"][metric].items() for metric in METRICS)
    assert board["paired_incumbent"]["lora-r8"]["psnr"]["win_rate"] == 0.5
    assert any("incumbent has the same weights as lora-r8" in note for note in board["notes"])
    assert any(f"{EPISODES} episodes are few" in note for note in board["notes"])


def test_the_table_holds_what_the_scoreboard_says(leaderboard):
    table = pq.read_table(leaderboard.file("leaderboard.parquet"))
    assert table.schema.equals(SCHEMA)
    board = read_scoreboard(leaderboard)
    for row in table.to_pylist():
        entry = board["scores"][row["contender"]][row["metric"]]
        assert (row["mean"], row["low"], row["high"]) == (entry["mean"], entry["low"], entry["high"])
        assert row["diff"] == board["paired"].get(row["contender"], {}).get(row["metric"], {}).get("diff")
    assert leaderboard.file("leaderboard.png").read_bytes().startswith(b"\x89PNG")
    assert leaderboard.meta["evaluation_set"] == EVALUATION
    assert read_manifest(leaderboard.path).files.keys() == {
        *("scoreboard.json", "leaderboard.parquet", "breakdown.parquet", "cost.parquet", "leaderboard.png", "report.html")
    }


def test_the_same_leaderboard_is_not_built_twice(world, generated, scored, leaderboard):
    def build(names):
        return build_leaderboard(
            world.lake, world.profile, DATASET, EVALUATION,
            {name: scored[name] for name in names}, {name: generated[name] for name in names}, {"lora-r8": world.adapter} if "lora-r8" in names else {},
        )  # fmt: skip

    first = build(["base", "lora-r8"])
    assert not first.unchanged and first.path != leaderboard.path
    assert build(["base", "lora-r8"]).unchanged
    alone = read_scoreboard(build(["base"]))
    assert alone["paired"] == {} and soundness(alone) == ["no recipe was scored"]
    with pytest.raises(WorkFailed, match="base model was not scored"):
        build(["lora-r8"])


def test_contenders_of_different_samples_are_not_compared(world, generated, scored):
    rows = pq.read_table(world.lake.evaluation_set(EVALUATION) / "samples.parquet").to_pylist()[:6]
    write_evaluation_set(world.lake, "six", rows)
    six = world.score(generated["lora-r8"], version="six")
    with pytest.raises(WorkFailed, match="different samples"):
        build_leaderboard(world.lake, world.profile, DATASET, EVALUATION, {"base": scored["base"], "lora-r8": six}, generated, {"lora-r8": world.adapter})


def test_intervals_are_withheld_where_they_would_mean_nothing(world, generated):
    rows = pq.read_table(world.lake.evaluation_set(EVALUATION) / "samples.parquet").to_pylist()[:CLIPS_EACH]
    write_evaluation_set(world.lake, "single", rows)
    scores = {name: world.score(manifest, version="single") for name, manifest in generated.items()}
    made = build_leaderboard(world.lake, world.profile, DATASET, "single", scores, generated, {"lora-r8": world.adapter})
    board = read_scoreboard(made)
    for entries in (*board["scores"].values(), *board["paired"].values()):
        assert all(entries[metric]["low"] is None and entries[metric]["n"] == CLIPS_EACH for metric in METRICS)
    assert any("All intervals are withheld" in note for note in board["notes"])
    assert "interval withheld" in made.file("report.html").read_text()


def test_soundness_names_what_is_wrong():
    def entry(mean=1.0, n=4):
        return {"mean": mean, "low": None, "high": None, "n": n, "clusters": 2}

    assert soundness({"scores": {"base": {"psnr": entry()}, "a": {"psnr": entry()}}}) == []
    assert "base was not scored" in soundness({"scores": {"a": {"psnr": entry()}}})
    assert "different numbers" in soundness({"scores": {"base": {"psnr": entry()}, "a": {"psnr": entry(n=5)}}})[0]
    assert "different metrics" in soundness({"scores": {"base": {"psnr": entry()}, "a": {"ssim": entry()}}})[0]
    assert "a: psnr not finite" in soundness({"scores": {"base": {"psnr": entry()}, "a": {"psnr": entry(float("nan"))}}})
