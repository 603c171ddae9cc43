"""The bytes of an HDF5 file on their way to the library, with global heaps that it would never finish reading made unreadable.

Texts and rows of varying length lie in global heaps. HDF5 (2.0 and before) walks one object by object and, where a damaged size sends it to an empty
object of index 0, stays there for ever; no exception, no time-out in Python can end that. Layout: HDF5 File Format Specification 3.0, III.E.
"""

import io
import os
from pathlib import Path

_SIGNATURE = b"GCOL\x01\0\0\0"
_HEADER_BYTES = 16
_MOST_HEAP_BYTES = 64 << 20


class GuardedFile(io.RawIOBase):
    """A file opened for reading, as h5py takes one in place of a path. Raises `OSError`."""

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_RDONLY)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: os.fstat(self._file).st_size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        count = os.preadv(self._file, [view], self._place)
        self._hide_endless(view[:count], self._place)
        self._place += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()

    def _hide_endless(self, view: memoryview, start: int) -> None:
        """Blank the signatures of endless heaps; HDF5 then says that the heap is damaged. A signature may be split between two reads."""
        margin = len(_SIGNATURE) - 1
        before, after = os.pread(self._file, min(margin, start), max(0, start - margin)), os.pread(self._file, margin, start + len(view))
        around = b"".join((before, view, after))
        place = around.find(_SIGNATURE)
        while place >= 0:
            first = place - len(before)
            if self._endless(start + first):
                for spot in range(max(0, first), min(len(view), first + len(_SIGNATURE))):
                    view[spot] = 0
            place = around.find(_SIGNATURE, place + 1)

    def _endless(self, heap: int) -> bool:
        """Whether the walk through the heap at this offset does not end where the heap does."""
        size = int.from_bytes(os.pread(self._file, 8, heap + 8), "little")
        if not _HEADER_BYTES <= size <= _MOST_HEAP_BYTES:
            return size > _MOST_HEAP_BYTES
        content, place = os.pread(self._file, size, heap), _HEADER_BYTES
        while place + _HEADER_BYTES <= len(content):
            index, length = int.from_bytes(content[place : place + 2], "little"), int.from_bytes(content[place + 8 : place + 16], "little")
            step = length if index == 0 else _HEADER_BYTES + (length + 7) // 8 * 8
            if step == 0 or place + step > size:
                return True
            place += step
        return len(content) < size
