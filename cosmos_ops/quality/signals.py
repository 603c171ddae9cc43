"""What pixels say about a camera: pure functions on small luma frames, [N, h, w] uint8, 0 black and 255 white."""

import cv2
import numpy as np

from cosmos_ops.profiles import QualitySettings

FINE, BLACK, CONSTANT, EXPOSURE, BLUR = range(5)
"""What a frame is. One that is several things is the first of them that explains the others."""
CODES = {BLACK: "black", CONSTANT: "constant", EXPOSURE: "exposure", BLUR: "blur"}
_CELLS = (6, 8)
_WHITE = 245
_BAR_LUMA = 24
"""Bars are black, up to what a compressor makes of it."""
_REBLUR_PX = 9
_UNRELATED = 2 / np.pi**0.5
"""Mean absolute difference of two independent normal values of deviation 1."""
_OUT_OF_STILLNESS, _TWICE, _MUCH = 6.3, 2.1, 0.5
"""Ratios of a step to those around it, and the part of what unrelated pictures differ by that counts as another picture."""
_COVERED = 0.92
"""Where this much of one picture is in the other, something was in the way in the other."""
_UNSURE, _SURE = 0.075, 0.02
"""How much less may be found again where the step is not so much larger than those around it, as of a wrist that is quick all the time, and how much
more where the whole picture changed."""
_UNSURE_CHANGE, _SURE_CHANGE = 0.55, 0.7
"""There the picture must change by this much, too: quick wrists reach 0.54 at such a step, cuts 0.62 and more. From the second on it is sure again: where
good recordings change as much, 0.86 of the picture is found again."""
_BLOCK_PX, _REACH_PX, _LEAST_BLOCK_CONTRAST = 8, 12, 3.0


def mean_luma(luma: np.ndarray) -> float:
    """Mean brightness, 0..255."""
    return float(luma.mean())


def black_fraction(luma: np.ndarray, black_luma: float) -> float:
    """Fraction of frames, 0..1, whose mean luma is below `black_luma`."""
    return float((luma.mean(axis=(1, 2)) < black_luma).mean())


def frozen_fraction(luma: np.ndarray, difference: float, lag: int = 1) -> float:
    """Fraction of steps of `lag` frames, 0..1, in which nothing moved; 0 for too few frames."""
    still = still_steps(luma, difference, lag)
    return float(still.mean()) if len(still) else 0.0


def still_steps(luma: np.ndarray, difference: float, lag: int = 1) -> np.ndarray:
    """[N - lag] bool: nothing moved from frame i to frame i + lag.

    A step is still when the mean absolute difference stays below `difference` in every cell of a 6 x 8 grid: a static camera that sees a small or
    distant robot move is not frozen, and compression noise, which is everywhere, is not motion.
    """
    change = [np.abs(after.astype(np.int16) - before) for before, after in zip(luma[:-lag], luma[lag:], strict=True)]
    return np.array([_cells(step).max() < difference for step in change], bool)


def blur(gray: np.ndarray) -> float:
    """How blurred a picture [H, W] is, 0 sharp .. 1: how little blurring it again takes from it.

    Crete et al., "The blur effect: perception and estimation with a new no-reference perceptual blur metric", SPIE 6492 (2007); 1 without any detail.
    """
    picture, worst = gray.astype(np.float32), 0.0
    for axis, kernel in ((0, (1, _REBLUR_PX)), (1, (_REBLUR_PX, 1))):
        detail = np.abs(np.diff(picture, axis=axis))
        lost = np.maximum(0.0, detail - np.abs(np.diff(cv2.blur(picture, kernel), axis=axis)))
        total = float(detail.sum())
        worst = max(worst, 1.0 - float(lost.sum()) / total if total > 0 else 1.0)
    return worst


def classify(luma: np.ndarray, blurred: np.ndarray, settings: QualitySettings) -> np.ndarray:
    """[N] what each frame is, one of `FINE` ... `BLUR`; `blurred` is [N], each frame's `blur`."""
    mean, contrast = luma.mean(axis=(1, 2)), luma.std(axis=(1, 2))
    lit = np.maximum((luma > _BAR_LUMA).mean(axis=(1, 2)), 0.25)  # what is not bars
    white, bright = (luma >= _WHITE).mean(axis=(1, 2)) / lit, np.where(luma > _BAR_LUMA, luma, 0).mean(axis=(1, 2)) / lit
    dark = np.percentile(luma, 98, axis=(1, 2)) < settings.under_luma if len(luma) else np.zeros(0, bool)
    kinds = np.full(len(luma), FINE)
    for kind, flags in (
        (BLUR, np.asarray(blurred) > settings.max_blur),
        (EXPOSURE, (white > settings.max_white_area) | (bright > settings.over_luma) | dark),
        (CONSTANT, (contrast < settings.least_contrast) & (mean < _WHITE)),
        (BLACK, mean < settings.black_luma),
    ):
        kinds[flags] = kind
    return kinds


