"""Means, paired differences and their 95 % bootstrap intervals, clustered by episode.

Clips of one episode are not independent, so whole episodes are resampled (Davison and Hinkley, "Bootstrap methods and their
application", 1997, section 3.8): K episodes are drawn from K with replacement, each bringing all its samples, and the statistic is
taken anew; the interval is the 2.5th to the 97.5th percentile. It is withheld (None) below `MIN_CLUSTERS` episodes. With few
episodes it is too narrow; `FEW_CLUSTERS` is where reports begin to say so.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95
MIN_CLUSTERS = 2
FEW_CLUSTERS = 10
POWER = 0.8
"""Chance of seeing a difference that is there, for which sample sizes are given."""


@dataclass(frozen=True)
class Estimate:
    """A value over n samples of `clusters` episodes with its interval; `low` and `high` are None where it is withheld."""

    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int
    error: float | None = None
    """Standard error of the value: the spread of the resamples, times sqrt(K / (K - 1)) for K episodes, which resampling K of K lacks."""


def resample_weights(clusters: list[str], resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """How often each of n samples occurs in each resample, int64 [resamples, n]: whole clusters drawn with replacement.

    Equal clusters and seed give equal weights, which is what makes comparisons of contenders on the same samples joint.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    drawn = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    times = np.zeros((resamples, len(names)), np.int64)
    np.add.at(times, (np.arange(resamples)[:, None], drawn), 1)
    return times[:, member]


def mean_estimate(values: np.ndarray, clusters: list[str], resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """Mean of per-sample values [n] and its interval; for a paired comparison pass the samples' differences."""
    values = np.asarray(values, float)
    _check(len(values), clusters)
    weights = resample_weights(clusters, resamples, seed)
    return _estimate(float(values.mean()), weights @ values / weights.sum(1), clusters, 1)


def win_estimate(differences: np.ndarray, clusters: list[str]) -> Estimate:
    """Share of samples on which the paired difference [n] is positive, a tie counted half, with its interval."""
    return mean_estimate((np.sign(np.asarray(differences, float)) + 1) / 2, clusters)


def visible_difference(estimate: Estimate) -> float | None:
    """The difference that a comparison with this one's spread and n would show (interval without zero) with a chance of `POWER`.

    (z of the interval + z of the power) x standard error, the normal approximation; None where the interval is withheld.
    """
    return None if estimate.error is None else _reach() * estimate.error


def samples_needed(estimate: Estimate, difference: float) -> int | None:
    """Samples, as many an episode as now, at which a paired difference of this size would be seen with a chance of `POWER`.

    The standard error falls with the root of n, so n' = n ((z + z) x error / difference)^2. At least 1; None where the interval is withheld.
    """
    if difference <= 0:
        raise ValueError(f"a difference to be seen is above 0, got {difference}")
    return None if estimate.error is None else max(1, math.ceil(estimate.n * (_reach() * estimate.error / difference) ** 2))


def _reach() -> float:
    return NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) + NormalDist().inv_cdf(POWER)


Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SetReplicates:
    """A set-level metric of one contender: its value on the set, and on every resample [R]."""

    value: float
    replicates: np.ndarray


def set_replicates(
    distance: Distance, real: np.ndarray, generated: np.ndarray, clusters: list[str], resamples: int = RESAMPLES, seed: int = SEED
) -> SetReplicates:
    """Evaluate `distance(real [n, d], generated [n, d], weights [R, n])` on the set itself and on clustered resamples of it."""
    _check(len(generated), clusters)
    value = float(distance(real, generated, np.ones((1, len(generated)), np.int64))[0])
    if len(set(clusters)) < MIN_CLUSTERS:
        return SetReplicates(value, np.empty(0))
    return SetReplicates(value, distance(real, generated, resample_weights(clusters, resamples, seed)))


def set_estimate(contender: SetReplicates, clusters: list[str], min_samples: int) -> Estimate:
    """Value and interval of a set-level metric, cut at 0, which no distance passes."""
    return _estimate(contender.value, np.clip(_centred(contender.value, contender.replicates), 0, None), clusters, min_samples)


def set_difference(base: SetReplicates, contender: SetReplicates, lower_is_better: bool, clusters: list[str], min_samples: int) -> Estimate:
    """Improvement of a contender over base on a set-level metric, both resampled jointly (pass replicates of equal clusters and seed)."""
    sign = 1 if lower_is_better else -1
    value = sign * (base.value - contender.value)
    return _estimate(value, _centred(value, sign * (base.replicates - contender.replicates)), clusters, min_samples)


def _centred(value: float, replicates: np.ndarray) -> np.ndarray:
    # Repeated samples bias a set-level metric a second time; the spread about the value at this n is what the interval is to show.
    return value + replicates - replicates.mean() if len(replicates) else replicates


def _estimate(value: float, replicates: np.ndarray, clusters: list[str], min_samples: int) -> Estimate:
    n, count = len(clusters), len(set(clusters))
    if count < MIN_CLUSTERS or n < min_samples:
        return Estimate(value, None, None, n, count)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(replicates, [tail, 100 - tail])
    return Estimate(value, float(low), float(high), n, count, float(replicates.std()) * math.sqrt(count / (count - 1)))


def _check(n: int, clusters: list[str]) -> None:
    if n == 0 or n != len(clusters):
        raise ValueError(f"{n} values for {len(clusters)} cluster labels; need one each, at least one")
