"""LeRobot cameras whose frames are pictures in the rows of the telemetry files (`dtype: image`), one JPEG or PNG a row.

A column of them is a structure of `bytes` and `path`, as the `datasets` library writes it, or plain bytes. Pages are read one after the other: what is
held is a few pictures, whatever the length of the file.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.logs.base import Camera, Problem, TimedFrame, UnreadableVideo
from cosmos_ops.logs.lerobot_meta import VideoPlace
from cosmos_ops.logs.parquet import READ_ERRORS
from cosmos_ops.logs.paths import LeadsOut, inside
from cosmos_ops.logs.spelling import plain
from cosmos_ops.logs.telemetry import Rows
from cosmos_ops.video.stills import StillDecoder, still_facts

MARK = "::/"
"""Between file and column in the path of such a camera."""
_BATCH_ROWS = 4
_READ_BYTES = 1 << 20
_MOST_PICTURE_BYTES = 64 << 20
_MOST_UNPACKED = 20
"""Pictures are packed already: a column that unpacks to more than this many times its size in the file holds none."""
_SMALL_BYTES = 16 << 20


def still_camera(root: Path, place: VideoPlace, rows: Rows, fps: float) -> Camera | Problem:
    """The camera of an episode's rows, or why it cannot be used. Row i is frame i."""
    name, key, first = place.feature.name, place.feature.key, int(rows.places[0])
    try:
        if not np.array_equal(rows.places, np.arange(first, first + len(rows))):
            raise UnreadableVideo("its rows are not in the order of their frames")
        facts = still_facts(next(_contents(inside(root, place.path), key, [first]))[1])
    except (UnreadableVideo, LeadsOut) as error:
        return Problem("unreadable", plain(f"camera {name} cannot be used: {error}"), name)
    if facts.deep:
        return Problem("unsupported_camera", f"camera {name} cannot be used: it holds 16 bit values, not a picture", name)
    return Camera(name, f"{place.path}{MARK}{key}", 0.0, len(rows), fps, facts.height, facts.width, facts.codec)


def stills(path: Path, column: str, first: int, rows: list[int], fps: float) -> Iterator[TimedFrame]:
    """The pictures of an episode whose first row in the file is `first`; `rows` are ascending and count from there. Raises `UnreadableVideo`, also while
    iterating."""
    decoder = StillDecoder()
    for row, content in _contents(path, column, [first + row for row in rows]):
        try:
            image = decoder.decode(content)
        except UnreadableVideo as error:
            raise UnreadableVideo(f"{path.name}: {column}: frame {row - first}: {error}") from None
        yield TimedFrame((row - first) / fps, image)


def _contents(path: Path, column: str, rows: list[int]) -> Iterator[tuple[int, bytes]]:
    """(row of the file, encoded picture) for each of the ascending rows."""
    try:
        with pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False) as file:
            leaf, waiting, start = _leaf(file, column), iter(rows), 0
            row = next(waiting, None)
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                if row is not None and row < stop:
                    _check_size(file, group, leaf)
                    for place, content in _group(file, group, leaf, start):
                        if place == row:
                            if content is None:
                                raise UnreadableVideo(f"{path.name}: {column} holds no picture in row {row}, only its name")
                            yield row, content
                            row = next(waiting, None)
                        if row is None or row >= stop:
                            break
                if row is None:
                    return
                start = stop
            raise UnreadableVideo(f"{path.name} has {start} rows, row {row} is needed")
    except READ_ERRORS as error:
        raise UnreadableVideo(f"{path.name}: {' '.join(str(error).split())[:200] or type(error).__name__}") from None


def _group(file: pq.ParquetFile, group: int, leaf: str, start: int) -> Iterator[tuple[int, bytes | None]]:
    for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=[leaf]):
        values = batch.column(0)
        for value in values.field("bytes") if pa.types.is_struct(values.type) else values:
            yield start, value.as_py()
            start += 1


def _leaf(file: pq.ParquetFile, column: str) -> str:
    schema = file.schema_arrow
    if column not in schema.names:
        raise UnreadableVideo(f"the telemetry has no column {column}")
    kind, leaf = schema.field(column).type, column
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind, leaf = kind.field("bytes").type, f"{column}.bytes"
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise UnreadableVideo(f"column {column} holds {str(kind)[:80]}, a JPEG or PNG a row is needed")
    return leaf


def _check_size(file: pq.ParquetFile, group: int, leaf: str) -> None:
    """Raises `UnreadableVideo` for a column that would unpack to a mountain."""
    rows = file.metadata.row_group(group)
    chunk = next(rows.column(place) for place in range(rows.num_columns) if rows.column(place).path_in_schema == leaf)
    unpacked, packed = chunk.total_uncompressed_size, chunk.total_compressed_size
    if unpacked > _MOST_PICTURE_BYTES * max(1, rows.num_rows) or (unpacked > _SMALL_BYTES and unpacked > _MOST_UNPACKED * packed):
        raise UnreadableVideo(f"{leaf} declares {unpacked} bytes in {rows.num_rows} rows, too many for pictures")
