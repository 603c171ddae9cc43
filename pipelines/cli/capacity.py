"""`capacity`: what a number of episodes would take, before anything is bought."""

import argparse
import os
import re
from dataclasses import asdict
from typing import Any

from cosmos_ops.capacity.costs import MEASURED, Cost, read_costs, read_published
from cosmos_ops.capacity.demand import Demand
from cosmos_ops.capacity.gpu import Gpus
from cosmos_ops.capacity.plan import Plan, Prices, plan_capacity
from cosmos_ops.errors import UserError
from cosmos_ops.recipes import resolve_recipe
from pipelines.cli.output import Output
from pipelines.environments import environment

_SOURCE = re.compile(r"(\d{1,6})x(\d{1,6})@(\d{1,4}(?:\.\d+)?)")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("--episodes", type=int, required=True, metavar="N")
    command.add_argument("--hours", type=float, required=True, metavar="H", help="of all episodes together, as one camera records them")
    command.add_argument("--gpus", type=int, default=0, metavar="K", help="(default: none, which is enough for nano)")
    command.add_argument("--gpu-kind", default="h100", metavar="KIND", help="(default: h100)")
    command.add_argument("--cpus", type=int, default=os.cpu_count() or 1, metavar="C", help="processor cores (default: this machine's)")
    command.add_argument("--profile", metavar="P", help="(default: COSMOS_PROFILE)")
    command.add_argument("--recipes", metavar="R,R", help="(default: the profile's)")
    command.add_argument("--cameras", type=int, default=2, metavar="N", help="of each episode (default: 2)")
    command.add_argument("--source", default="640x480@30", metavar="WxH@FPS", help="what a camera records (default: 640x480@30)")
    command.add_argument("--episodes-per-drop", type=int, default=100, metavar="N", help="(default: 100)")
    command.add_argument("--price-per-gpu-hour", type=float, metavar="X")
    command.add_argument("--storage-price-per-gb-month", type=float, metavar="Y")


def capacity(arguments, output: Output) -> dict[str, Any]:
    """Print the plan; nothing is looked at but the profile, the recipes and the files of costs."""
    env = environment(arguments.profile)
    profile, costs = env.profile, read_costs()
    facts, peaks = read_published()
    if arguments.cpus < 1 or arguments.gpus < 0:
        raise UserError("--cpus must be at least 1 and --gpus at least 0")
    for name in ("price_per_gpu_hour", "storage_price_per_gb_month"):
        price = getattr(arguments, name)
        if price is not None and not 0 <= price < float("inf"):
            raise UserError(f"--{name.replace('_', '-')} is {price:g}; give a price of 0 or more")
    names = [name.strip() for name in arguments.recipes.split(",")] if arguments.recipes else profile.recipes
    recipes = [resolve_recipe(name, profile, env.recipes_folder) for name in dict.fromkeys(names)]
    gpus = Gpus(arguments.gpus, arguments.gpu_kind, facts, peaks) if arguments.gpus else None
    prices = Prices(arguments.price_per_gpu_hour, arguments.storage_price_per_gb_month)
    plan = plan_capacity(_demand(arguments), profile, recipes, arguments.cpus, gpus, prices, costs)
    _tell(plan, profile.name, costs, gpus, output)
    told = asdict(plan) | {"profile": profile.name, "recipes": [recipe.name for recipe in recipes], "cpus": arguments.cpus, "gpus": arguments.gpus}
    return told | {"gpu_kind": arguments.gpu_kind if gpus else None, "costs": str(MEASURED), "measured_on": sorted({_place(cost) for cost in costs.values()})}


def _demand(arguments) -> Demand:
    source = _SOURCE.fullmatch(arguments.source)
    if source is None:
        raise UserError(f"--source is {arguments.source!r}; give WIDTHxHEIGHT@FPS, like 640x480@30")
    width, height, fps = int(source[1]), int(source[2]), float(source[3])
    return Demand(arguments.episodes, arguments.hours, arguments.cameras, fps, height, width, arguments.episodes_per_drop)


def _tell(plan: Plan, profile: str, costs: dict[str, Cost], gpus: Gpus | None, output: Output) -> None:
    work = plan.work
    output.say(f"{profile}: {work.episodes} episodes in {work.drops} drops, {work.clips} clips, {work.videos} videos to generate")
    output.table(
        ["stage", "wall", "at least", "core hours", "GPU hours", "stored", "rests on"],
        [
            [
                stage.name,
                _time(stage.wall_s),
                _time(stage.bound_s) if stage.bound_s is not None else "",
                f"{stage.core_s / 3600:.2f}",
                f"{stage.gpu_s / 3600:.2f}" if stage.gpu_s else "",
                _size(stage.stored_bytes) if stage.stored_bytes else "",
                "; ".join(part for part in (stage.basis, stage.note) if part),
            ]
            for stage in plan.stages
        ],
    )
    output.say(f"all, one after the other: {_time(plan.wall_s)}; the bottleneck is {plan.bottleneck}")
    output.say(
        f"stored: {_size(plan.stored_bytes)}" + _money(plan.storage_money_per_month, " a month") + f"; GPU hours: {plan.gpu_hours:.2f}" + _money(plan.gpu_money)
    )
    for limit in plan.limits:
        output.say(f"{'ok  ' if limit.within else 'PAST'} Dagster, {limit.name}: {limit.used:,.0f} of {limit.limit:,.0f}; {limit.detail}")
    output.say(f"measured costs: {'; '.join(sorted({_place(cost) for cost in costs.values()}))}")
    if gpus is not None:
        output.say("no figure of a GPU stage was measured here: they are published times and counted operations, see docs/CAPACITY.md")


def _place(cost: Cost) -> str:
    return f"{cost.machine}, {cost.date}, {cost.script}"


def _money(amount: float | None, what: str = "") -> str:
    return "" if amount is None else f" ({amount:,.2f}{what})"


def _time(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(amount: float) -> str:
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if amount >= length:
            return f"{amount / length:.1f} {unit}"
    return f"{amount / 1e3:.1f} kB"
