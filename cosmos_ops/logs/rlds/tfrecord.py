"""TFRecord files: where each record lies, found by reading the frames around them and nothing else.

A record is its length (8 bytes), a masked CRC-32C of that (4), the data, and a masked CRC-32C of the data (4), all little-endian.
"""

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmos_ops.logs.rlds.crc32c import crc32c, masked
from cosmos_ops.video.frames import UnreadableVideo

_HEADER, _TRAILER = struct.Struct("<QI"), struct.Struct("<I")
_READ_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"


class Damaged(UnreadableVideo):
    """A record, or a part of one, that cannot be read; the message says why in one line."""


@dataclass(frozen=True)
class Record:
    """Where a record's data lies in its file, in bytes."""

    start: int
    stop: int


class PlacedFile:
    """A file read by position, so that threads can share it. To be closed, or used as a context."""

    def __init__(self, path: Path):
        self.name = path.name
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not make us wait
        except OSError as error:
            raise Damaged(f"{self.name}: {error.strerror}") from None
        facts = os.fstat(self._descriptor)
        self.size = facts.st_size
        if not stat.S_ISREG(facts.st_mode):
            self.close()
            raise Damaged(f"{self.name} is not a regular file")

    def __enter__(self) -> "PlacedFile":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    def at(self, start: int, size: int) -> bytes:
        """Exactly these bytes. Raises `Damaged` where the file ends before."""
        try:
            content = os.pread(self._descriptor, size, start)
            while len(content) < size and (more := os.pread(self._descriptor, size - len(content), start + len(content))):
                content += more
        except OSError as error:
            raise Damaged(f"{self.name}: {error.strerror}") from None
        if len(content) < size:
            raise Damaged(f"{self.name} ends at byte {start + len(content)}, {start + size} are needed")
        return content


def records(file: PlacedFile) -> Iterator[Record]:
    """Every record in order; the data are not looked at. Raises `Damaged` where the frames break off: what follows cannot be found."""
    place = 0
    while place < file.size:
        if file.size - place < _HEADER.size:
            raise Damaged(f"{file.name} is cut short at byte {file.size}, in the frame of a record")
        header = file.at(place, _HEADER.size)
        length, check = _HEADER.unpack(header)
        if masked(crc32c(header[:8])) != check:
            packed = "; it is packed as a whole, unpack it (gunzip)" if place == 0 and header.startswith(_GZIP) else ""
            raise Damaged(f"{file.name} holds no record at byte {place}: the checksum of its length is wrong{packed}")
        record = Record(place + _HEADER.size, place + _HEADER.size + length)
        if record.stop + _TRAILER.size > file.size:
            raise Damaged(f"{file.name} is cut short: the record at byte {place} has {file.size - record.start} of {length + _TRAILER.size} bytes")
        yield record
        place = record.stop + _TRAILER.size


def check(file: PlacedFile, record: Record) -> None:
    """Compare a record's data with their checksum, a part at a time. Raises `Damaged`."""
    crc = 0
    for start in range(record.start, record.stop, _READ_BYTES):
        crc = crc32c(file.at(start, min(_READ_BYTES, record.stop - start)), crc)
    if masked(crc) != _TRAILER.unpack(file.at(record.stop, _TRAILER.size))[0]:
        raise Damaged(f"{file.name}: the record at byte {record.start - _HEADER.size} is damaged, its checksum is wrong")
