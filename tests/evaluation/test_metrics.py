"""Metrics against values known otherwise, and against videos that they claim to tell apart."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from cosmos_ops.errors import UserError
from cosmos_ops.evaluation import metrics
from cosmos_ops.evaluation.metrics.base import Column
from cosmos_ops.evaluation.metrics.latent_frechet import frechet_distance, oas_covariance, pool
from cosmos_ops.evaluation.metrics.motion import FLOOR_PX, optical_flow
from cosmos_ops.evaluation.metrics.psnr_ssim import PSNR_CAP_DB, psnr, ssim
from tests.evaluation.moving import frozen, moving_patch, noisy, shuffled, texture

FIRST = 1


def measure(name: str, real: np.ndarray, generated: np.ndarray, first: int = FIRST) -> dict[str, float]:
    metric = metrics.all_metrics()[name]
    return metric.measure(metric.reference(real, first), generated, first)


def test_psnr_of_a_constant_error():
    black = np.zeros((16, 16, 3), np.uint8)
    assert psnr(black, black + 10) == pytest.approx(28.1308, abs=1e-4)  # 20 log10(255 / 10)
    assert psnr(black, black + 255) == 0
    assert psnr(black, black) == PSNR_CAP_DB


def test_ssim_of_flat_images_is_its_luminance_term():
    def flat(grey):
        return np.full((32, 32, 3), grey, np.uint8)

    c1 = (0.01 * 255) ** 2
    assert ssim(flat(100), flat(120)) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1), abs=1e-5)
    assert ssim(flat(7), flat(7)) == pytest.approx(1)


def test_ssim_agrees_with_the_formula_computed_by_scipy():
    """The same definition by other code: Gaussian filter of radius 5 in double precision, borders cut."""
    real, other = texture(48, 64, 1), noisy(texture(48, 64, 1), 25)
    x, y = (image.astype(float) @ np.array([0.299, 0.587, 0.114]) for image in (real, other))

    def blur(image):
        return gaussian_filter(image, 1.5, radius=5)

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    expected = ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))[5:-5, 5:-5].mean()
    assert 0.1 < expected < 0.95
    assert ssim(real, other) == pytest.approx(expected, abs=1e-4)


def test_ssim_of_one_window_by_hand():
    """An 11 x 11 image holds exactly one window: weighted moments with no filter at all."""
    real, other = texture(11, 11, 3), texture(11, 11, 4)
    x, y = (image.astype(float) @ np.array([0.299, 0.587, 0.114]) for image in (real, other))
    place = np.arange(11) - 5
    weight = np.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * 1.5**2))
    weight /= weight.sum()
    mx, my = (weight * x).sum(), (weight * y).sum()
    vx, vy, vxy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum(), (weight * (x - mx) * (y - my)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(real, other) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_conditioning_frames_do_not_count(name):
    real = moving_patch()
    damaged = real.copy()
    damaged[:5] = 0
    assert measure(name, real, damaged, first=5) == measure(name, real, real, first=5)
    assert measure(name, real, damaged, first=4)[name] < measure(name, real, real, first=4)[name]


def test_optical_flow_finds_a_known_shift():
    ground = texture(96, 160, 5, grain_px=3)
    video = np.stack([ground[10:90, 20 - 3 * index : 148 - 3 * index] for index in range(3)])  # the scene moves 3 px right
    flow = optical_flow(video)
    assert flow.shape == (2, 80, 128, 2)
    assert np.median(flow[..., 0]) == pytest.approx(3, abs=0.1)
    assert np.median(flow[..., 1]) == pytest.approx(0, abs=0.1)


def test_flow_of_a_large_video_is_in_its_own_pixels():
    ground = texture(540, 840, 5, grain_px=6)
    video = np.stack([ground[20:532, 20 - 4 * index : 788 - 4 * index] for index in range(2)])  # 512 px high, measured at 256
    flow = optical_flow(video)
    assert flow.shape == (1, 256, 384, 2)
    assert np.median(flow[..., 0]) == pytest.approx(4, abs=0.2)


def test_motion_sees_frozen_fast_and_wrong_motion():
    real = moving_patch()
    same = measure("motion", real, real)
    still = measure("motion", real, frozen(real, FIRST))
    fast = measure("motion", real, moving_patch(step_px=(4.0, 2.0)))
    wrong = measure("motion", real, moving_patch(step_px=(-2.0, -1.0)))
    assert same == {"motion_ratio": 1, "motion_epe": 0}
    assert still["motion_ratio"] < 0.2 < 1.4 < fast["motion_ratio"]
    assert wrong["motion_ratio"] == pytest.approx(1, abs=0.2)  # as much motion, and only the end-point error knows better
    assert wrong["motion_epe"] > 1.5 * still["motion_epe"] > 0.1


def test_a_still_scene_has_a_motion_ratio_near_one():
    still = frozen(moving_patch(), FIRST)
    assert measure("motion", still, still)["motion_ratio"] == 1
    assert measure("motion", still, moving_patch())["motion_ratio"] > 0.1 / FLOOR_PX


@pytest.mark.parametrize("name, column", [("psnr", "psnr"), ("ssim", "ssim"), ("motion", "motion_epe")])
def test_noise_freezing_and_shuffling_rank_below_nearly_right(name, column):
    real = moving_patch(frames=13)
    goodness = metrics.columns()[column].goodness
    near = goodness(measure(name, real, noisy(real, 2))[column])
    for worse in (noisy(real, 30), frozen(real, FIRST), shuffled(real, FIRST)):
        assert goodness(measure(name, real, worse)[column]) < near


def latents_like(seed: int, n: int, frames: int = 5) -> list[np.ndarray]:
    """n smooth latent clips [4, frames, 6, 8] that change a little from frame to frame."""
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(n, 4, 1, 6, 8))
    return list(start + 0.3 * np.cumsum(rng.normal(size=(n, 4, frames, 6, 8)), axis=2))


def test_latent_frechet_sees_frozen_noisy_and_wrong_clips():
    real = latents_like(0, 16)
    rng = np.random.default_rng(9)
    near = [clip + 0.02 * rng.normal(size=clip.shape) for clip in real]
    frozen_ = [np.repeat(clip[:, :1], 5, axis=1) for clip in real]
    noisy_ = [clip + 1.0 * rng.normal(size=clip.shape) for clip in real]
    shifted = [clip + 0.5 for clip in real]

    def distance(generated):
        features = [np.array([pool(clip, 1) for clip in clips]) for clips in (real, generated)]
        return frechet_distance(*features, np.ones((1, 16), int))[0]

    assert distance(real) == pytest.approx(0, abs=1e-6)
    for worse in (frozen_, noisy_, shifted):
        assert distance(worse) > 20 * distance(near) > 0


def test_pooling_by_hand_leaves_conditioning_out():
    clip = np.zeros((2, 3, 2, 2))
    clip[0, 0], clip[0, 1], clip[0, 2] = 9.0, 1.0, 4.0
    clip[1, 1] = [[0, 2], [0, 2]]
    mean, spread, change = np.split(pool(clip, 1), 3)
    assert mean.tolist() == [2.5, 0.5]
    assert spread.tolist() == [0, 0.5]
    assert change.tolist() == [(8 + 3) / 2, 1.0]


def test_frechet_distance_of_gaussians_known_in_closed_form():
    """Equal scaled-identity covariances: the distance is |m1 - m2|^2; different scales add d (s1 - s2)^2."""
    corners = np.array([[1, 0], [-1, 0], [0, 1], [0, -1.0]])  # covariance I / 2
    ones = np.ones((1, 4), int)
    assert frechet_distance(corners, corners + [3, 4], ones)[0] == pytest.approx(25)
    assert frechet_distance(corners, 3 * corners, ones)[0] == pytest.approx(2 * (3 - 1) ** 2 / 2)


def test_frechet_distance_agrees_with_the_matrix_square_root():
    rng = np.random.default_rng(3)
    mix = rng.normal(size=(6, 6))
    real, made = rng.normal(size=(40, 6)) @ mix, rng.normal(size=(40, 6)) + 1
    ones = np.ones((1, 40), int)
    (m1, s1), (m2, s2) = ((mean[0], cov[0]) for mean, cov in (oas_covariance(real, ones), oas_covariance(made, ones)))
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    assert frechet_distance(real, made, ones)[0] == pytest.approx(expected, rel=1e-6)


def test_shrinkage_by_its_formula_and_with_few_samples():
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5))
    s, n, d = np.cov(vectors.T, bias=True), 30, 5
    rho = ((1 - 2 / d) * np.trace(s @ s) + np.trace(s) ** 2) / ((n + 1 - 2 / d) * (np.trace(s @ s) - np.trace(s) ** 2 / d))
    assert 0 < rho < 1
    expected = (1 - rho) * s + rho * np.trace(s) / d * np.eye(d)
    np.testing.assert_allclose(oas_covariance(vectors, np.ones((1, 30), int))[1][0], expected, atol=1e-8)
    # Fewer samples than dimensions: still of full rank.
    assert np.linalg.matrix_rank(oas_covariance(rng.normal(size=(4, 12)), np.ones((1, 4), int))[1][0]) == 12


def test_weights_mean_repeated_samples():
    rng = np.random.default_rng(5)
    real, made = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    weights = np.array([[2, 0, 1, 1, 0, 2]])
    taken = np.repeat(np.arange(6), weights[0])
    weighted = frechet_distance(real, made, weights)[0]
    assert weighted == pytest.approx(frechet_distance(real[taken], made[taken], np.ones((1, 6), int))[0])
    assert weighted != pytest.approx(frechet_distance(real, made, np.ones((1, 6), int))[0])


def test_conditioning_pixel_frames_of_a_causal_vae():
    assert metrics.conditioning_pixel_frames(1, 93, 24) == 1
    assert metrics.conditioning_pixel_frames(2, 93, 24) == 5
    assert metrics.conditioning_pixel_frames(2, 17, 5) == 5
    with pytest.raises(ValueError, match="leave nothing"):
        metrics.conditioning_pixel_frames(2, 5, 2)


def test_directions():
    assert Column("a", "higher", "", "").goodness(3.0) == 3
    assert Column("a", "lower", "", "").goodness(3.0) == -3
    ratio = Column("a", "one", "", "")
    assert ratio.goodness(1.0) == 0
    assert ratio.goodness(2.0) == pytest.approx(ratio.goodness(0.5)) == pytest.approx(-np.log(2))


def test_metrics_resolve_and_unavailable_ones_say_why():
    chosen = metrics.resolve_metrics(("psnr", "motion", "latent_frechet", "lpips", "physics"))
    assert [metric.name for metric in chosen.sample] == ["psnr", "motion"]
    assert [metric.name for metric in chosen.whole] == ["latent_frechet"]
    assert [(metric.name, metric.server) for metric in chosen.served] == [("physics", "judge")]
    assert "LPIPS" in chosen.unavailable["lpips"]
    pixels = {"psnr", "ssim", "latent_frechet", "motion_ratio", "motion_epe", "tse_sift", "tse_sift_matches"}
    networks = {"lpips", "fvd", "fid", "tse", "tse_matches", "cse"}
    assert pixels | networks | {"action_consistency", "instruction_following", "physics"} == set(metrics.columns())
    with pytest.raises(UserError, match="'pnsr' is unknown; known are"):
        metrics.resolve_metrics(("pnsr",))
