"""Stage by stage: processor time, wall time, GPU time and storage, and what each figure rests on."""

from collections.abc import Mapping
from dataclasses import dataclass

from cosmos_ops.capacity.costs import Cost
from cosmos_ops.capacity.demand import Work

MEASURED, NOT_MEASURED = "measured", "published, not measured"
AT_ONCE = 4
"""Data runs that Dagster has in flight at once (`dagster.yaml`, `max_concurrent_runs`)."""


@dataclass(frozen=True)
class Stage:
    """What one stage takes for all of the work."""

    name: str
    wall_s: float
    core_s: float
    gpu_s: float = 0.0
    """GPU seconds, of all GPUs together."""
    stored_bytes: float = 0.0
    basis: str = MEASURED
    bound_s: float | None = None
    """Wall time that no implementation can go below on this hardware, where there is such a bound."""
    note: str = ""


@dataclass(frozen=True)
class Fit:
    """A stage's measured model: so much for starting it, and so much a unit of each kind."""

    starts: int
    units: Mapping[str, float]
    """Name of a cost -> how many units."""
    spreads: bool
    """Whether its work is done on all processors; otherwise on one, a drop each."""


def data_stages(work: Work) -> dict[str, Fit]:
    """The stages whose work grows with the data."""
    return {
        "index": Fit(work.drops, {"index.episode": work.episodes}, False),
        "quality": Fit(work.drops, {"quality.looked_frame": work.looked_frames, "quality.source_megapixel": work.source_megapixels}, True),
        "clips": Fit(work.drops, {"clips.clip": work.clips}, False),
        "captions": Fit(work.drops, {"captions.clip": work.clips}, False),
        "shards": Fit(work.drops, {"shards.source_frame": work.source_frames, "shards.clip_megapixel": work.clip_megapixels}, True),
        "dataset": Fit(1, {"dataset.clip": work.clips}, False),
    }


def model_stages(work: Work) -> dict[str, Fit]:
    """The stages of the model half as they are measured on processors."""
    video_megapixels = work.videos * work.one_clip_megapixels
    return {
        "latents": Fit(1, {"latents.clip_megapixel": work.clip_megapixels}, True),
        "training": Fit(len(work.samples), {"training.sample_megapixel": sum(work.samples.values()) * work.one_clip_megapixels}, True),
        "generation": Fit(len(work.samples) + 1, {"generation.pass_megapixel": video_megapixels * work.passes}, True),
        "scoring": scoring(work),
    }


def scoring(work: Work) -> Fit:
    """Scores, and the inverse dynamics model and the leaderboard with them."""
    return Fit(len(work.samples) + 1, {"scoring.video_megapixel": work.videos * work.one_clip_megapixels}, True)


def core_seconds(name: str, fit: Fit, costs: Mapping[str, Cost]) -> float:
    """Processor seconds of a stage."""
    return fit.starts * costs[f"{name}.start"].value + sum(count * costs[unit].value for unit, count in fit.units.items())


def on_processors(name: str, fit: Fit, costs: Mapping[str, Cost], cpus: int, stored_bytes: float = 0.0, basis: str = MEASURED) -> Stage:
    """A stage that runs on processors."""
    core_s = core_seconds(name, fit, costs)
    # What does not spread still has a drop on each of some processors; the start of a step is one process's work always.
    side_by_side = cpus if fit.spreads else min(cpus, AT_ONCE, fit.starts)
    start_s = fit.starts * costs[f"{name}.start"].value
    wall_s = start_s / min(cpus, AT_ONCE, fit.starts) + (core_s - start_s) / side_by_side
    return Stage(name, wall_s, core_s, 0.0, stored_bytes, basis)


def starting(work: Work, costs: Mapping[str, Cost], cpus: int) -> Stage:
    """What Dagster's runs take beside their steps: a data run a drop, and one of the model half."""
    core_s = work.drops * costs["runs.data_run"].value + costs["runs.model_run"].value
    stored = work.drops * costs["stored.dagster_data_run"].value + costs["stored.dagster_model_run"].value
    return Stage("runs", core_s / min(cpus, AT_ONCE, max(1, work.drops)), core_s, 0.0, stored, note="starting and recording runs")
