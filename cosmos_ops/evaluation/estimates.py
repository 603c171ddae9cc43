"""From the tables of scored contenders to estimates with intervals, and to paired comparisons."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.errors import WorkFailed
from cosmos_ops.evaluation.metrics import PretrainedMetric, SetMetric, all_metrics, columns
from cosmos_ops.evaluation.statistics import Estimate, SetReplicates, mean_estimate, set_difference, set_estimate, set_replicates, win_estimate

GROUPINGS = ("task", "camera")
"""What scores are broken down by, so that a mean cannot hide a broken part."""
FIELDS = [
    ("mean", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("n", pa.int64()),
    ("clusters", pa.int64()),
    ("diff", pa.float64()),
    ("diff_low", pa.float64()),
    ("diff_high", pa.float64()),
]
"""Columns of a table of estimates, see `cells`. `diff*` is the paired improvement over base, positive = better, null for base itself."""


@dataclass(frozen=True)
class Scores:
    """One contender's scores in a fixed order of samples."""

    sample_keys: list[str]
    """Sorted."""
    episodes: list[str]
    """Episode of each sample: the cluster it is resampled with."""
    values: dict[str, np.ndarray]
    """Per-sample column -> [n]; NaN where a sample has no value."""
    replicates: dict[str, SetReplicates]
    """Set-level column -> its value and resamples."""
    groups: dict[str, list[str]]
    """`task` and `camera` -> that of each sample."""
    references: dict[str, dict[str, np.ndarray]]
    """Per-sample column -> reference (`real`, `constant`) -> [n]: what the real video, or a guess, would score."""


def read_scores(folder: Path) -> Scores:
    """Read a scores folder; set-level metrics are resampled here (a second or so each)."""
    table = pq.read_table(folder / "scores.parquet").to_pylist()
    features = pq.read_table(folder / "features.parquet").to_pylist()
    about = {row["sample_key"]: row for row in (*features, *table)}
    keys = sorted(about)
    episodes = [about[key]["episode_id"] for key in keys]
    values: dict[str, dict[str, float]] = {}
    references: dict[str, dict[str, dict[str, float]]] = {}
    for row in table:
        values.setdefault(row["metric"], {})[row["sample_key"]] = row["value"]
    for row in pq.read_table(folder / "references.parquet").to_pylist():
        references.setdefault(row["metric"], {}).setdefault(row["reference"], {})[row["sample_key"]] = row["value"]
    replicates = {}
    for name in dict.fromkeys(row["metric"] for row in features):
        vectors = {row["sample_key"]: row for row in features if row["metric"] == name}
        real, made = (np.array([vectors[key][side] for key in keys]) for side in ("real", "generated"))
        metric = _set_metric(name)
        replicates[metric.columns[0].name] = set_replicates(metric.distance, real, made, episodes, metric.resamples)
    return Scores(
        keys,
        episodes,
        {name: _in_order(of, keys) for name, of in values.items()},
        replicates,
        {by: [str(about[key].get(by) or "none") for key in keys] for by in GROUPINGS},
        {name: {reference: _in_order(of, keys) for reference, of in kinds.items()} for name, kinds in references.items()},
    )


def _in_order(of: dict[str, float | None], keys: list[str]) -> np.ndarray:
    return np.array([of.get(key) for key in keys], float)


def estimates(scores: Scores | Path) -> dict[str, Estimate]:
    """Column -> mean (or set-level value) with its interval; a column that no sample has a value of is left out."""
    scores = scores if isinstance(scores, Scores) else read_scores(scores)
    made = {name: estimate for name, values in scores.values.items() if (estimate := known_mean(values, scores.episodes)) is not None}
    for name, replicates in scores.replicates.items():
        made[name] = set_estimate(replicates, scores.episodes, _set_metric(name).min_samples)
    return made


def paired(base: Scores, contender: Scores) -> dict[str, Estimate]:
    """Column -> improvement of the contender over base on the same samples, positive = better, with its interval.

    For `motion_ratio`, best at 1, what is compared is -|ln ratio|. Samples without a value on either side are left out. Raises `WorkFailed`
    where the two were not scored on the same samples.
    """
    if base.sample_keys != contender.sample_keys:
        raise WorkFailed("contenders were scored on different samples; score all on one evaluation set")
    both = [name for name in base.values if name in contender.values]
    made = {name: estimate for name in both if (estimate := known_mean(differences(base, contender, name), base.episodes)) is not None}
    for name in base.replicates:
        if name in contender.replicates:
            metric = _set_metric(name)
            lower = metric.columns[0].best == "lower"
            made[name] = set_difference(base.replicates[name], contender.replicates[name], lower, base.episodes, metric.min_samples)
    return made


def wins(base: Scores, contender: Scores) -> dict[str, Estimate]:
    """Per-sample column -> share of samples on which the contender is better than base, ties counted half."""
    made = {}
    for name in base.values:
        if name in contender.values:
            change = differences(base, contender, name)
            known = np.isfinite(change)
            if known.any():
                made[name] = win_estimate(change[known], _of(base.episodes, known))
    return made


def known_mean(values: np.ndarray, episodes: list[str]) -> Estimate | None:
    """Mean over the samples [n] that have a value, None where none has."""
    known = np.isfinite(values)
    return mean_estimate(values[known], _of(episodes, known)) if known.any() else None


def subset(scores: Scores, chosen: np.ndarray) -> Scores:
    """The per-sample part of the scores of some samples [n] bool; set-level metrics need the whole set and are left out."""
    return Scores(
        _of(scores.sample_keys, chosen),
        _of(scores.episodes, chosen),
        {name: values[chosen] for name, values in scores.values.items()},
        {},
        {by: _of(groups, chosen) for by, groups in scores.groups.items()},
        {name: {reference: values[chosen] for reference, values in kinds.items()} for name, kinds in scores.references.items()},
    )


def _of(items: list[str], chosen: np.ndarray) -> list[str]:
    return [item for item, wanted in zip(items, chosen, strict=True) if wanted]


def differences(base: Scores, contender: Scores, column: str) -> np.ndarray:
    """Improvement of each sample [n] on a per-sample column, positive = better."""
    goodness = columns()[column].goodness
    return goodness(contender.values[column]) - goodness(base.values[column])


def to_json(estimate: Estimate, centre: str = "mean") -> dict[str, Any]:
    """{`centre`, low, high, n, clusters}; withheld bounds are null."""
    return {centre: estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n, "clusters": estimate.clusters}


def cells(score: dict[str, Any], pair: dict[str, Any]) -> dict[str, Any]:
    """The values of `FIELDS` for an estimate and its paired difference, both as `to_json` makes them; an empty `pair` is base's."""
    return {
        **{name: score[name] for name in ("mean", "low", "high", "n", "clusters")},
        "diff": pair.get("diff"),
        "diff_low": pair.get("low"),
        "diff_high": pair.get("high"),
    }


def _set_metric(name: str) -> SetMetric | PretrainedMetric:
    for metric in all_metrics().values():
        if getattr(metric, "distance", None) is not None and name in (metric.name, metric.columns[0].name):
            return metric
    raise WorkFailed(f"scores hold the set-level metric {name!r}, which this version does not know; score again")
