"""`capacity`: counts, published anchors, bounds, limits, and what is refused."""

import json

import pytest

from cosmos_ops.capacity.costs import Cost, read_costs, read_published
from cosmos_ops.capacity.demand import Demand, count_work
from cosmos_ops.capacity.estimate import MEASURED, NOT_MEASURED
from cosmos_ops.capacity.gpu import Gpus
from cosmos_ops.capacity.plan import Prices, plan_capacity
from cosmos_ops.errors import UserError
from cosmos_ops.profiles import load_profile
from cosmos_ops.recipes import resolve_recipe
from pipelines.cli import main

NANO, COSMOS = load_profile("nano"), load_profile("cosmos-predict2.5-2b")


def gpus(count: int, kind: str = "h100") -> Gpus:
    return Gpus(count, kind, *read_published())


def plan(demand: Demand, profile=COSMOS, hardware: Gpus | None = None, cpus: int = 16, prices: Prices | None = None):
    recipes = [resolve_recipe("lora-r8", profile)]
    return plan_capacity(demand, profile, recipes, cpus, hardware, prices or Prices(), read_costs())


def stage(made, name: str):
    (found,) = [stage for stage in made.stages if stage.name == name]
    return found


def test_counts_are_those_of_the_stages():
    work = count_work(Demand(episodes=100, hours=100 * 12 / 3600, cameras=2, source_fps=30), COSMOS, [resolve_recipe("lora-r8", COSMOS)])
    assert (work.drops, work.clips, work.source_frames) == (1, 100 * 2 * 2, 100 * 12 * 30 * 2), "12 s at 16 frames a second hold two clips of 93 frames"
    assert work.videos == 2 * 10 * 2 * 2 * 5, "base and one recipe, ten episodes, two cameras, two windows, five seeds"
    assert (work.samples, work.passes) == ({"lora-r8": 9200}, 72)
    capped = count_work(Demand(episodes=1000, hours=1000 * 12 / 3600), COSMOS, [])
    assert (capped.drops, capped.videos) == (10, 50 * 5)


@pytest.mark.parametrize(("count", "hours"), [(1, 17.0), (8, 2.5)])
def test_published_trainings_come_out(count, hours):
    made = stage(plan(Demand(92, 1.0), hardware=gpus(count)), "training")
    assert made.wall_s / 3600 == pytest.approx(hours, rel=0.02) and made.basis == NOT_MEASURED
    assert made.gpu_s == pytest.approx(count * made.wall_s) and 0 < made.bound_s < made.wall_s


def test_nothing_of_a_gpu_is_called_measured_and_no_bound_is_beaten():
    made = plan(Demand(1000, 20), hardware=gpus(4, "a100"))
    for one in made.stages:
        assert (one.gpu_s > 0) == (one.basis == NOT_MEASURED), one
        assert one.bound_s is None or one.bound_s < one.wall_s
    assert stage(made, "scoring").basis == stage(made, "quality").basis == MEASURED
    generation = stage(made, "generation")
    assert generation.bound_s * 4 == pytest.approx(made.work.videos * 72 * 0.339 / 0.312), "passes at the whole peak"
    assert made.bottleneck == max(made.stages, key=lambda one: one.wall_s).name


def test_more_work_costs_more_and_more_hardware_takes_less_time():
    some, more = plan(Demand(1000, 20), hardware=gpus(1)), plan(Demand(2000, 40), hardware=gpus(1))
    for name in ("index", "quality", "shards", "latents"):
        assert 1.5 < stage(more, name).core_s / stage(some, name).core_s < 2.01, name
    assert stage(more, "shards").stored_bytes == pytest.approx(2 * stage(some, "shards").stored_bytes)
    assert stage(plan(Demand(1000, 20), hardware=gpus(8)), "generation").wall_s == pytest.approx(stage(some, "generation").wall_s / 8)
    assert stage(plan(Demand(1000, 20), hardware=gpus(1), cpus=64), "quality").wall_s < stage(some, "quality").wall_s


