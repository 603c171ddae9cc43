"""Intervals: what they cover, what they keep together, and when they are withheld."""

import numpy as np
import pytest

from cosmos_ops.evaluation.metrics.latent_frechet import frechet_distance
from cosmos_ops.evaluation.statistics import (
    mean_estimate,
    resample_weights,
    samples_needed,
    set_difference,
    set_estimate,
    set_replicates,
    visible_difference,
    win_estimate,
)


def clusters_of(episodes: int, each: int) -> list[str]:
    return [f"episode {index // each}" for index in range(episodes * each)]


def test_whole_clusters_are_drawn():
    clusters = ["a", "b", "a", "c", "b", "a"]
    weights = resample_weights(clusters, 500, seed=1)
    assert weights.shape == (500, 6)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    # Three draws from three clusters, each as likely.
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 1] + weights[:, 3], np.full(500, 3))
    assert weights.mean(0) == pytest.approx(np.ones(6), abs=0.12)
    np.testing.assert_array_equal(weights, resample_weights(clusters, 500, seed=1))
    assert (weights != resample_weights(clusters, 500, seed=2)).any()


def test_mean_and_interval_of_known_values():
    estimate = mean_estimate(np.arange(40.0), clusters_of(20, 2))
    assert (estimate.value, estimate.n, estimate.clusters) == (19.5, 40, 20)
    # Standard error of the mean of 20 cluster means spaced 2 apart: 11.53 / sqrt(20) = 2.58.
    assert estimate.low == pytest.approx(19.5 - 1.96 * 2.58, abs=0.6)
    assert estimate.high == pytest.approx(19.5 + 1.96 * 2.58, abs=0.6)
    assert mean_estimate(np.arange(40.0), clusters_of(20, 2)) == estimate


def test_intervals_cover_about_as_often_as_they_say_and_ignoring_clusters_does_not():
    rng = np.random.default_rng(0)
    episodes, each, trials, clustered, independent = 25, 4, 250, 0, 0
    clusters = clusters_of(episodes, each)
    for _ in range(trials):
        values = np.repeat(rng.normal(size=episodes), each) + 0.5 * rng.normal(size=episodes * each)
        estimate = mean_estimate(values, clusters, resamples=400)
        clustered += estimate.low <= 0 <= estimate.high
        estimate = mean_estimate(values, [str(index) for index in range(len(values))], resamples=400)
        independent += estimate.low <= 0 <= estimate.high
    assert 0.89 <= clustered / trials <= 0.98
    assert independent / trials < 0.8


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(1)
    clusters = clusters_of(12, 2)
    hard = np.repeat(3 * rng.normal(size=12), 2)
    base, better = hard + 0.1 * rng.normal(size=24), hard + 0.5 + 0.1 * rng.normal(size=24)
    difference = mean_estimate(better - base, clusters)
    assert 0 < difference.low < 0.5 < difference.high < 1
    alone = mean_estimate(better, clusters)
    assert alone.high - alone.low > 5 * (difference.high - difference.low)


def test_one_episode_gives_no_interval():
    estimate = mean_estimate(np.array([1.0, 2.0, 4.0]), ["only"] * 3)
    assert (estimate.value, estimate.low, estimate.high) == (pytest.approx(7 / 3), None, None)


def test_nothing_to_average_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        mean_estimate(np.array([]), [])
    with pytest.raises(ValueError, match="2 values for 1"):
        mean_estimate(np.array([1.0, 2.0]), ["a"])


def set_example(seed: int = 0, episodes: int = 8, each: int = 2, size: int = 6):
    rng = np.random.default_rng(seed)
    clusters = clusters_of(episodes, each)
    real = np.repeat(rng.normal(size=(episodes, size)), each, axis=0) + 0.3 * rng.normal(size=(episodes * each, size))
    return clusters, real, real + 0.8, real + 0.05 * rng.normal(size=real.shape)


