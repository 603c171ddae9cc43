"""ROS 1 bags (format 2.0), read in the order of their records: a bag whose recorder was killed has no index and reads all the same.

Format: http://wiki.ros.org/Bags/Format/2.0. A record is a header of `name=value` fields and data, each with its length (4 bytes) before it.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from cosmos_ops.logs.bags.storage import MOST_CHUNK_BYTES, MOST_CHUNK_RECORDS, Channel, Damaged, Message, RecordFile, Wanted, inflate, plain_name, plain_schema

_LENGTH = struct.Struct("<I")
_MESSAGE, _BAG, _CHUNK, _CONNECTION = 2, 3, 5, 7
_KNOWN = range(2, 8)
_MOST_HEADER_BYTES = 2**24
_TOP_LEVEL = -1

_Header = dict[bytes, bytes]


class Rosbag1File(RecordFile):
    """See `storage.Storage`. A place is (offset of the chunk in the file or -1, offset of the message's record in it)."""

    def __init__(self, path: Path):
        super().__init__(path, "ros1")
        self._channels: dict[int, Channel] = {}
        version = self._file.readline(64).strip()
        self._start = self._file.tell()
        if version != b"#ROSBAG V2.0":
            self._file.close()
            raise Damaged(f"the bag is of version {version[9:].decode(errors='replace')}, only 2.0 is read; convert it with rosbag migrate")

    def walk(self, wanted: Wanted) -> Iterator[Message]:
        at = self._start
        while at < self._size:
            try:
                header, data_at, length = self._head(at)
            except Damaged as error:
                self.damage.append(f"{error}, at byte {at}: what follows is lost")
                return
            kind, whole = header[b"op"][0], data_at + length <= self._size
            if kind == _BAG:
                self._check(header)
            elif kind == _CHUNK:
                try:
                    for offset, inner, data in _records(self._load_chunk(at)):
                        yield from self._record(inner, data, (at, offset), wanted)
                except Damaged as error:
                    self.damage.append(f"{error}, at byte {at}")
            elif whole and kind in (_MESSAGE, _CONNECTION):
                yield from self._record(header, memoryview(self._read(data_at, length)), (_TOP_LEVEL, at), wanted)
            if not whole:
                self.damage.append(f"the file is cut short: its last record ends {data_at + length - self._size} bytes after it")
                return
            at = data_at + length

    def payload(self, place: tuple[int, int]) -> memoryview:
        chunk, offset = place
        if chunk == _TOP_LEVEL:
            _, data_at, length = self._head(offset)
            return memoryview(self._read(data_at, length))
        found = next(_records(self._chunk(chunk), offset), None)
        if found is None:
            raise Damaged(f"the chunk at byte {chunk} reads differently than before")
        return found[2]

    def _check(self, header: _Header) -> None:
        if header.get(b"encryptor"):
            raise Damaged(f"the bag is encrypted ({header[b'encryptor'].decode(errors='replace')})")
        if header.get(b"index_pos", b"\0").strip(b"\0") == b"":
            self.damage.append("the bag was not closed by its recorder; it is read from the start as far as it goes")

    def _record(self, header: _Header, data: memoryview, place: tuple[int, int], wanted: Wanted) -> Iterator[Message]:
        kind, number = (header.get(b"op") or b"\0")[0], header.get(b"conn", b"")
        if len(number) != 4 or kind not in (_MESSAGE, _CONNECTION):
            return
        (number,) = _LENGTH.unpack(number)
        if kind == _CONNECTION:
            if number not in self._channels:
                fields = _fields(data)
                topic, schema = header.get(b"topic", fields.get(b"topic", b"")), fields.get(b"type", b"")
                self._channels[number] = Channel(plain_name(topic.decode(errors="replace")), plain_schema(schema.decode(errors="replace")), "ros1")
            return
        channel, time = self._channels.get(number), header.get(b"time", b"")
        if channel is not None and len(time) == 8:
            seconds, nanoseconds = struct.unpack("<II", time)
            yield Message(channel, seconds * 10**9 + nanoseconds, place, data if wanted(channel) else None)

    def _load_chunk(self, at: int) -> bytes:
        header, data_at, length = self._head(at)
        size, whole = header.get(b"size", b""), data_at + length <= self._size
        if len(size) != 4:
            raise Damaged("a chunk does not say how large it is")
        data = inflate(
            self._read(data_at, min(length, MOST_CHUNK_BYTES)), header.get(b"compression", b"none").decode(errors="replace"), _LENGTH.unpack(size)[0]
        )
        if whole and len(data) != _LENGTH.unpack(size)[0]:
            raise Damaged("a chunk's content is not what was written")
        return data

    def _head(self, at: int) -> tuple[_Header, int, int]:
        """(header, offset of the data, its length) of the record at byte `at`. Raises `Damaged`."""
        raw = self._read(at, 4)
        length = _LENGTH.unpack(raw)[0] if len(raw) == 4 else 0
        if length > _MOST_HEADER_BYTES:
            raise Damaged("a record's header makes no sense")
        raw = self._read(at + 4, length + 4)
        if len(raw) < 4 or len(raw) < length + 4:
            raise Damaged("the file is cut short")
        header = _fields(memoryview(raw)[:length])
        if len(header.get(b"op", b"")) != 1 or header[b"op"][0] not in _KNOWN:
            raise Damaged("what should be a record is none")
        return header, at + 8 + length, _LENGTH.unpack(raw[length:])[0]


def _records(buffer: bytes, at: int = 0) -> Iterator[tuple[int, _Header, memoryview]]:
    """(offset, header, data) of the records in a chunk; ends before one that is cut off. Raises `Damaged`, also while iterating."""
    view, count = memoryview(buffer), 0
    while at + 4 <= len(view):
        (length,) = _LENGTH.unpack_from(view, at)
        data_at = at + 8 + length
        if data_at > len(view):
            return
        count += 1
        if length == 0 or count > MOST_CHUNK_RECORDS:
            raise Damaged("a chunk holds what is no record" if length == 0 else f"a chunk holds more than {MOST_CHUNK_RECORDS} records")
        (data_length,) = _LENGTH.unpack_from(view, data_at - 4)
        if data_at + data_length > len(view):
            return
        yield at, _fields(view[at + 4 : at + 4 + length]), view[data_at : data_at + data_length]
        at = data_at + data_length


def _fields(raw: memoryview) -> _Header:
    """Fields of a header, as far as they make sense."""
    fields, at = {}, 0
    while at + 4 <= len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        name, found, value = bytes(raw[at + 4 : at + 4 + length]).partition(b"=")
        if not found:
            break
        fields[name] = value
        at += 4 + length
    return fields
