"""What decoding gives: frames with their time, or the reason why there are none."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TimedFrame:
    """One decoded frame. `image` is an `av.VideoFrame`; `time_s` is on the episode's clock."""

    time_s: float
    image: Any


class UnreadableVideo(Exception):
    """A camera's pixels cannot be decoded; the message says why in one line."""
