"""PSNR and SSIM, frame by frame against the real continuation, averaged over the generated frames."""

from collections.abc import Callable

import cv2
import numpy as np

from cosmos_ops.evaluation.metrics.base import Column, SampleMetric, register

PEAK = 255.0
PSNR_CAP_DB = 100.0
"""What identical frames score: PSNR is infinite there and no mean could be taken."""
SSIM_WINDOW_PX, SSIM_SIGMA_PX = 11, 1.5
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
_LUMA = np.array([[0.299, 0.587, 0.114]])


def psnr(real: np.ndarray, generated: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 images [H, W, 3] in dB: 10 log10(255^2 / MSE) over all pixels and channels.

    Capped at `PSNR_CAP_DB`.
    """
    difference = real.astype(np.float32) - generated.astype(np.float32)
    mse = float(np.mean(np.square(difference), dtype=np.float64))
    return min(PSNR_CAP_DB, 10 * np.log10(PEAK**2 / mse)) if mse > 0 else PSNR_CAP_DB


def ssim(real: np.ndarray, generated: np.ndarray) -> float:
    """Structural similarity of two uint8 images [H, W, 3], on BT.601 luma.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004:
    Gaussian window 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, L = 255, biased covariance, mean over the windows that lie
    wholly inside the image. No down-sampling. Sides must be at least 11 px.
    """
    # Double precision: variances are small differences of large squares.
    x, y = (cv2.transform(image.astype(np.float64), _LUMA) for image in (real, generated))
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    cov = _window(x * y) - mean_x * mean_y
    score = (2 * mean_x * mean_y + _C1) * (2 * cov + _C2) / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))
    return float(np.mean(score))


def _window(image: np.ndarray) -> np.ndarray:
    half = SSIM_WINDOW_PX // 2
    blurred = cv2.GaussianBlur(image, (SSIM_WINDOW_PX, SSIM_WINDOW_PX), SSIM_SIGMA_PX)
    return blurred[half:-half, half:-half]


def _mean(image_metric: Callable[[np.ndarray, np.ndarray], float], column: Column) -> SampleMetric:
    """The mean of a metric of two images over the generated frames."""
    return SampleMetric(
        name=column.name,
        version="1",
        columns=(column,),
        reference=lambda real, first: real[first:],
        measure=lambda real, generated, first: {column.name: float(np.mean([image_metric(a, b) for a, b in zip(real, generated[first:], strict=True)]))},
    )


register(_mean(psnr, Column("psnr", "higher", "dB", "How near each generated frame is to the real one, pixel by pixel.", 2, 0.5)))
register(_mean(ssim, Column("ssim", "higher", "", "How much of the local structure of each real frame the generated frame has (1 = the same).", 4, 0.01)))
