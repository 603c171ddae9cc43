"""Metrics of generated video. Adding one is one file here that calls `register`; every module of this folder is found by itself.

`psnr` and `ssim` are columns of the same names; the metric `motion` is measured once and gives the two columns `motion_ratio` and
`motion_epe`; `latent_frechet` is one number for the whole set. Metrics of published networks are measured where a profile names the weights and
reported as not available otherwise.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cosmos_ops.errors import UserError
from cosmos_ops.evaluation.metrics.base import (
    Column,
    Metric,
    PretrainedMetric,
    SampleMetric,
    ServedMetric,
    SetMetric,
    conditioning_pixel_frames,
    register,
    registered,
)

__all__ = [
    "Chosen",
    "Column",
    "Metric",
    "PretrainedMetric",
    "SampleMetric",
    "ServedMetric",
    "SetMetric",
    "all_metrics",
    "columns",
    "conditioning_pixel_frames",
    "register",
    "resolve_metrics",
]

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

NEED_WEIGHTS = tuple(name for name, metric in registered().items() if isinstance(metric, PretrainedMetric) or getattr(metric, "server", "") == "cross_view")
"""Metrics that `evaluation.weights` of a profile may name weights for."""


def all_metrics() -> dict[str, Metric]:
    """Every declared metric by name, unavailable ones included."""
    return registered()


@dataclass(frozen=True)
class Chosen:
    """The metrics a profile names, by how they are measured."""

    sample: list[SampleMetric]
    whole: list[SetMetric]
    served: list[ServedMetric]
    pretrained: dict[PretrainedMetric, str]
    """Metric -> where its weights are."""
    unavailable: dict[str, str]
    """Name -> reason."""


def resolve_metrics(names: tuple[str, ...], weights: Mapping[str, str] = MappingProxyType({})) -> Chosen:
    """The metrics of these names, and those that weights are named for. Raises `UserError` for a name nobody declares, or weights nothing needs."""
    known = registered()
    for name in weights:
        if name not in NEED_WEIGHTS:
            raise UserError(f"evaluation.weights: {name!r} needs none; those that do are {', '.join(NEED_WEIGHTS)}")
    for name in names:
        if name not in known:
            raise UserError(f"evaluation.metrics: {name!r} is unknown; known are {', '.join(sorted(known))}")
    chosen = [known[name] for name in dict.fromkeys([*names, *weights])]
    sample, whole, served = ([metric for metric in chosen if isinstance(metric, kind)] for kind in (SampleMetric, SetMetric, ServedMetric))
    pretrained = [metric for metric in chosen if isinstance(metric, PretrainedMetric)]
    unavailable = {metric.name: metric.reason for metric in pretrained if metric.name not in weights}
    return Chosen(sample, whole, served, {metric: weights[metric.name] for metric in pretrained if metric.name in weights}, unavailable)


def columns() -> dict[str, Column]:
    """Every column that can appear in a scores table, by name."""
    return {column.name: column for metric in registered().values() for column in metric.columns}
