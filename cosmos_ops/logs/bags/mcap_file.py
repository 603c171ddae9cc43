"""MCAP files, read in the order of their records: a file without its index, or with its end cut off, reads as far as it goes.

Format: the MCAP specification. Each record is an opcode (1 byte), a length (8 bytes) and that many bytes.
"""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel as ChannelRecord
from mcap.records import Header, Metadata, Schema

from cosmos_ops.logs.bags.storage import MOST_CHUNK_BYTES, MOST_CHUNK_RECORDS, Channel, Damaged, Message, RecordFile, Wanted, inflate, plain_name, plain_schema

_RECORD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
_CHUNK = struct.Struct("<QQQI")
_MAGIC_BYTES = 8
_TOP_LEVEL = -1
_DEFINITIONS = {Opcode.HEADER: Header, Opcode.SCHEMA: Schema, Opcode.CHANNEL: ChannelRecord, Opcode.METADATA: Metadata}
_ENDS = (Opcode.DATA_END, Opcode.FOOTER)
_PRIVATE = 0x80
_UNREADABLE = (McapError, struct.error, UnicodeDecodeError, MemoryError, OverflowError)


class McapFile(RecordFile):
    """See `storage.Storage`. A place is (offset of the chunk in the file or -1, offset of the message's record in it)."""

    def __init__(self, path: Path):
        super().__init__(path, "mcap")
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}

    def walk(self, wanted: Wanted) -> Iterator[Message]:
        at = _MAGIC_BYTES
        while True:
            head = self._read(at, _RECORD.size)
            if len(head) < _RECORD.size:
                self.damage.append("the file is cut short: its end is missing")
                return
            opcode, length = _RECORD.unpack(head)
            if opcode in _ENDS:
                return
            whole = at + _RECORD.size + length <= self._size
            if opcode == 0 or Opcode.DATA_END < opcode < _PRIVATE:
                self.damage.append(f"what follows byte {at} is no MCAP record")
                return
            if opcode == Opcode.CHUNK:
                try:
                    for offset, inner, content in _records(self._load_chunk(at)):
                        yield from self._record(inner, content, (at, offset), wanted)
                except Damaged as error:
                    self.damage.append(f"{error}, at byte {at}")
            elif whole and opcode in (Opcode.MESSAGE, *_DEFINITIONS) and length <= MOST_CHUNK_BYTES:
                yield from self._record(opcode, memoryview(self._read(at + _RECORD.size, length)), (_TOP_LEVEL, at), wanted)
            if not whole:
                self.damage.append(f"the file is cut short: its last record ends {at + _RECORD.size + length - self._size} bytes after it")
                return
            at += _RECORD.size + length

    def payload(self, place: tuple[int, int]) -> memoryview:
        chunk, offset = place
        if chunk == _TOP_LEVEL:
            _, length = _RECORD.unpack(self._read(offset, _RECORD.size))
            return memoryview(self._read(offset + _RECORD.size, length))[_MESSAGE.size :]
        content = next(_records(self._chunk(chunk), offset), None)
        if content is None:
            raise Damaged(f"the chunk at byte {chunk} reads differently than before")
        return content[2][_MESSAGE.size :]

    def _record(self, opcode: int, content: memoryview, place: tuple[int, int], wanted: Wanted) -> Iterator[Message]:
        if opcode == Opcode.MESSAGE:
            if len(content) < _MESSAGE.size:
                return
            number, _, log_ns, _ = _MESSAGE.unpack_from(content)
            channel = self._channels.get(number)
            if channel is None:
                _once(self.damage, "messages of a channel that the file does not describe are left out")
            else:
                yield Message(channel, log_ns, place, content[_MESSAGE.size :] if wanted(channel) else None)
        elif opcode in _DEFINITIONS:
            try:
                self._define(_DEFINITIONS[opcode].read(ReadDataStream(BytesIO(content))))
            except _UNREADABLE as error:
                _once(self.damage, f"a {Opcode(opcode).name.lower()} record cannot be read ({' '.join(str(error).split()) or type(error).__name__})")

    def _define(self, record) -> None:
        if isinstance(record, Header):
            self.kind = f"{record.profile.lower()} mcap" if record.profile.isalnum() else "mcap"
        elif isinstance(record, Schema):
            self._schemas[record.id] = record
        elif isinstance(record, Metadata):
            self.facts.update({str(key).lower(): value for key, value in record.metadata.items()})
        else:
            schema = self._schemas.get(record.schema_id)
            name, definition = (plain_schema(schema.name), schema.data) if schema else ("", b"")
            self._channels[record.id] = Channel(plain_name(record.topic), name, plain_name(record.message_encoding), definition)

    def _load_chunk(self, at: int) -> bytes:
        """The unpacked records of the chunk at byte `at`, as far as they are there. Raises `Damaged`."""
        _, length = _RECORD.unpack(self._read(at, _RECORD.size))
        end = min(at + _RECORD.size + length, self._size)
        whole = end == at + _RECORD.size + length
        at += _RECORD.size
        try:
            _, _, size, crc = _CHUNK.unpack(self._read(at, _CHUNK.size))
            at += _CHUNK.size
            (name_bytes,) = struct.unpack("<I", self._read(at, 4))
            compression = self._read(at + 4, min(name_bytes, 64)).decode()
            (packed_bytes,) = struct.unpack("<Q", self._read(at + 4 + name_bytes, 8))
            at += 12 + name_bytes
        except (struct.error, UnicodeDecodeError):
            raise Damaged("a chunk's head cannot be read") from None
        if packed_bytes > MOST_CHUNK_BYTES or (whole and at + packed_bytes > end):
            raise Damaged("a chunk is larger than its record")
        data = inflate(self._read(at, max(0, min(packed_bytes, end - at))), compression, size)
        if whole and (len(data) != size or (crc and zlib.crc32(data) != crc)):
            raise Damaged("a chunk's content is not what was written (its checksum differs)")
        return data


def _records(buffer: bytes, at: int = 0) -> Iterator[tuple[int, int, memoryview]]:
    """(offset, opcode, content) of the records in a chunk; ends before one that is cut off. Raises `Damaged`, also while iterating."""
    view, count = memoryview(buffer), 0
    while at + _RECORD.size <= len(view):
        opcode, length = _RECORD.unpack_from(view, at)
        if at + _RECORD.size + length > len(view):
            return
        count += 1
        if opcode == 0 or count > MOST_CHUNK_RECORDS:
            raise Damaged("a chunk holds what is no record" if opcode == 0 else f"a chunk holds more than {MOST_CHUNK_RECORDS} records")
        yield at, opcode, view[at + _RECORD.size : at + _RECORD.size + length]
        at += _RECORD.size + length


def _once(lines: list[str], line: str) -> None:
    if line not in lines:
        lines.append(line)
