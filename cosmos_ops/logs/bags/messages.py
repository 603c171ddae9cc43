"""Payloads to messages: what a topic's type means here, and a decoder for each encoding.

Only the types listed in `MEANING` are ever decoded, ROS ones by the definitions that come with `rosbags`, never by those in the file: `rosbags`
turns definitions into Python code and runs it, and a file is input from outside.
"""

import base64
import binascii
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from cosmos_ops.logs.bags.storage import Channel, Damaged
from cosmos_ops.logs.bounded_json import parse_json

MEANING = {
    "sensor_msgs/Image": "image",
    "sensor_msgs/CompressedImage": "image",
    "foxglove.RawImage": "image",
    "foxglove.CompressedImage": "image",
    "foxglove.CompressedVideo": "video",
    "foxglove_msgs/RawImage": "image",
    "foxglove_msgs/CompressedImage": "image",
    "foxglove_msgs/CompressedVideo": "video",
    "sensor_msgs/JointState": "joints",
    "std_msgs/Float64MultiArray": "numbers",
    "std_msgs/Float32MultiArray": "numbers",
    "std_msgs/String": "text",
}
"""Type -> what it is to us. The rest is counted, not read."""
_FOXGLOVE = {
    "foxglove_msgs/msg/CompressedImage": "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
    "foxglove_msgs/msg/CompressedVideo": "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
    "foxglove_msgs/msg/RawImage": (
        "builtin_interfaces/Time timestamp\nstring frame_id\nuint32 width\nuint32 height\nstring encoding\nuint32 step\nuint8[] data\n"
    ),
}
"""Foxglove's ROS 2 types, which no ROS distribution brings."""
_MOST_DEFINITION_BYTES = 4 << 20
_SECONDS, _NANOSECONDS = ("sec", "secs", "seconds"), ("nanosec", "nsec", "nsecs", "nanos")
LATEST_NS = 2**62 - 1
"""Year 2116: sums of two times stay within 64 bits."""

Decoder = Callable[[bytes | memoryview], Any]


def meaning(channel: Channel) -> str | None:
    """`image`, `video`, `joints`, `numbers` or `text` for messages that can be read, None for others."""
    found = MEANING.get(channel.schema)
    return found if channel.encoding in _DECODERS else None


@functools.lru_cache(maxsize=256)
def decoder(channel: Channel) -> Decoder:
    """Turns a payload into an object with the message's fields as attributes; raises `Damaged`, also while decoding."""
    return _DECODERS[channel.encoding](channel)


def stamp_ns(message: Any) -> int:
    """The time that a message carries in its header or timestamp, ns; 0 where it carries none."""
    stamp = getattr(getattr(message, "header", None), "stamp", None) or getattr(message, "timestamp", None)
    try:
        seconds, nanoseconds = (next((getattr(stamp, name) for name in names if hasattr(stamp, name)), 0) for names in (_SECONDS, _NANOSECONDS))
        value = int(seconds) * 10**9 + int(nanoseconds)
    except (TypeError, ValueError, OverflowError):
        return 0
    return value if 0 < value <= LATEST_NS else 0


def raw_bytes(value: Any) -> bytes | memoryview:
    """A field of bytes: an array from ROS, bytes from protobuf, base64 text from JSON. Raises `Damaged`."""
    if isinstance(value, np.ndarray):
        return memoryview(np.ascontiguousarray(value)).cast("B")
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise Damaged("its data are not base64") from None
    if isinstance(value, bytes | memoryview):
        return value
    raise Damaged("its data are not bytes")


def _cdr(channel: Channel) -> Decoder:
    from rosbags.typesys import Stores

    return _ros(channel, _store(Stores.ROS2_HUMBLE.value), "deserialize_cdr")


def _ros1(channel: Channel) -> Decoder:
    from rosbags.typesys import Stores

    return _ros(channel, _store(Stores.ROS1_NOETIC.value), "deserialize_ros1")


def _ros(channel: Channel, store, method: str) -> Decoder:
    from rosbags.serde import SerdeError

    name = "/msg/".join(channel.schema.rsplit("/", 1))
    deserialize = getattr(store, method)

    def decode(payload: bytes | memoryview) -> Any:
        try:
            return deserialize(payload, name)
        except (SerdeError, LookupError, TypeError, OverflowError, MemoryError) as error:
            raise Damaged(" ".join(str(error).split()) or type(error).__name__) from None

    return decode


@functools.cache
def _store(name: str):
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores(name))
    for type_name, text in _FOXGLOVE.items():
        store.register(get_types_from_msg(text, type_name))
    return store


def _json(channel: Channel) -> Decoder:
    def decode(payload: bytes | memoryview) -> Any:
        try:
            return parse_json(bytes(payload), object_hook=lambda fields: SimpleNamespace(**fields))
        except (ValueError, TypeError) as error:
            raise Damaged(f"it is no JSON ({error})") from None

    return decode


def _protobuf(channel: Channel) -> Decoder:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError

    try:
        if len(channel.definition) > _MOST_DEFINITION_BYTES:
            raise Damaged(f"its definition has {len(channel.definition)} bytes")
        files, pool = descriptor_pb2.FileDescriptorSet.FromString(bytes(channel.definition)), descriptor_pool.DescriptorPool()
        waiting = {file.name: file for file in files.file}
        while waiting:  # a file goes in after those that it imports
            ready = [name for name, file in waiting.items() if not waiting.keys() & set(file.dependency)]
            if not ready:
                raise Damaged("the files of its definition import each other")
            for name in ready:
                pool.Add(waiting.pop(name))
        described = pool.FindMessageTypeByName(channel.schema)
        if _repeats(described, set()):
            raise Damaged("its definition is not Foxglove's: a field in it repeats")
        parse = message_factory.GetMessageClass(described).FromString
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"its definition cannot be used ({' '.join(str(error).split())})") from None

    def decode(payload: bytes | memoryview) -> Any:
        try:
            return parse(bytes(payload))
        except (DecodeError, ValueError) as error:
            raise Damaged(f"it is no {channel.schema} ({error})") from None

    return decode


def _repeats(described, seen: set[str]) -> bool:
    """Whether a type holds lists, of which two bytes of a payload can make an object each. None of Foxglove's types that are read here does."""
    seen.add(described.full_name)
    if any(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED for field in described.fields):  # protobuf 5
        return True
    return any(_repeats(field.message_type, seen) for field in described.fields if field.message_type and field.message_type.full_name not in seen)


_DECODERS: dict[str, Callable[[Channel], Decoder]] = {"cdr": _cdr, "ros1": _ros1, "json": _json, "protobuf": _protobuf}
