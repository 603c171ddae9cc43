"""Fréchet distance between two sets of feature vectors as FVD and FID take it: plain covariances, no shrinkage."""

import numpy as np


def plain_frechet(real: np.ndarray, generated: np.ndarray, weights: np.ndarray, width: int) -> np.ndarray:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) for each row of sample weights [R, n] -> [R].

    `real` and `generated` hold k vectors of `width` numbers a sample, flat: [n, k width]; a sample's weight counts for all of them. S divides by
    the number of vectors less one (Heusel et al., "GANs trained by a two time-scale update rule", NeurIPS 2017, as published code computes it).
    With S = A A', A being the centred vectors, the trace of the root is the sum of the singular values of A1' A2: exact, and as small as the set.
    """
    each = real.shape[1] // width
    vectors = [side.reshape(-1, width) for side in (real, generated)]
    distances = []
    for row in weights:
        times = np.repeat(row, each)
        kept, total = times > 0, times.sum()
        if total < 2:
            distances.append(np.nan)
            continue
        share, root = times[kept] / total, np.sqrt(times[kept] / (total - 1))
        chosen = [side[kept] for side in vectors]
        means = [share @ side for side in chosen]
        spread = [root[:, None] * (side - mean) for side, mean in zip(chosen, means, strict=True)]
        cross = np.linalg.svd(spread[0] @ spread[1].T, compute_uv=False).sum()
        distances.append(np.square(means[0] - means[1]).sum() + sum(np.square(side).sum() for side in spread) - 2 * cross)
    return np.clip(np.array(distances), 0, None)
