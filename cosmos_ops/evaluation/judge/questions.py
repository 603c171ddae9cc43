"""From a video to the request a judge gets."""

import base64
import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosmos_ops.evaluation.samples import spread
from cosmos_ops.hashing import digest
from cosmos_ops.profiles import JudgeSettings

_JPEG_QUALITY = 90


@functools.cache
def rubric(name: str) -> str:
    """The text of a rubric: `instruction_following` or `physics`."""
    return (Path(__file__).parent / "rubrics" / f"{name}.txt").read_text()


def question(name: str, prompt: str, frames: np.ndarray, fps: float, settings: JudgeSettings, seed: int) -> dict[str, Any]:
    """A chat request about a video, uint8 [T, H, W, 3]: temperature 0, the rubric, then pictures in the order of time."""
    shown = spread(list(frames), settings.frames)
    words = rubric(name).format(frames=len(shown), seconds=f"{(len(frames) - 1) / fps:.1f}", prompt=prompt)
    pictures = [{"type": "image_url", "image_url": {"url": _data_url(_fitted(frame, settings.image_px))}} for frame in shown]
    request = {
        "model": settings.model,
        "temperature": 0,
        "seed": seed,
        "max_tokens": settings.answer_tokens,
        "messages": [{"role": "user", "content": [{"type": "text", "text": words}, *pictures]}],
    }
    merged = request | settings.extra
    return {field: value for field, value in merged.items() if value is not None}


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


def _data_url(frame: np.ndarray) -> str:
    done, jpeg = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done, frame.shape
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
