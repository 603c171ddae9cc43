"""What is kept of a topic's messages: when each came and where it lies, telemetry's numbers, no pictures."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from cosmos_ops.logs.bags.messages import raw_bytes
from cosmos_ops.logs.bags.pictures import picture
from cosmos_ops.logs.bags.storage import Channel, Damaged
from cosmos_ops.logs.bags.streams import codec_of, decode_stream, part

_SIZE_TRIES = 5
"""Access units that are decoded at most to learn how large a stream's pictures are."""
_MOST_TEXTS = 100
_MOST_TEXT_CHARACTERS = 20_000


class Refused(Damaged):
    """A message of a kind that is not read, though whole."""


@dataclass(eq=False)
class Topic:
    """What one topic of a bag holds. Entry i of each array is message i in the order of the file."""

    channel: Channel
    meaning: str
    log_ns: array = field(default_factory=partial(array, "q"))
    stamp_ns: array = field(default_factory=partial(array, "q"))
    """0 where a message carries no time."""
    places: array = field(default_factory=partial(array, "q"))
    """Three a message: the file's number in the bag and the place in it."""
    damaged: int = 0
    """Messages that could not be read; they have no entry."""
    damage: str | None = None
    """What was wrong with the first of them."""
    refusal: str | None = None
    """Why the topic cannot be used at all."""

    encoding: str = ""
    """Cameras: codec or encoding of the pictures."""
    size_px: tuple[int, int] = (0, 0)
    """Cameras: height and width."""
    size_tries: int = 0
    entries: bytearray = field(default_factory=bytearray)
    """Streams: 1 where decoding can begin."""
    shown: bytearray = field(default_factory=bytearray)
    """Streams: 1 where the message shows something."""

    names: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Telemetry: the different lists of joint names, numbered; the empty one where joints have no names."""
    named: array = field(default_factory=partial(array, "q"))
    """Telemetry: the number of each message's list of names."""
    values: array = field(default_factory=partial(array, "d"))
    """Telemetry: the numbers of all messages, one after the other."""
    lengths: array = field(default_factory=partial(array, "q"))
    """Telemetry: how many of `values` are each message's."""
    quantity: str = ""
    """Telemetry of joints: `position`, `velocity` or `effort`."""

    texts: list[str] = field(default_factory=list)
    """Text: the different ones, in order."""

    def __len__(self) -> int:
        return len(self.log_ns)


def _image(topic: Topic, content) -> None:
    found = picture(content)
    if found.refusal:
        raise Refused(found.refusal)
    if not found.whole:
        raise Damaged("the picture is cut short")
    if not topic.encoding:
        topic.encoding, topic.size_px = found.encoding, (found.height, found.width)


def _joints(topic: Topic, content) -> None:
    try:
        names = tuple(str(name) for name in content.name)
        held = {quantity: np.asarray(getattr(content, quantity, ()), np.float64).ravel() for quantity in ("position", "velocity", "effort")}
    except (AttributeError, TypeError, ValueError) as error:
        raise Damaged(f"it holds no joints ({error})") from None
    topic.quantity = topic.quantity or next((quantity for quantity, values in held.items() if len(values)), "")
    values = held.get(topic.quantity, np.zeros(0))
    if len(values) == 0 or (names and len(names) != len(values)):
        raise Damaged(f"it has {len(names)} joint names and {len(values)} values of {topic.quantity or 'position'}")
    _row(topic, names, values)


def _numbers(topic: Topic, content) -> None:
    try:
        values = np.asarray(content.data, np.float64).ravel()
    except (AttributeError, TypeError, ValueError) as error:
        raise Damaged(f"it holds no numbers ({error})") from None
    if len(values) == 0:
        raise Damaged("it holds no numbers")
    _row(topic, (), values)


def _row(topic: Topic, names: tuple[str, ...], values: np.ndarray) -> None:
    topic.named.append(topic.names.setdefault(names, len(topic.names)))
    topic.values.frombytes(values.tobytes())
    topic.lengths.append(len(values))


def _text(topic: Topic, content) -> None:
    text = getattr(content, "data", None)
    if not isinstance(text, str):
        raise Damaged("it holds no text")
    text = text[:_MOST_TEXT_CHARACTERS]
    if text not in topic.texts and len(topic.texts) < _MOST_TEXTS:
        topic.texts.append(text)


def _video(topic: Topic, content) -> None:
    declared = str(getattr(content, "format", ""))
    codec = codec_of(declared)
    if codec is None or topic.encoding not in ("", codec):
        raise Refused(f"its video is in {declared[:40] or 'no declared codec'}, known are h264 and h265, one in a topic")
    data = raw_bytes(getattr(content, "data", None))
    shown, entry = part(codec, data)
    if not topic.entries and not entry:
        raise Damaged("it needs an earlier picture, which the recording does not hold")
    if entry and shown and topic.size_px == (0, 0) and topic.size_tries < _SIZE_TRIES:
        topic.size_tries += 1
        frame = next(decode_stream(codec, [(0, data)], threads=1), (0, None))[1]
        topic.size_px = (frame.height, frame.width) if frame is not None else (0, 0)
    topic.encoding = codec
    topic.entries.append(entry)
    topic.shown.append(shown)


READ: dict[str, Callable[[Topic, Any], None]] = {"image": _image, "video": _video, "joints": _joints, "numbers": _numbers, "text": _text}
"""Meaning -> takes what is kept of a message of that meaning; raises `Damaged`, having taken nothing."""
