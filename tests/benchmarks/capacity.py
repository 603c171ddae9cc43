"""Costs of a unit of work by stage, and how well they foretell whole runs of the command line at three sizes.

    python tests/benchmarks/capacity.py [--quick] [--json] [--write]

What a unit costs is measured in the library, on many units at once: the index of 2,000 episodes, drawn pictures (160 x 256 pixels) in nano's clips, filmed ones
(640 x 480 at 30 frames a second, textured and noisy) in the 2B model's, scores at the 2B model's size. Two whole runs of simulated drops with nano (two
cameras, 5 and 15 episodes, one recipe) add what starting a stage costs, and the units of latents, training and generation. Then three other drops, of other
seeds and sizes, are run and held against what the costs foretell.

Compared is processor time, which other work on the machine disturbs little; wall time is shown beside it, and what storage was foretold and taken.
`--write` keeps the costs and the checks in `cosmos_ops/capacity/costs.json`, with this machine and today's date. There is no opponent: the ratios are
foretold over measured, `capacity_foretold_<episodes>`; 1 is best.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import yaml  # noqa: E402

from cosmos_ops.capacity.costs import MEASURED, Cost, write_costs  # noqa: E402
from cosmos_ops.capacity.demand import Demand, Work, count_work  # noqa: E402
from cosmos_ops.capacity.estimate import data_stages, model_stages  # noqa: E402
from cosmos_ops.capacity.plan import foretold_bytes, foretold_core_seconds  # noqa: E402
from cosmos_ops.profiles import load_profile  # noqa: E402
from cosmos_ops.recipes import resolve_recipe  # noqa: E402
from cosmos_ops.simulate.drops import write_requested  # noqa: E402
from cosmos_ops.simulate.request import drop_request  # noqa: E402
from tests.benchmarks.capacity_runs import ROOT, Home, Taken  # noqa: E402
from tests.benchmarks.capacity_units import Found, unit_costs  # noqa: E402
from tests.benchmarks.measuring import Result  # noqa: E402

SMALL, LARGE = (5, 10, 901, 2), (15, 60, 902, 16)
"""Episodes, updates, seed and most clips of the evaluation set of the calibrating runs."""
CHECKS = ((6, 20, 911, 4), (12, 40, 912, 8), (24, 80, 913, 16))
RECIPE = "lora-r8"
SCRIPT = "tests/benchmarks/capacity.py"


@dataclass(frozen=True)
class Run:
    """One whole run: what there was to do, what it took, and what it left."""

    demand: Demand
    work: Work
    taken: Taken
    stored: dict[str, float]
    """Name -> bytes."""
    data_run_s: float
    """Processor seconds of the data half's run beside its steps."""


def whole_run(folder: Path, episodes: int, updates: int, seed: int, evaluated: int) -> Run:
    """Simulate a drop, ingest it, adapt to it and decide."""
    settings = yaml.safe_load((ROOT / "cosmos_ops/profiles/nano.yaml").read_text()) | {"name": "capacity", "recipes": [RECIPE]}
    settings["training"]["overrides"]["steps"] = updates
    settings["evaluation"]["max_clips"] = evaluated
    home = Home(folder, settings)
    write_requested(folder / "drop", drop_request(seed, episodes, "lerobot-v3.0", False))
    home.command("doctor")  # makes the databases
    before = home.stored_bytes("dagster")
    taken = home.command("ingest", str(folder / "drop"))
    data_run_s = taken.core_s["runs"]
    between = home.stored_bytes("dagster")
    shards = sum(path.stat().st_size for path in home.lake.rglob("*.tar"))
    stored = {"dagster_data_run": between - before, "shards": shards, "index": home.stored_bytes("lake/drops") - shards}
    later = home.command("run")
    for stage, core_s in later.core_s.items():
        taken.add(stage, core_s, later.wall_s[stage])
    stored |= {"dagster_model_run": home.stored_bytes("dagster") - between, "latents": home.stored_bytes("lake/latents")}
    stored |= {"adapter": home.stored_bytes("lake/adapters") + home.stored_bytes("mlflow/artifacts"), "generation": home.stored_bytes("lake/generations")}
    demand = Demand(episodes, _hours(folder / "drop"), 2, 8.0, 160, 256, episodes)
    return Run(demand, _work(home, demand, updates), taken, stored, data_run_s)


def _hours(drop: Path) -> float:
    info = json.loads((drop / "meta/info.json").read_text())
    return info["total_frames"] / info["fps"] / 3600


def _work(home: Home, demand: Demand, updates: int) -> Work:
    """What there really was to do: clips and generated videos are counted where they lie, so that costs a unit are of real units."""
    profile = load_profile(str(home.profile))
    work = count_work(demand, profile, [replace(resolve_recipe(RECIPE, profile), steps=updates)])
    (plan,) = home.lake.glob("drops/*/clips/*/manifest.json")
    clips, videos = json.loads(plan.read_text())["rows"], len(list(home.lake.glob("generations/*/*.mp4"))) or work.videos
    return replace(work, clips=clips, clip_megapixels=clips * work.one_clip_megapixels, videos=videos)


