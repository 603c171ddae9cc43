"""Fréchet distance between the pooled VAE latents of the real and the generated clips of the evaluation set."""

import numpy as np

from cosmos_ops.evaluation.metrics.base import Column, SetMetric, register

MIN_SAMPLES = 8
_CHUNK = 250
_JITTER = 1e-10
"""Keeps the covariance of a set of equal vectors (zero) factorable; latents have unit variance, so it changes no digit shown."""


def pool(latents: np.ndarray, first: int) -> np.ndarray:
    """One vector of 3 C numbers for a clip: [C, t, h, w] latents, generated from latent frame `first` on -> float64 [3 C].

    For each channel, over the generated latent frames only: the mean (what is there), the standard deviation over space, averaged
    over time (contrast), and the mean absolute change from the latent frame before (motion; the first one's from the last
    conditioning frame). Latents are normalised by the VAE's statistics, so all three are in units of the latents' own spread.
    """
    latents = np.asarray(latents, np.float64)
    made = latents[:, first:]
    change = np.abs(made - latents[:, first - 1 : -1])
    return np.concatenate([made.mean((1, 2, 3)), made.std((2, 3)).mean(1), change.mean((1, 2, 3))])


def frechet_distance(real: np.ndarray, generated: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of two sets of n vectors [n, d] for each row of sample weights [R, n] -> [R].

    Dowson and Landau, "The Fréchet distance between multivariate normal distributions", J. Multivariate Analysis 1982; covariances
    by `oas_covariance`. Biased upwards at small n: compare only values of equal n.
    """
    distances = []
    for rows in np.array_split(weights, max(1, -(-len(weights) // _CHUNK))):
        mean_1, cov_1 = oas_covariance(real, rows)
        mean_2, cov_2 = oas_covariance(generated, rows)
        # S1 = L L', so S1 S2 has the eigenvalues of the symmetric L' S2 L: one factorisation and one eigenvalue problem a row.
        factor = np.linalg.cholesky(cov_1)
        roots = np.sqrt(np.clip(np.linalg.eigvalsh(factor.transpose(0, 2, 1) @ cov_2 @ factor), 0, None))
        traces = np.trace(cov_1, axis1=1, axis2=2) + np.trace(cov_2, axis1=1, axis2=2)
        distances.append(np.square(mean_1 - mean_2).sum(1) + traces - 2 * roots.sum(1))
    return np.clip(np.concatenate(distances), 0, None)


def oas_covariance(vectors: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means [R, d] and shrunk covariances [R, d, d] of vectors [n, d] under each row of weights [R, n].

    Oracle approximating shrinkage towards a scaled identity, eq. 23 of Chen, Wiesel, Eldar, Hero, "Shrinkage algorithms for MMSE
    covariance estimation", IEEE TSP 2010: with S the biased sample covariance, d its size and n the number of samples,
    rho = ((1 - 2/d) tr(S^2) + tr(S)^2) / ((n + 1 - 2/d) (tr(S^2) - tr(S)^2 / d)), at most 1.
    """
    n, size = weights.sum(1), vectors.shape[1]
    share = weights / n[:, None]
    mean = share @ vectors
    # Centred on the plain mean first: the difference of the second moments then loses no digits.
    centred = vectors - vectors.mean(0)
    shift = share @ centred
    products = (centred[:, :, None] * centred[:, None, :]).reshape(len(vectors), -1)
    cov = (share @ products).reshape(-1, size, size) - shift[:, :, None] * shift[:, None, :]
    trace, square = np.trace(cov, axis1=1, axis2=2), np.square(cov).sum((1, 2))
    above = (1 - 2 / size) * square + trace**2
    below = (n + 1 - 2 / size) * (square - trace**2 / size)
    rho = np.where(below > above, above / np.where(below > 0, below, 1), 1.0)
    target = (trace / size)[:, None, None] * np.eye(size)
    return mean, (1 - rho)[:, None, None] * cov + rho[:, None, None] * target + _JITTER * np.eye(size)


register(
    SetMetric(
        name="latent_frechet",
        version="1",
        columns=(Column("latent_frechet", "lower", "", "Distance between the distributions of real and generated latents. Compare at equal n only.", 4, 0.1),),
        features=pool,
        distance=frechet_distance,
        min_samples=MIN_SAMPLES,
    )
)
