"""From a video to the request a judge gets."""

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosmos_ops.chat.request import data_url, request
from cosmos_ops.evaluation.samples import spread
from cosmos_ops.hashing import digest
from cosmos_ops.profiles import JudgeSettings


@functools.cache
def rubric(name: str) -> str:
    """The text of a rubric: `instruction_following` or `physics`."""
    return (Path(__file__).parent / "rubrics" / f"{name}.txt").read_text()


def question(name: str, prompt: str, frames: np.ndarray, fps: float, settings: JudgeSettings, seed: int) -> dict[str, Any]:
    """A chat request about a video, uint8 [T, H, W, 3]: temperature 0, the rubric, then pictures in the order of time."""
    shown = spread(list(frames), settings.frames)
    words = rubric(name).format(frames=len(shown), seconds=f"{(len(frames) - 1) / fps:.1f}", prompt=prompt)
    return request(settings, words, [data_url(_fitted(frame, settings.image_px)) for frame in shown], seed=seed)


def rubrics_version(settings: JudgeSettings) -> str:
    """Hash of everything that decides a reply but the video itself; the address does not."""
    texts = {name: rubric(name) for name in ("instruction_following", "physics")}
    return digest([texts, settings.model, settings.seeds, settings.frames, settings.image_px, settings.answer_tokens, settings.extra])


def _fitted(frame: np.ndarray, longer_px: int) -> np.ndarray:
    height, width = frame.shape[:2]
    scale = longer_px / max(height, width)
    if scale >= 1:
        return frame
    return cv2.resize(frame, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
