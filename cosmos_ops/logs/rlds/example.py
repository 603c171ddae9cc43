"""`tf.train.Example`, taken from its file piece by piece: a record's pictures are found without holding the record.

    Example   { Features features = 1 }
    Features  { repeated { string key = 1; Feature value = 2 } feature = 1 }
    Feature   { BytesList = 1 | FloatList = 2 | Int64List = 3 }, each { repeated value = 1 }, numbers packed or not

The wire format is that of Protocol Buffers; what a writer of Examples never produces is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cosmos_ops.logs.rlds.tfrecord import Damaged, PlacedFile, Record

BYTES, FLOATS, INTEGERS = "bytes", "floats", "integers"
MOST_SERIES_BYTES = 64 << 20
"""More numbers than this are not read: a shape is cheap to declare."""
_MOST_FEATURES, _MOST_VALUES, _MOST_NAME_BYTES = 10_000, 1_000_000, 1_000
_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5
_KINDS = {1: BYTES, 2: FLOATS, 3: INTEGERS}


@dataclass(frozen=True)
class Values:
    """One feature's list, where it lies."""

    kind: str
    """`BYTES`, `FLOATS` or `INTEGERS`."""
    start: int
    stop: int


def read_features(file: PlacedFile, record: Record) -> dict[str, Values]:
    """The features of the Example in a record, by name; an empty one is left out. Raises `Damaged`."""
    found: dict[str, Values] = {}
    for features_start, features_stop in _messages(file, record.start, record.stop, 1):
        for start, stop in _messages(file, features_start, features_stop, 1):
            name, values = _entry(file, start, stop)
            if name in found or len(found) >= _MOST_FEATURES:
                raise Damaged(f"{file.name}: the record at byte {record.start} has a feature twice, or more than {_MOST_FEATURES}")
            if values is not None:
                found[name] = values
    return found


def pieces(file: PlacedFile, values: Values) -> list[tuple[int, int]]:
    """(start, stop) of each value of a list of bytes. Raises `Damaged`, also where it is another list."""
    if values.kind != BYTES:
        raise Damaged(f"{file.name}: {values.kind} where bytes are needed")
    return list(_messages(file, values.start, values.stop, 1))


def numbers(file: PlacedFile, values: Values) -> np.ndarray:
    """[N] float32 or int64. Raises `Damaged`, also where it is a list of bytes or too long."""
    if values.kind == BYTES:
        raise Damaged(f"{file.name}: bytes where numbers are needed")
    if values.stop - values.start > MOST_SERIES_BYTES:
        raise Damaged(f"{file.name}: a series of {values.stop - values.start} bytes, at most {MOST_SERIES_BYTES} are read")
    content = b"".join(_packed(file, values))
    if values.kind == INTEGERS:
        return _varints(file, content)
    if len(content) % 4:
        raise Damaged(f"{file.name}: {len(content)} bytes are no list of numbers")
    return np.frombuffer(content, "<f4").astype(np.float32)


def _entry(file: PlacedFile, start: int, stop: int) -> tuple[str, Values | None]:
    name, values = "", None
    for number, wire, inner_start, inner_stop in _fields(file, start, stop):
        if wire != _SIZED or number not in (1, 2):
            raise _no_example(file, start)
        if number == 1:
            if inner_stop - inner_start > _MOST_NAME_BYTES:
                raise _no_example(file, start)
            name = file.at(inner_start, inner_stop - inner_start).decode(errors="replace")
        else:
            for kind, wire, list_start, list_stop in _fields(file, inner_start, inner_stop):
                if wire != _SIZED or kind not in _KINDS or values is not None:
                    raise _no_example(file, start)
                values = Values(_KINDS[kind], list_start, list_stop) if list_stop > list_start else None
    return name, values


def _messages(file: PlacedFile, start: int, stop: int, number: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of each value in a message that has only this field, repeated."""
    for found, wire, inner_start, inner_stop in _fields(file, start, stop):
        if found != number or wire != _SIZED:
            raise _no_example(file, start)
        yield inner_start, inner_stop


def _packed(file: PlacedFile, values: Values) -> Iterator[bytes]:
    alone = _FIXED32 if values.kind == FLOATS else _VARINT
    for number, wire, start, stop in _fields(file, values.start, values.stop):
        if number != 1 or wire not in (_SIZED, alone):
            raise _no_example(file, values.start)
        yield file.at(start, stop - start)


def _fields(file: PlacedFile, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start and stop of the value) of every field of a message."""
    place, count = start, 0
    while place < stop:
        head = file.at(place, min(20, stop - place))
        tag, used = _varint(file, head, 0, place)
        number, wire = tag >> 3, tag & 7
        if wire == _SIZED:
            size, used = _varint(file, head, used, place)
        elif wire == _VARINT:
            size = _varint(file, head, used, place)[1] - used
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise _no_example(file, place)
        count += 1
        if number == 0 or size > stop - place - used or count > _MOST_VALUES:
            raise _no_example(file, place)
        yield number, wire, place + used, place + used + size
        place += used + size


def _varint(file: PlacedFile, content: bytes, used: int, place: int) -> tuple[int, int]:
    """(value, bytes used so far) of the base-128 number at `used`."""
    value = 0
    for shift, byte in enumerate(content[used : used + 10]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, used + shift + 1
    raise _no_example(file, place)


def _varints(file: PlacedFile, content: bytes) -> np.ndarray:
    """[N] int64 from base-128 numbers, one after the other."""
    raw = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    if len(raw) and (not len(ends) or ends[-1] != len(raw) - 1 or (ends - starts).max() > 9):
        raise Damaged(f"{file.name}: a list of whole numbers is damaged")
    values = np.zeros(len(ends), np.uint64)
    for place in range(10):
        there = starts + place <= ends
        values[there] |= (raw[starts[there] + place] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * place)
    return values.view(np.int64)


def _no_example(file: PlacedFile, place: int) -> Damaged:
    return Damaged(f"{file.name}: what lies at byte {place} is no part of a tf.train.Example")
