"""Motion against the real continuation: how much moves (`motion_ratio`) and whether the same things move alike (`motion_epe`)."""

import cv2
import numpy as np

from cosmos_ops.evaluation.metrics.base import Column, SampleMetric, register

MAX_HEIGHT_PX = 256
"""Flow is measured on luma brought to at most this height by area averaging; vectors are given in px of the clip's own geometry."""
FLOOR_PX = 0.02
"""Added to both magnitudes of the ratio, so that a scene in which nothing moves has a ratio near 1 and not 0/0."""


def optical_flow(frames: np.ndarray) -> np.ndarray:
    """Dense flow between neighbouring frames: uint8 [T, H, W, 3] -> float32 [T - 1, h, w, 2] in px of the given frames.

    Dense inverse search (Kroeger, Timofte, Dai, Van Gool, "Fast optical flow using dense inverse search", ECCV 2016), OpenCV's
    medium preset; h, w as `MAX_HEIGHT_PX` says.
    """
    height, width = frames.shape[1:3]
    scale = min(1.0, MAX_HEIGHT_PX / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    luma = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    if scale < 1:
        luma = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in luma]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    to_px = np.array([width / size[0], height / size[1]], np.float32)
    return np.stack([search.calc(before, after, None) * to_px for before, after in zip(luma, luma[1:], strict=False)])


def _reference(real: np.ndarray, first: int) -> np.ndarray:
    # From the last conditioning frame on: the step into the first generated frame is the model's too.
    return optical_flow(real[first - 1 :])


def _measure(real_flow: np.ndarray, generated: np.ndarray, first: int) -> dict[str, float]:
    flow = optical_flow(generated[first - 1 :])
    moved, real_moved = (float(np.mean(np.linalg.norm(field, axis=-1), dtype=np.float64)) for field in (flow, real_flow))
    error = float(np.mean(np.linalg.norm(flow - real_flow, axis=-1), dtype=np.float64))
    return {"motion_ratio": (moved + FLOOR_PX) / (real_moved + FLOOR_PX), "motion_epe": error}


register(
    SampleMetric(
        name="motion",
        version="1",
        columns=(
            Column("motion_ratio", "one", "", "Mean optical-flow magnitude, generated over real: below 1 moves too little, above 1 too much.", 3, 0.1),
            Column("motion_epe", "lower", "px/frame", "Mean distance between the flow vectors of the generated and the real video.", 3, 0.1),
        ),
        reference=_reference,
        measure=_measure,
    )
)
