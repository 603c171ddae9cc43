"""Everything together: stages, the bottleneck, storage, GPU hours, money, and Dagster's limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosmos_ops.capacity.costs import Cost
from cosmos_ops.capacity.demand import Demand, Work, count_work
from cosmos_ops.capacity.estimate import Stage, core_seconds, data_stages, model_stages, on_processors, scoring, starting
from cosmos_ops.capacity.gpu import Gpus
from cosmos_ops.capacity.limits import Limit, dagster_limits
from cosmos_ops.errors import UserError
from cosmos_ops.profiles import Profile
from cosmos_ops.recipes import Recipe

NANO = "builtin:nano"


@dataclass(frozen=True)
class Prices:
    """In one currency."""

    per_gpu_hour: float | None = None
    per_gb_month: float | None = None
    """A GB is 10^9 bytes."""


@dataclass(frozen=True)
class Plan:
    """The answer."""

    work: Work
    stages: list[Stage]
    bottleneck: str
    wall_s: float
    gpu_hours: float
    stored_bytes: float
    gpu_money: float | None
    storage_money_per_month: float | None
    limits: list[Limit]


def plan_capacity(demand: Demand, profile: Profile, recipes: Sequence[Recipe], cpus: int, gpus: Gpus | None, prices: Prices, costs: Mapping[str, Cost]) -> Plan:
    """What ingesting all episodes and one model half take, stage after stage. Raises `UserError` where that cannot be told."""
    nano = profile.base_model.source == NANO
    if gpus is None and not nano:
        raise UserError(f"profile {profile.name} is hopeless without a GPU, and no cost of it on processors is known; give --gpus and --gpu-kind")
    if gpus is not None and nano:
        raise UserError(f"no cost of profile {profile.name} on a GPU is known, and it needs none; leave out --gpus")
    if gpus is not None and profile.base_model.family != "cosmos-predict2.5":
        raise UserError(
            f"nothing was published that would tell the cost of a model of family {profile.base_model.family!r}; the cosmos-predict2.5 profiles can be planned"
        )
    work = count_work(demand.checked(), profile, recipes)
    stored = _stored(work, costs)
    stages = [on_processors(name, fit, costs, cpus, stored.get(name, 0.0)) for name, fit in data_stages(work).items()]
    if gpus is None:
        stages += [on_processors(name, fit, costs, cpus, stored.get(name, 0.0)) for name, fit in model_stages(work).items()]
    else:
        stages += gpus.stages(work, profile.clip)
        stages += [on_processors("scoring", scoring(work), costs, cpus, stored["generation"])]
    stages += [starting(work, costs, cpus)]
    gpu_hours, stored_bytes = sum(stage.gpu_s for stage in stages) / 3600, sum(stage.stored_bytes for stage in stages)
    return Plan(
        work=work,
        stages=stages,
        bottleneck=max(stages, key=lambda stage: stage.wall_s).name,
        wall_s=sum(stage.wall_s for stage in stages),
        gpu_hours=gpu_hours,
        stored_bytes=stored_bytes,
        gpu_money=None if prices.per_gpu_hour is None else gpu_hours * prices.per_gpu_hour,
        storage_money_per_month=None if prices.per_gb_month is None else stored_bytes / 1e9 * prices.per_gb_month,
        limits=dagster_limits(work, costs),
    )


def foretold_core_seconds(demand: Demand, profile: Profile, recipes: Sequence[Recipe], costs: Mapping[str, Cost]) -> dict[str, float]:
    """Processor seconds by stage of a whole run on processors: what the benchmark holds against measured runs."""
    work = count_work(demand.checked(), profile, recipes)
    fits = data_stages(work) | model_stages(work)
    return {name: core_seconds(name, fit, costs) for name, fit in fits.items()} | {"runs": starting(work, costs, 1).core_s}


def foretold_bytes(demand: Demand, profile: Profile, recipes: Sequence[Recipe], costs: Mapping[str, Cost]) -> float:
    """Bytes of such a run, of drops whose pictures are drawn by the simulator."""
    work = count_work(demand.checked(), profile, recipes)
    return sum(_stored(work, costs, "drawn_clip_megapixel").values()) + starting(work, costs, 1).stored_bytes


def _stored(work: Work, costs: Mapping[str, Cost], pictures: str = "shards_clip_megapixel") -> dict[str, float]:
    def cost(name: str) -> float:
        return costs[f"stored.{name}"].value

    return {
        "index": work.episodes * cost("index_episode"),
        "shards": work.clip_megapixels * cost(pictures),
        "latents": work.clip_megapixels * cost("latents_clip_megapixel"),
        "training": len(work.samples) * cost("adapter"),
        "generation": work.videos * work.one_clip_megapixels * cost("generation_megapixel"),
    }
