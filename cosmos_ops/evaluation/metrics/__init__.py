"""Metrics of generated video. Adding one is one file here that calls `register`; every module of this folder is found by itself.

`psnr` and `ssim` are columns of the same names; the metric `motion` is measured once and gives the two columns `motion_ratio` and
`motion_epe`; `latent_frechet` is one number for the whole set. Metrics whose weights are not part of the project are declared with
the reason, so that they are reported as not available and never replaced by something else under their name.
"""

import importlib
import pkgutil
from dataclasses import dataclass

from cosmos_ops.errors import UserError
from cosmos_ops.evaluation.metrics.base import (
    Column,
    Metric,
    SampleMetric,
    ServedMetric,
    SetMetric,
    UnavailableMetric,
    conditioning_pixel_frames,
    register,
    registered,
)

__all__ = [
    "Chosen",
    "Column",
    "Metric",
    "SampleMetric",
    "ServedMetric",
    "SetMetric",
    "UnavailableMetric",
    "all_metrics",
    "columns",
    "conditioning_pixel_frames",
    "register",
    "resolve_metrics",
]

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")


def all_metrics() -> dict[str, Metric]:
    """Every declared metric by name, unavailable ones included."""
    return registered()


@dataclass(frozen=True)
class Chosen:
    """The metrics a profile names, by how they are measured."""

    sample: list[SampleMetric]
    whole: list[SetMetric]
    served: list[ServedMetric]
    unavailable: dict[str, str]
    """Name -> reason."""


def resolve_metrics(names: tuple[str, ...]) -> Chosen:
    """The metrics of these names. Raises `UserError` for a name nobody declares."""
    known = registered()
    for name in names:
        if name not in known:
            raise UserError(f"evaluation.metrics: {name!r} is unknown; known are {', '.join(sorted(known))}")
    chosen = [known[name] for name in dict.fromkeys(names)]
    sample, whole, served = ([metric for metric in chosen if isinstance(metric, kind)] for kind in (SampleMetric, SetMetric, ServedMetric))
    return Chosen(sample, whole, served, {metric.name: metric.reason for metric in chosen if isinstance(metric, UnavailableMetric)})


def columns() -> dict[str, Column]:
    """Every column that can appear in a scores table, by name."""
    return {column.name: column for metric in registered().values() if not isinstance(metric, UnavailableMetric) for column in metric.columns}
