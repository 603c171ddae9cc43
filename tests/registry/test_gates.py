"""The gate alone: which scoreboards promote what, and what is said."""

import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.registry.gates import decide, load_gates
from tests.registry.conftest import interval, scoreboard

GATES = load_gates()


def test_the_best_of_those_that_beat_base_wins():
    decision = decide(scoreboard({"lora-r8": 0.3, "dora-r8": 0.4}), GATES, ["lora-r8", "dora-r8"], incumbent=False)
    assert (decision.winner, decision.best, decision.promoted) == ("dora-r8", "dora-r8", True)
    assert decision.reason == "dora-r8 beats base: psnr +0.4 [0.35, 0.45], ssim +0.4 [0.35, 0.45], latent_frechet +0.4 [0.35, 0.45], motion_ratio +0"
    assert decision.passed("lora-r8") and decision.passed("dora-r8") and not decision.passed("base")


def test_a_tie_goes_to_the_first_recipe():
    assert decide(scoreboard({"dora-r8": 0.3, "lora-r8": 0.3}), GATES, ["lora-r8", "dora-r8"], incumbent=False).winner == "lora-r8"


def test_the_best_that_fails_does_not_keep_the_next_from_winning():
    board = scoreboard({"lora-r8": 0.3, "dora-r8": 0.4})
    board["paired"]["dora-r8"]["ssim"] = interval(0.5, half=0.6)
    decision = decide(board, GATES, ["lora-r8", "dora-r8"], incumbent=False)
    assert (decision.winner, decision.best) == ("lora-r8", "dora-r8")


def test_an_interval_that_includes_zero_is_refused_with_its_numbers():
    board = scoreboard({"lora-r8": 0.3})
    board["paired"]["lora-r8"]["psnr"] = {"diff": 0.12, "low": -0.05, "high": 0.3, "n": 12}
    decision = decide(board, GATES, ["lora-r8"], incumbent=False)
    assert not decision.promoted and decision.winner is None and decision.best == "lora-r8"
    assert decision.reason == "no contender beat base: lora-r8 psnr +0.12 [-0.05, 0.3] includes 0"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"diff": 0.0, "low": 0.0, "high": 0.0, "n": 12}, "includes 0"),
        ({"diff": -0.2, "low": -0.3, "high": -0.1, "n": 12}, "is worse"),
        ({"diff": 0.2, "low": None, "high": None, "n": 3}, "has no interval (n=3 is too few)"),
        ({"diff": float("nan"), "low": 0.1, "high": 0.2, "n": 12}, "was not compared"),
        (None, "ssim was not compared"),
    ],
)
def test_every_other_way_not_to_beat_base(entry, said):
    board = scoreboard({"lora-r8": 0.3})
    board["paired"]["lora-r8"]["ssim"] = entry
    decision = decide(board, GATES, ["lora-r8"], incumbent=False)
    assert not decision.promoted and said in decision.reason


def test_lost_motion_is_refused_and_a_little_is_not():
    board = scoreboard({"lora-r8": 0.3})
    board["paired"]["lora-r8"]["motion_ratio"] = interval(-0.2)
    assert decide(board, GATES, ["lora-r8"], incumbent=False).promoted
    board["paired"]["lora-r8"]["motion_ratio"] = interval(-0.3)
    decision = decide(board, GATES, ["lora-r8"], incumbent=False)
    assert decision.reason == "no contender beat base: lora-r8 motion_ratio -0.3 loses more than 0.25"


def test_a_floor_holds_whatever_base_does():
    board = scoreboard({"lora-r8": 0.3})
    board["scores"]["lora-r8"]["motion_ratio"]["mean"] = 0.01
    decision = decide(board, GATES, ["lora-r8"], incumbent=False)
    assert decision.reason == "no contender passed every gate: lora-r8 motion_ratio 0.01, at least 0.1 is needed"
    del board["scores"]["lora-r8"]["motion_ratio"]
    assert "motion_ratio was not measured" in decide(board, GATES, ["lora-r8"], incumbent=False).reason


def test_the_incumbent_must_be_beaten_too():
    board = scoreboard({"lora-r8": 0.3, "dora-r8": 0.4}, against_incumbent={"lora-r8": -0.1, "dora-r8": 0.02})
    decision = decide(board, GATES, ["lora-r8", "dora-r8"], incumbent=True)
    assert not decision.promoted
    assert decision.reason == (
        "no contender beat the incumbent: lora-r8 psnr -0.1 [-0.15, -0.05] is worse against incumbent; "
        "dora-r8 psnr +0.02 [-0.03, 0.07] includes 0 against incumbent"
    )
    board = scoreboard({"lora-r8": 0.3}, against_incumbent={"lora-r8": 0.2})
    decision = decide(board, GATES, ["lora-r8"], incumbent=True)
    assert decision.winner == "lora-r8" and decision.reason.startswith("lora-r8 beats base and the incumbent: psnr +0.2 [0.15, 0.25]")


def test_the_incumbent_under_its_recipes_name_is_nothing_new():
    board = scoreboard({"lora-r8": 0.3, "dora-r8": 0.2}, against_incumbent={"lora-r8": 0.0, "dora-r8": -0.1})
    decision = decide(board, GATES, ["lora-r8", "dora-r8"], incumbent=True)
    assert decision.best == "dora-r8" and not decision.passed("lora-r8") and "lora-r8 is the incumbent itself" in decision.reason
    alone = decide(scoreboard({"lora-r8": 0.3}, {"lora-r8": 0.0}), GATES, ["lora-r8"], incumbent=True)
    assert (alone.best, alone.reason) == (None, "nothing new to promote: lora-r8 is the incumbent itself")


def test_without_comparisons_to_an_incumbent_there_is_none():
    assert decide(scoreboard({"lora-r8": 0.3}), GATES, ["lora-r8"], incumbent=True).promoted
    assert decide(scoreboard({"lora-r8": 0.3}, {"lora-r8": -0.3}), GATES, ["lora-r8"], incumbent=False).promoted


def test_nobody_to_promote():
    assert decide(scoreboard({}), GATES, [], incumbent=False).reason == "no contender but base was scored"
    decision = decide(scoreboard({}), GATES, ["lora-r8"], incumbent=False)
    assert not decision.promoted and "lora-r8 psnr was not compared" in decision.reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("against: [base]\nmust_beat: [psnr]\nmust_win: [ssim]", "unknown setting 'must_win'"),
        ("against: [incumbent]\nmust_beat: [psnr]", "against must name base"),
        ("against: [base, rival]\nmust_beat: [psnr]", "against names rival"),
        ("against: [base]\nmust_beat: []", "must_beat names no metric"),
        ("against: [base]\nmust_beat: [psnr]\nmust_not_lose: {motion_ratio: -1}", "0 or more"),
        ("against: [base]\nmust_beat: [psnr]\nfloors: {psnr: .nan}", "finite"),
        ("against: base\nmust_beat: [psnr]", "a list is needed"),
        ("- 1", "a mapping of settings is needed"),
    ],
)
def test_gates_are_read_strictly(tmp_path, text, said):
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        load_gates(path)


def test_failed_data_checks_keep_everybody_out():
    decision = decide(scoreboard({"lora-r8": 0.3}), GATES, ["lora-r8"], incumbent=False, failing=("clips of drop monday: windows overlap",))
    assert not decision.promoted and decision.best == "lora-r8"
    assert decision.reason.startswith("no contender passed every gate: lora-r8 was trained on data with failed checks (clips of drop monday: windows overlap)")
    assert GATES.no_failing_checks == ("error",)
