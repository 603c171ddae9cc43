"""A picture of a drop's clips as they were written: what training will see."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cosmos_ops.shards.decode import decode_clip
from cosmos_ops.shards.plan import window_numbers
from cosmos_ops.shards.tar import Extent, read_extent
from cosmos_ops.video.filmstrip import filmstrip_png

_CLIPS, _FRAMES, _HEIGHT_PX = 6, 6, 72


def write_strip(folder: Path, rows: list[dict], path: Path) -> None:
    """Draw 6 frames of 6 clips, spread evenly over a drop's index rows, with their captions. Equal shards give equal bytes.

    Of clips with 6 keyframes or more only 6 are decoded: a drop of few large clips would else spend a third of its time on this picture.
    """
    with ThreadPoolExecutor(_CLIPS) as pool:
        lines = list(pool.map(lambda place: _line(folder, rows[place]), window_numbers(len(rows), _CLIPS)))
    filmstrip_png(lines, path, _HEIGHT_PX)


def _line(folder: Path, row: dict) -> tuple[str, np.ndarray]:
    """Label and frames of one clip."""
    video = read_extent(folder / row["shard"], Extent(row["offset_bytes"], row["size_bytes"])).members["mp4"]
    frames = decode_clip(video, keyframes=_FRAMES, height=_HEIGHT_PX)
    label = f"episode {row['index']}, {row['camera']}, window {row['window']}, {row['split']}: {row['caption']}"
    return label, frames[np.array(window_numbers(len(frames), _FRAMES))]
