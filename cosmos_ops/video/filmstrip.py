"""Film strips: labelled rows of frames in one PNG, for people to look at."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cosmos_ops.lake import atomic_write

_BACKGROUND, _TEXT = (24, 24, 24), (235, 235, 235)
_MARKS = {"accepted": (60, 170, 75), "rejected": (205, 60, 50)}
_GAP_PX, _LABEL_PX, _MIN_WIDTH_PX = 4, 20, 480
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


def filmstrip_png(rows: Sequence[tuple[str, Sequence[np.ndarray]]], path: Path, frame_height_px: int = 96, marks: Sequence[str | None] | None = None) -> None:
    """Write one PNG with a row a (label, frames) pair; frames are [H, W, 3] uint8 RGB and are scaled to `frame_height_px`.

    `marks` holds `accepted`, `rejected` or None a row and colours its left edge. A row without frames shows its label. Equal input gives equal bytes.
    """
    marks = marks or [None] * len(rows)
    strips = [[_scaled(frame, frame_height_px) for frame in frames] for _, frames in rows]
    labels = [_ascii(label) for label, _ in rows] or ["nothing to show"]
    widths = [sum(frame.shape[1] + _GAP_PX for frame in strip) for strip in strips] + [_text_width(label) for label in labels]
    width = 2 * _GAP_PX + 4 + max([_MIN_WIDTH_PX, *widths])
    lines = [_row(label, strip, mark, width) for label, strip, mark in zip(labels, strips or [[]], marks or [None], strict=True)]
    done, png = cv2.imencode(".png", np.concatenate(lines)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])
    assert done
    with atomic_write(path) as part:
        part.write_bytes(png.tobytes())


def _row(label: str, frames: list[np.ndarray], mark: str | None, width: int) -> np.ndarray:
    height = _LABEL_PX + (frames[0].shape[0] if frames else 0) + 2 * _GAP_PX
    canvas = np.full((height, width, 3), _BACKGROUND, np.uint8)
    if mark is not None:
        canvas[_GAP_PX:-_GAP_PX, :4] = _MARKS[mark]
    left = 4 + _GAP_PX
    cv2.putText(canvas, label, (left, _LABEL_PX - 5), _FONT, _FONT_SCALE, _TEXT, 1, cv2.LINE_AA)
    for frame in frames:
        canvas[_LABEL_PX + _GAP_PX : _LABEL_PX + _GAP_PX + frame.shape[0], left : left + frame.shape[1]] = frame
        left += frame.shape[1] + _GAP_PX
    return canvas


def _scaled(frame: np.ndarray, height_px: int) -> np.ndarray:
    width_px = max(1, round(frame.shape[1] * height_px / frame.shape[0]))
    smaller = height_px < frame.shape[0]
    return cv2.resize(frame, (width_px, height_px), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_NEAREST)


def _text_width(label: str) -> int:
    return cv2.getTextSize(label, _FONT, _FONT_SCALE, 1)[0][0]


def _ascii(label: str) -> str:
    """The built-in font draws ASCII only; anything else is shown as a question mark. Long labels are cut."""
    plain = label.encode("ascii", errors="replace").decode()
    return plain if len(plain) <= 160 else plain[:157] + "..."