def scene_cuts(luma: np.ndarray, times_s: np.ndarray, kinds: np.ndarray, settings: QualitySettings) -> list[int]:
    """Places i such that the scene changes between frame i and frame i + 1.

    At a cut the step is larger than those around it and nothing of one picture is found in the other: its parts are neither where they were nor near
    by. A hand that comes into view leaves other parts as they are, and a camera that is moved takes them along. For a step far larger than those around
    it its size is enough.
    """
    if len(luma) < 4:
        return []
    steps = np.array([np.abs(after.astype(np.int16) - before).mean() for before, after in zip(luma[:-1], luma[1:], strict=True)])
    cuts, passed_s = [], np.maximum(np.diff(times_s), 1e-3)
    for place in np.flatnonzero(steps > 4.0):
        near = np.array([other for other in range(max(0, place - 2), min(len(steps), place + 3)) if other != place])
        around = steps[near] * np.maximum(1.0, passed_s[place] / passed_s[near])  # more happens in more time
        ratio = steps[place] / max(1.0, around.max())
        before, after = luma[place].astype(np.float32), luma[place + 1].astype(np.float32)
        contrast = max(1.0, float(np.sqrt((before.var() + after.var()) / 2)))
        change = steps[place] / (_UNRELATED * contrast)
        if ratio < settings.cut_ratio or change < settings.cut_contrast or kinds[place : place + 2].any():
            continue
        if ratio > _OUT_OF_STILLNESS:
            cuts.append(int(place))
            continue
        kept, there = sorted((found_again(before, after), found_again(after, before)))
        everywhere = change > _MUCH and ratio > _TWICE and np.percentile(_cells(np.abs(after - before)), 25) > 0.2 * contrast
        limit = settings.cut_kept - (_UNSURE if ratio < _TWICE and change < _SURE_CHANGE else 0.0)
        changed = ratio >= _TWICE or change >= _UNSURE_CHANGE
        if (changed and kept < limit and there < _COVERED) or (everywhere and kept < settings.cut_kept + _SURE):
            cuts.append(int(place))
    return cuts


def found_again(before: np.ndarray, after: np.ndarray) -> float:
    """How much of one picture [H, W] is in another, at the same place or near by: 0 nothing .. 1 all; 1 where there is nothing to look for.

    Mean over the 8 x 8 blocks that show something, weighted by their contrast, of the best correlation within 12 pixels.
    """
    found = contrasts = 0.0
    before, after = before.astype(np.float32), after.astype(np.float32)
    for top in range(0, before.shape[0] - _BLOCK_PX + 1, _BLOCK_PX):
        for left in range(0, before.shape[1] - _BLOCK_PX + 1, _BLOCK_PX):
            block = before[top : top + _BLOCK_PX, left : left + _BLOCK_PX]
            contrast = float(block.std())
            if contrast >= _LEAST_BLOCK_CONTRAST:
                around = after[max(0, top - _REACH_PX) : top + _BLOCK_PX + _REACH_PX, max(0, left - _REACH_PX) : left + _BLOCK_PX + _REACH_PX]
                found += contrast * max(0.0, float(cv2.matchTemplate(around, block, cv2.TM_CCOEFF_NORMED).max()))
                contrasts += contrast
    return found / contrasts if contrasts else 1.0


def black_bars(gray: np.ndarray, least: float) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) rows and columns that are black in all of [N, H, W] pictures; 0 where there are no bars.

    Bars come in pairs of about the same size, each at least `least` of the side; anything else that is dark belongs to the scene.
    """
    if not len(gray):
        return 0, 0, 0, 0
    brightest = gray.max(axis=0)
    rows = _pair(np.percentile(brightest, 98, axis=1) <= _BAR_LUMA, least)
    columns = _pair(np.percentile(brightest[rows[0] : brightest.shape[0] - rows[1]], 98, axis=0) <= _BAR_LUMA, least)
    return (*rows, *columns)


def _pair(dark: np.ndarray, least: float) -> tuple[int, int]:
    if dark.all():
        return 0, 0
    first, last = int(np.argmin(dark)), int(np.argmin(dark[::-1]))
    paired = min(first, last) >= least * len(dark) and abs(first - last) <= max(2, 0.03 * len(dark))
    return (first, last) if paired else (0, 0)


def _cells(change: np.ndarray) -> np.ndarray:
    """[cells] mean over each cell of a 6 x 8 grid, from [h, w]."""
    rows = np.array_split(change, min(_CELLS[0], change.shape[0]), axis=0)
    return np.array([cell.mean() for row in rows for cell in np.array_split(row, min(_CELLS[1], change.shape[1]), axis=1)])