def test_money_follows_hours_and_bytes():
    made = plan(Demand(1000, 20), hardware=gpus(2), prices=Prices(3.0, 0.02))
    assert made.gpu_money == pytest.approx(3.0 * made.gpu_hours) and made.storage_money_per_month == pytest.approx(0.02 * made.stored_bytes / 1e9)
    assert plan(Demand(1000, 20), hardware=gpus(2)).gpu_money is None


def test_dagsters_limits_are_told_when_they_are_passed():
    few = plan(Demand(1000, 20), hardware=gpus(1)).limits
    assert all(limit.within for limit in few)
    many = {limit.name: limit for limit in plan(Demand(200_000, 4000, episodes_per_drop=1), hardware=gpus(1)).limits}
    assert not many["partition keys"].within and many["partition keys"].used == 200_000
    assert not many["upstream partitions with provenance"].within


def test_every_measured_cost_says_where_when_and_how():
    for name, cost in read_costs().items():
        assert cost.value >= 0 and cost.unit and cost.machine and cost.date[:2] == "20" and cost.script == "tests/benchmarks/capacity.py", name
    assert {"quality.looked_frame", "shards.clip_megapixel", "training.sample_megapixel", "scoring.video_megapixel"} <= set(read_costs())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--episodes", "0", "--hours", "1"], "--episodes is 0"),
        (["--episodes", "10", "--hours", "nan"], "--hours is nan"),
        (["--episodes", "1000", "--hours", "0.1"], "holds no clip of 17 frames"),
        (["--episodes", "10", "--hours", "1", "--gpus", "1"], "needs none; leave out --gpus"),
        (["--episodes", "10", "--hours", "1", "--profile", "cosmos-predict2.5-2b"], "give --gpus"),
        (["--episodes", "10", "--hours", "1", "--profile", "cosmos-predict2.5-2b", "--gpus", "1", "--gpu-kind", "abacus"], "there are a100"),
        (["--episodes", "10", "--hours", "1", "--profile", "none-such"], "does not exist"),
        (["--episodes", "10", "--hours", "1", "--recipes", "none-such"], "does not exist"),
        (["--episodes", "10", "--hours", "1", "--source", "VGA"], "640x480@30"),
        (["--episodes", "10", "--hours", "1", "--cpus", "0"], "--cpus must be at least 1"),
        (["--episodes", "10", "--hours", "1", "--price-per-gpu-hour", "-1"], "--price-per-gpu-hour is -1"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, says, capsys):
    assert main(["capacity", *arguments]) == 2
    told = capsys.readouterr()
    (line,) = told.err.strip().splitlines()
    assert line.startswith("cosmos-ops: ") and says in line and told.out == ""


def test_the_command_prints_a_table_or_json(capsys):
    asked = ["capacity", "--episodes", "2000", "--hours", "30", "--gpus", "8", "--profile", "cosmos-predict2.5-2b", "--price-per-gpu-hour", "3"]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "published, not measured" in shown and "the bottleneck is" in shown and "no figure of a GPU stage was measured here" in shown
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    names = ["index", "quality", "clips", "captions", "shards", "dataset", "latents", "training", "generation", "scoring", "runs"]
    assert [one["name"] for one in told["stages"]] == names
    assert told["gpu_money"] == pytest.approx(3 * told["gpu_hours"]) and told["bottleneck"] in names and told["measured_on"]


def test_costs_that_are_not_there_or_not_whole_are_told(tmp_path):
    with pytest.raises(UserError, match="--write"):
        read_costs(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"costs": {"index.start": {"value": 1.0}}}')
    with pytest.raises(UserError, match="index.start: setting 'unit' is missing"):
        read_costs(tmp_path / "half.json")
    assert isinstance(next(iter(read_costs().values())), Cost)