def costs_of(small: Run, large: Run, units: Found, data_run_s: float) -> Found:
    """Name -> value and unit: of stages whose units the library was measured on, what whole runs take beyond is their start; of the others both are told
    from the two runs."""
    found = dict(units)
    fits = [data_stages(run.work) | model_stages(run.work) for run in (small, large)]
    for stage, fewer in fits[0].items():
        more = fits[1][stage]
        less_s, more_s = small.taken.core_s[stage], large.taken.core_s[stage]
        missing = [unit for unit in fewer.units if unit not in units]
        for unit in missing:
            found[unit] = ((more_s - less_s) / (more.units[unit] - fewer.units[unit]), f"core-s/{unit.partition('.')[2]}")
            assert found[unit][0] > 0, f"{stage}: the larger run took less, {more_s} s after {less_s} s; the machine was too busy"
        beyond = [
            (seconds - sum(found[unit][0] * count for unit, count in fit.units.items())) / fit.starts for seconds, fit in ((less_s, fewer), (more_s, more))
        ]
        found[f"{stage}.start"] = (max(0.0, sum(beyond) / 2), "core-s/start")
    found["runs.data_run"] = (data_run_s, "core-s/run")
    found["runs.model_run"] = (max(0.0, (small.taken.core_s["runs"] + large.taken.core_s["runs"]) / 2 - data_run_s), "core-s/run")
    work, stored = large.work, large.stored
    sizes = {
        "dagster_data_run": (stored["dagster_data_run"], "bytes/run"),
        "dagster_model_run": (stored["dagster_model_run"], "bytes/run"),
        "index_episode": (stored["index"] / work.episodes, "bytes/episode"),
        "drawn_clip_megapixel": (stored["shards"] / work.clip_megapixels, "bytes/megapixel"),
        "latents_clip_megapixel": (stored["latents"] / work.clip_megapixels, "bytes/megapixel"),
        "adapter": (stored["adapter"], "bytes/adapter"),
        "generation_megapixel": (stored["generation"] / (work.videos * work.one_clip_megapixels), "bytes/megapixel"),
    }
    return found | {f"stored.{name}": size for name, size in sizes.items()}


def check(run: Run, updates: int, evaluated: int, costs: dict[str, Cost]) -> dict[str, Any]:
    """A measured run against what the costs foretell of its number of episodes and hours."""
    nano = load_profile("nano")
    profile = replace(nano, evaluation=replace(nano.evaluation, max_clips=evaluated))
    recipe = replace(resolve_recipe(RECIPE, profile), steps=updates)
    foretold = foretold_core_seconds(run.demand, profile, [recipe], costs)
    measured = {stage: round(run.taken.core_s.get(stage, 0.0), 2) for stage in foretold}
    wall_s = sum(run.taken.wall_s.values())
    return {
        "episodes": run.demand.episodes,
        "updates": updates,
        "foretold_core_s": {stage: round(value, 2) for stage, value in foretold.items()},
        "measured_core_s": measured,
        "error": round(sum(foretold.values()) / sum(measured.values()) - 1, 4),
        "measured_wall_s": round(wall_s, 1),
        "foretold_bytes": round(foretold_bytes(run.demand, profile, [recipe], costs)),
        "measured_bytes": round(sum(run.stored.values())),
    }


def machine() -> str:
    """What this runs on."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine()
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory_gb:.0f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one check instead of three")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of stdout")
    parser.add_argument("--write", action="store_true", help=f"keep the costs in {MEASURED.relative_to(ROOT)}")
    options = parser.parse_args()
    result, today, load = Result(), datetime.date.today().isoformat(), round(os.getloadavg()[0], 2)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="capacity-") as scratch:
        folder = Path(scratch)
        say("calibrating ...")
        units = unit_costs(folder / "units")
        say(json.dumps(units))
        small, large = whole_run(folder / "small", *SMALL), whole_run(folder / "large", *LARGE)
        say(json.dumps([small.taken.core_s, large.taken.core_s]))
        found = costs_of(small, large, units, (small.data_run_s + large.data_run_s) / 2)
        costs = {name: Cost(float(f"{value:.6g}"), unit, machine(), today, SCRIPT) for name, (value, unit) in found.items()}
        for name, cost in costs.items():
            result.row(name, cost.value, cost.unit)
        checks = []
        for episodes, updates, seed, evaluated in CHECKS[:1] if options.quick else CHECKS:
            say(f"checking {episodes} episodes ...")
            checks.append(
                check(whole_run(folder / f"check-{episodes}", episodes, updates, seed, evaluated), updates, evaluated, costs)
                | {"load_average": load, "date": today}
            )
            say(json.dumps(checks[-1]))
            foretold, measured = (sum(checks[-1][name].values()) for name in ("foretold_core_s", "measured_core_s"))
            result.ratio(f"capacity_foretold_{episodes}", foretold / measured)
    result.print()
    print(table(checks))
    if options.write:
        write_costs(costs, checks)
        say(f"wrote {MEASURED}")
    if options.json:
        print(json.dumps({"machine": {"name": machine(), "load_average": load}, "rows": result.rows, "ratios": result.ratios}))


def table(checks: list[dict[str, Any]]) -> str:
    """Foretold and measured side by side, as in docs/CAPACITY.md."""
    lines = ["| stage | " + " | ".join(f"{one['episodes']} episodes, {one['updates']} updates" for one in checks) + " |", "|---" * (len(checks) + 1) + "|"]
    for stage in sorted(checks[0]["foretold_core_s"]):
        cells = [f"{one['foretold_core_s'][stage]:.1f} / {one['measured_core_s'][stage]:.1f}" for one in checks]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    lines.append(
        "| all, processor seconds | "
        + " | ".join(f"{sum(o['foretold_core_s'].values()):.0f} / {sum(o['measured_core_s'].values()):.0f}" for o in checks)
        + " |"
    )
    lines.append("| error | " + " | ".join(f"{one['error']:+.0%}" for one in checks) + " |")
    lines.append("| stored, MB | " + " | ".join(f"{one['foretold_bytes'] / 1e6:.1f} / {one['measured_bytes'] / 1e6:.1f}" for one in checks) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