def test_a_set_level_difference_is_joint_and_signed():
    clusters, real, base, better = set_example()
    scored = {name: set_replicates(frechet_distance, real, made, clusters) for name, made in (("base", base), ("better", better))}
    difference = set_difference(scored["base"], scored["better"], True, clusters, min_samples=8)
    assert difference.value == pytest.approx(scored["base"].value - scored["better"].value)
    assert 0 < difference.low < difference.value < difference.high
    back = set_difference(scored["better"], scored["base"], True, clusters, min_samples=8)
    assert back.high < 0
    same = set_difference(scored["base"], scored["base"], True, clusters, min_samples=8)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_a_set_level_interval_holds_its_value_and_no_negative_distance():
    clusters, real, _, better = set_example()
    estimate = set_estimate(set_replicates(frechet_distance, real, better, clusters), clusters, min_samples=8)
    assert 0 <= estimate.low <= estimate.value <= estimate.high


def test_set_level_intervals_are_withheld_below_the_least_n_and_with_one_episode():
    clusters, real, base, _ = set_example(episodes=3)
    few = set_estimate(set_replicates(frechet_distance, real, base, clusters), clusters, min_samples=8)
    assert (few.low, few.high, few.n) == (None, None, 6)
    assert few.value > 0
    one = ["only"] * 6
    scored = set_replicates(frechet_distance, real, base, one)
    assert set_estimate(scored, one, min_samples=2).low is None
    assert set_difference(scored, scored, True, one, min_samples=2).low is None


def test_set_level_intervals_cover_the_expected_difference():
    """Percentiles of replicates that are not centred cover far less: resampling biases a Fréchet distance once more."""
    found = []
    for seed in range(60):
        clusters, real, base, _ = set_example(seed, episodes=12)
        shrunk = real * 0.7 + 0.1 * np.random.default_rng(1000 + seed).normal(size=real.shape)
        scored = [set_replicates(frechet_distance, real, made, clusters, resamples=200) for made in (base, shrunk)]
        found.append(set_difference(*scored, True, clusters, min_samples=8))
    expected = np.mean([estimate.value for estimate in found])
    covered = np.mean([estimate.low <= expected <= estimate.high for estimate in found])
    assert covered >= 0.85


def test_wins_are_counted_ties_by_half():
    estimate = win_estimate(np.array([1.0, 2.0, -1.0, 0.0]), clusters_of(4, 1))
    assert estimate.value == pytest.approx(2.5 / 4) and 0 <= estimate.low < estimate.value < estimate.high <= 1


def test_as_many_samples_as_said_show_the_difference_as_often_as_said():
    """Draw differences of a known size at the size of set that `samples_needed` names: about 80 % of the intervals leave out zero."""
    rng = np.random.default_rng(3)
    pilot = mean_estimate(rng.normal(0.0, 1.0, 400), clusters_of(400, 1))
    needed = samples_needed(pilot, 0.5)
    assert needed == pytest.approx((2.8016 / 0.5) ** 2, rel=0.15)  # (1.96 + 0.84)^2 s^2 / d^2 = 31
    shown = sum(mean_estimate(rng.normal(0.5, 1.0, needed), clusters_of(needed, 1), resamples=400).low > 0 for _ in range(300))
    assert 0.7 <= shown / 300 <= 0.9
    assert visible_difference(pilot) == pytest.approx(2.8016 / 20, rel=0.15)
    assert samples_needed(pilot, visible_difference(pilot)) == pytest.approx(400, abs=1)


def test_samples_of_one_episode_count_less():
    rng = np.random.default_rng(4)
    alike = np.repeat(rng.normal(size=40), 4)
    assert samples_needed(mean_estimate(alike, clusters_of(40, 4)), 0.5) > 2.5 * samples_needed(mean_estimate(alike, clusters_of(160, 1)), 0.5)


def test_what_cannot_be_said_is_not_said():
    alone = mean_estimate(np.array([1.0, 2.0]), ["only"] * 2)
    assert visible_difference(alone) is None and samples_needed(alone, 0.5) is None
    with pytest.raises(ValueError, match="above 0"):
        samples_needed(alone, 0.0)
