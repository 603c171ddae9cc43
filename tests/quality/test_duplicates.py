"""Recordings that are there twice, to the pixel or as they look, and recordings that only share their scene."""

import numpy as np

from cosmos_ops.profiles import QualitySettings
from cosmos_ops.quality.duplicates import copies, fingerprint

MOST = QualitySettings().near_duplicate


def film(seed: int, frames: int = 40) -> np.ndarray:
    """[T, 48, 64] of one scene in which something moves on a path that the seed decides."""
    scene = np.random.default_rng(0).integers(60, 160, (12, 16)).astype(np.float32).repeat(4, 0).repeat(4, 1)
    rng = np.random.default_rng([seed, 1])
    start, end = rng.uniform(4, 40, 2), rng.uniform(4, 40, 2)
    out = np.repeat(scene[None], frames, axis=0)
    for frame, part in zip(out, np.linspace(0, 1, frames), strict=True):
        y, x = (start + (end - start) * part).astype(int)
        frame[y : y + 8, x : x + 12] = 230
    return out.astype(np.uint8)


def again(luma: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(9).normal(0, 3, luma.shape)
    return np.clip(luma * 1.06 + noise, 0, 255).astype(np.uint8)[2:]


def test_the_same_scene_does_not_make_a_copy():
    assert copies([fingerprint(film(seed)) for seed in range(12)], MOST) == {}


def test_an_exact_copy_and_one_that_looks_the_same_are_found_and_told_apart():
    films = [film(0), film(1), film(2), film(0), again(film(1)), again(film(2))[:-2], film(3)]
    assert copies([fingerprint(luma) for luma in films], MOST) == {3: (0, True), 4: (1, False), 5: (2, False)}


def test_a_copy_of_a_copy_leads_to_the_first():
    films = [film(1), again(film(1)), again(film(1))]
    found = copies([fingerprint(luma) for luma in films], MOST)
    assert found.keys() == {1, 2} and {place for place, _ in found.values()} <= {0, 1}
    assert copies([], MOST) == {}


def test_a_stereo_pair_is_no_copy():
    films = [film(0), film(0) + 1, film(0)]
    prints = [fingerprint(luma) for luma in films]
    assert copies(prints, MOST, [0, 0, 1]) == {2: (0, True)}
    assert copies(prints, MOST, [0, 1, 2]) == {1: (0, False), 2: (0, True)}
