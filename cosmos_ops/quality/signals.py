"""What pixels say about a camera: pure functions on small luma frames, [N, h, w] uint8, 0 black and 255 white."""

import numpy as np

_CELLS = (6, 8)


def mean_luma(luma: np.ndarray) -> float:
    """Mean brightness, 0..255."""
    return float(luma.mean())


def black_fraction(luma: np.ndarray, black_luma: float) -> float:
    """Fraction of frames, 0..1, whose mean luma is below `black_luma`."""
    return float((luma.mean(axis=(1, 2)) < black_luma).mean())


def frozen_fraction(luma: np.ndarray, difference: float) -> float:
    """Fraction of steps from frame to frame, 0..1, in which nothing moved; 0 for fewer than two frames.

    A step is still when the mean absolute difference stays below `difference` in every cell of a 6 x 8 grid: a static camera that sees a small or
    distant robot move is not frozen, and compression noise, which is everywhere, is not motion.
    """
    if len(luma) < 2:
        return 0.0
    change = np.abs(np.diff(luma.astype(np.int16), axis=0))
    return float((_largest_cell(change) < difference).mean())


def _largest_cell(change: np.ndarray) -> np.ndarray:
    """[N] largest mean over the cells of a grid, from [N, h, w]."""
    rows = np.array_split(change, min(_CELLS[0], change.shape[1]), axis=1)
    cells = [cell.mean(axis=(1, 2)) for row in rows for cell in np.array_split(row, min(_CELLS[1], change.shape[2]), axis=2)]
    return np.max(cells, axis=0)
