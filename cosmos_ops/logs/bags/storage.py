"""Files that hold messages: what each kind of file must deliver, and opening one by what it begins with."""

import bz2
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from cosmos_ops.errors import UserError
from cosmos_ops.logs.spelling import plain

SUFFIXES = (".mcap", ".db3", ".bag", ".bag.active")
_MAGIC = {b"\x89MCAP0\r\n": "mcap", b"SQLite format 3\0": "sqlite", b"#ROSBAG V": "rosbag1"}
MOST_CHUNK_BYTES = 2**28
"""A chunk that claims to be larger than this unpacked is damage or malice: recorders write some megabytes."""
MOST_CHUNK_RECORDS = 2**20
"""And one that holds more records: each costs the reader a thousand times what it costs a packer."""
_MOST_NAME_CHARACTERS = 500
_KEPT_CHUNKS = 2
"""Messages sorted by time hop between neighbouring chunks."""


class Damaged(Exception):
    """Bytes that cannot be read; the message says why in one line."""


@dataclass(frozen=True)
class Channel:
    """Messages of one type on one topic."""

    topic: str
    schema: str
    """Name of the type, without the `msg/` of ROS 2: `sensor_msgs/Image`, `foxglove.CompressedImage`."""
    encoding: str
    """`cdr`, `ros1`, `json`, `protobuf` or what else the file says."""
    definition: bytes = b""
    """The type's definition where the file holds one."""


class Message(NamedTuple):
    """One message as it lies in the file. `payload` is valid until the next one is asked for; None where it was not wanted."""

    channel: Channel
    log_ns: int
    place: tuple[int, int]
    """Where the file gives the payload again."""
    payload: bytes | memoryview | None


Wanted = Callable[[Channel], bool]


class Storage(Protocol):
    """One open file. Holds one chunk at a time, never the file. A context manager; for one thread."""

    kind: str
    """For people: `ros2 mcap`, `ros1`, ..."""
    facts: dict[str, str]
    """What the file's metadata say of the recording; complete after a walk."""
    damage: list[str]
    """What could not be read, one line each; complete after a walk."""

    def walk(self, wanted: Wanted) -> Iterator[Message]:
        """Every message in the order of the file, as far as it can be read."""
        ...

    def payload(self, place: tuple[int, int]) -> bytes | memoryview:
        """The payload at a place. Raises `Damaged`."""
        ...

    def __enter__(self) -> "Storage": ...

    def __exit__(self, *exception) -> None: ...


def sniff(path: Path) -> str | None:
    """`mcap`, `sqlite` or `rosbag1` by a file's first bytes, None for anything else."""
    with open(path, "rb") as file:
        head = file.read(16)
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def open_storage(path: Path) -> Storage:
    """Open a file of messages. Raises `Damaged` for what is none and `UserError` where the library for it is not installed."""
    if not path.is_file():
        raise Damaged("it is no regular file")
    try:
        kind = sniff(path)
        if kind is None:
            raise Damaged("the file is empty" if path.stat().st_size == 0 else "the file does not begin like MCAP, a ROS 2 database or a ROS 1 bag")
        if kind == "mcap":
            from cosmos_ops.logs.bags.mcap_file import McapFile

            return McapFile(path)
        if kind == "rosbag1":
            from cosmos_ops.logs.bags.rosbag1_file import Rosbag1File

            return Rosbag1File(path)
        from cosmos_ops.logs.bags.sqlite_file import SqliteFile

        return SqliteFile(path)
    except ImportError as error:
        raise UserError(f"{path.name} cannot be read: the package {error.name or 'mcap'} is not installed; pip install rosbags mcap") from None
    except OSError as error:
        raise Damaged(error.strerror or str(error)) from None


def plain_name(name: str) -> str:
    """What a file says as it can stand in a line of text."""
    return plain(name[:_MOST_NAME_CHARACTERS])


def plain_schema(name: str) -> str:
    """`sensor_msgs/msg/Image` and `sensor_msgs/Image` are one type."""
    return plain_name(name).replace("/msg/", "/")


def inflate(data: bytes, compression: str, size: int) -> bytes:
    """Unpack a chunk of `size` bytes; fewer come back where `data` is cut short. Raises `Damaged`."""
    if size > MOST_CHUNK_BYTES:
        raise Damaged(f"a chunk claims {size} bytes unpacked")
    if compression in ("", "none"):
        return data
    import lz4.frame
    import zstandard

    try:
        if compression == "zstd":
            return zstandard.ZstdDecompressor().stream_reader(data).read(size)
        if compression == "lz4":
            return lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size)
        if compression == "bz2":
            return bz2.BZ2Decompressor().decompress(data, max_length=size)
    except (zstandard.ZstdError, RuntimeError, OSError, ValueError, MemoryError) as error:
        raise Damaged(f"a chunk cannot be unpacked ({' '.join(str(error).split())})") from None
    raise Damaged(f"chunks are packed with {compression!r}, known are zstd, lz4, bz2 and none")


class LastChunks:
    """The chunks unpacked last, by their place in the file."""

    def __init__(self, load: Callable[[int], bytes]):
        self._load = load
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def __call__(self, place: int) -> bytes:
        if place not in self._held:
            self._held[place] = self._load(place)
            if len(self._held) > _KEPT_CHUNKS:
                self._held.popitem(last=False)
        self._held.move_to_end(place)
        return self._held[place]


class RecordFile(ABC):
    """What files of records and of chunks of records have in common, see `Storage`."""

    def __init__(self, path: Path, kind: str):
        self.kind = kind
        self.facts: dict[str, str] = {}
        self.damage: list[str] = []
        self._file = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        self._size = os.fstat(self._file.fileno()).st_size
        self._chunk = LastChunks(self._load_chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()

    @abstractmethod
    def _load_chunk(self, at: int) -> bytes:
        """Raises `Damaged`."""

    def _read(self, at: int, length: int) -> bytes:
        self._file.seek(at)
        return self._file.read(length)
