"""From the tables of scored contenders to estimates with intervals, and to paired comparisons."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from cosmos_ops.errors import WorkFailed
from cosmos_ops.evaluation.metrics import SetMetric, all_metrics, columns
from cosmos_ops.evaluation.statistics import Estimate, SetReplicates, mean_estimate, set_difference, set_estimate, set_replicates


@dataclass(frozen=True)
class Scores:
    """One contender's scores in a fixed order of samples."""

    sample_keys: list[str]
    """Sorted."""
    episodes: list[str]
    """Episode of each sample: the cluster it is resampled with."""
    values: dict[str, np.ndarray]
    """Per-sample column -> [n]."""
    replicates: dict[str, SetReplicates]
    """Set-level column -> its value and resamples."""


def read_scores(folder: Path) -> Scores:
    """Read a scores folder; set-level metrics are resampled here (a second or so each)."""
    table = pq.read_table(folder / "scores.parquet", columns=["sample_key", "episode_id", "metric", "value"]).to_pylist()
    features = pq.read_table(folder / "features.parquet").to_pylist()
    episode_of = {row["sample_key"]: row["episode_id"] for row in (*table, *features)}
    keys = sorted(episode_of)
    episodes = [episode_of[key] for key in keys]
    values: dict[str, dict[str, float]] = {}
    for row in table:
        values.setdefault(row["metric"], {})[row["sample_key"]] = row["value"]
    replicates = {}
    for name in dict.fromkeys(row["metric"] for row in features):
        vectors = {row["sample_key"]: row for row in features if row["metric"] == name}
        real, made = (np.array([vectors[key][side] for key in keys]) for side in ("real", "generated"))
        metric = _set_metric(name)
        replicates[metric.columns[0].name] = set_replicates(metric.distance, real, made, episodes)
    return Scores(keys, episodes, {name: np.array([of[key] for key in keys]) for name, of in values.items()}, replicates)


def estimates(scores: Scores | Path) -> dict[str, Estimate]:
    """Column -> mean (or set-level value) with its interval."""
    scores = scores if isinstance(scores, Scores) else read_scores(scores)
    made = {name: mean_estimate(values, scores.episodes) for name, values in scores.values.items()}
    for name, replicates in scores.replicates.items():
        made[name] = set_estimate(replicates, scores.episodes, _set_metric(name).min_samples)
    return made


def paired(base: Scores, contender: Scores) -> dict[str, Estimate]:
    """Column -> improvement of the contender over base on the same samples, positive = better, with its interval.

    For `motion_ratio`, best at 1, what is compared is -|ln ratio|. Raises `WorkFailed` where the two were not scored on the same samples.
    """
    if base.sample_keys != contender.sample_keys:
        raise WorkFailed("contenders were scored on different samples; score all on one evaluation set")
    made = {name: mean_estimate(differences(base, contender, name), base.episodes) for name in base.values if name in contender.values}
    for name in base.replicates:
        if name in contender.replicates:
            metric = _set_metric(name)
            lower = metric.columns[0].best == "lower"
            made[name] = set_difference(base.replicates[name], contender.replicates[name], lower, base.episodes, metric.min_samples)
    return made


def differences(base: Scores, contender: Scores, column: str) -> np.ndarray:
    """Improvement of each sample [n] on a per-sample column, positive = better."""
    goodness = columns()[column].goodness
    return goodness(contender.values[column]) - goodness(base.values[column])


def to_json(estimate: Estimate, centre: str = "mean") -> dict[str, Any]:
    """{`centre`, low, high, n, clusters}; withheld bounds are null."""
    return {centre: estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n, "clusters": estimate.clusters}


def _set_metric(name: str) -> SetMetric:
    for metric in all_metrics().values():
        if isinstance(metric, SetMetric) and name in (metric.name, metric.columns[0].name):
            return metric
    raise WorkFailed(f"scores hold the set-level metric {name!r}, which this version does not know; score again")
