"""A chat request: words, then pictures in the order of time."""

import base64
from typing import Any

import cv2
import numpy as np

from cosmos_ops.chat.settings import ChatSettings

_JPEG_QUALITY = 90


def request(settings: ChatSettings, words: str, pictures: list[str], **fields: Any) -> dict[str, Any]:
    """Temperature 0. `pictures` are data URLs; `fields` go beside the usual ones, and `settings.extra` over all."""
    content = [{"type": "text", "text": words}, *({"type": "image_url", "image_url": {"url": url}} for url in pictures)]
    usual = {"model": settings.model, "messages": [{"role": "user", "content": content}], "max_tokens": settings.answer_tokens, "temperature": 0}
    return {name: value for name, value in (usual | fields | settings.extra).items() if value is not None}


def data_url(image: np.ndarray) -> str:
    """An RGB picture, uint8 [H, W, 3], as a JPEG in a URL."""
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done, image.shape
    return f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"
