"""What a metric is: its columns with their directions, its level, and the functions that measure it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class Column:
    """One number of a metric as it appears in tables and on the leaderboard."""

    name: str
    best: Literal["higher", "lower", "one"]
    """Which way is better; `one`: the nearer to 1, on a logarithmic scale."""
    unit: str
    meaning: str
    """One sentence for readers of the report."""
    digits: int = 3
    """Decimals shown."""
    notable: float = 0.1
    """A difference people would call one, in the units of `goodness`: reports say how many samples it takes to see it."""
    partial: bool = False
    """Some samples may have no value (nothing to match, a reply that could not be read); n says how many have."""

    def goodness(self, values: np.ndarray) -> np.ndarray:
        """The values turned so that a positive difference is an improvement: v, -v, or -|ln v|."""
        values = np.asarray(values, float)
        if self.best == "higher":
            return values
        return -values if self.best == "lower" else -np.abs(np.log(values))


@dataclass(frozen=True)
class SampleMetric:
    """Measured on one generated video against its real continuation.

    `reference(real, first)` prepares what depends on the real video alone (once a clip, whatever the number of seeds);
    `measure(reference, generated, first)` returns column -> value. Frames are uint8 [T, H, W, 3]; `first` is the index of the
    first frame that was generated, all before it are conditioning and must not count.
    """

    name: str
    version: str
    columns: tuple[Column, ...]
    reference: Callable[[np.ndarray, int], Any]
    measure: Callable[[Any, np.ndarray, int], dict[str, float | None]]
    floor: Callable[[Any], dict[str, float | None]] | None = None
    """What the real video itself scores, from `reference`; shown beside the contenders where a metric has one."""


@dataclass(frozen=True)
class SetMetric:
    """Measured on the whole evaluation set at once, from one feature vector a video.

    `features(latents, first)`: [C, t, h, w] float and the first generated latent frame -> float64 [d]; where `reads` is "frames",
    `features(frames, first)`: uint8 [T, H, W, 3] and the first generated frame.
    `distance(real, generated, weights)`: [n, d], [n, d] and non-negative integer sample weights [R, n] -> [R] distances,
    one for each row of weights (a row of ones is the set itself, others are resamples).
    """

    name: str
    version: str
    columns: tuple[Column, ...]
    features: Callable[[np.ndarray, int], np.ndarray]
    distance: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    min_samples: int
    """Fewest samples for which an interval is given; below it the interval is withheld."""
    resamples: int = 2000
    """Fewer where a distance takes long."""
    reads: Literal["latents", "frames"] = "latents"


@dataclass(frozen=True)
class ServedMetric:
    """A per-sample metric measured by something this installation may lack: a model trained on the dataset, or an endpoint."""

    name: str
    version: str
    columns: tuple[Column, ...]
    server: Literal["inverse_dynamics", "judge", "cross_view"]
    reason: str
    """Why it is not available where the server is absent."""


@dataclass(frozen=True)
class PretrainedMetric:
    """A metric of a published network; `load(files)` gives it with the network in it. Set-level ones say how distances are taken."""

    name: str
    version: str
    columns: tuple[Column, ...]
    reason: str
    """Why it is not available where no weights are named."""
    load: Callable[[list[Path]], SampleMetric | SetMetric]
    distance: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None
    min_samples: int = 0
    resamples: int = 2000


Metric = SampleMetric | SetMetric | ServedMetric | PretrainedMetric
_METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> Metric:
    """Make a metric known under its name."""
    _METRICS[metric.name] = metric
    return metric


def registered() -> dict[str, Metric]:
    """Registered metrics by name, in order of registration."""
    return dict(_METRICS)


def conditioning_pixel_frames(conditioning_latent_frames: int, frames: int, latent_frames: int) -> int:
    """Pixel frames that the first n latent frames stand for: 1 + s (n - 1), s = (frames - 1) / (latent frames - 1).

    A causal video VAE codes the first frame alone and then s frames at a time; for Wan's VAE s = 4, so 4 (n - 1) + 1.
    """
    if latent_frames <= conditioning_latent_frames:
        raise ValueError(f"{conditioning_latent_frames} conditioning latent frames of {latent_frames} leave nothing to generate")
    return 1 + (conditioning_latent_frames - 1) * (frames - 1) // (latent_frames - 1)
