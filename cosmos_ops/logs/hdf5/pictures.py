"""Pictures kept as rows of an HDF5 dataset, raw or each encoded; read a few rows at a time, whatever the episode's length."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np

from cosmos_ops.logs.hdf5.files import MOST_CHUNK_BYTES, Unreadable
from cosmos_ops.video.frames import UnreadableVideo
from cosmos_ops.video.stills import MOST_PIXELS, StillDecoder, still_facts, swapped

if TYPE_CHECKING:
    import h5py

RAW = "raw"
_MIN_PX = 8


class Unsupported(Unreadable):
    """A dataset that is whole and holds no colour pictures."""


@dataclass(frozen=True)
class PictureFacts:
    """A camera's dataset as it describes itself."""

    frames: int
    height: int
    width: int
    codec: str
    """`raw`, `mjpeg` or `png`."""


def picture_facts(dataset: "h5py.Dataset") -> PictureFacts:
    """Shape and codec; of encoded pictures only the first one's header is looked at.

    Known are uint8 [T, H, W, 3], and encoded pictures as uint8 [T, bytes] padded with zeros, as uint8 rows of varying length, or as byte strings
    [T]. Raises `Unsupported` for anything else and `Unreadable` for a damaged header.
    """
    if dataset.ndim > 0 and len(dataset) == 0:
        raise Unreadable(f"{dataset.name} holds no picture")
    if is_raw(dataset):
        frames, height, width, _ = dataset.shape
        if min(height, width) < _MIN_PX or height * width > MOST_PIXELS:
            raise Unsupported(f"{dataset.name} declares pictures of {width}x{height} pixels")
        return PictureFacts(frames, height, width, RAW)
    if not _is_encoded(dataset):
        hint = ", channels come last" if dataset.ndim == 4 and dataset.shape[1] in (1, 3) else ""
        raise Unsupported(f"{dataset.name} holds {dataset.dtype} {dataset.shape}; colour pictures are uint8 [T, H, W, 3]{hint}, or one JPEG or PNG a row")
    try:
        facts = still_facts(next(_encoded(dataset, [0]))[1])
    except UnreadableVideo as error:
        raise Unreadable(f"{dataset.name}: frame 0: {error}") from None
    if facts.deep:
        raise Unsupported(f"{dataset.name} holds pictures of 16 bits, as depth is kept; colour pictures of 8 bits are needed")
    return PictureFacts(len(dataset), facts.height, facts.width, facts.codec)


def is_raw(dataset: "h5py.Dataset") -> bool:
    """Whether a dataset looks like raw colour pictures."""
    return dataset.ndim == 4 and dataset.shape[3] == 3 and dataset.dtype == np.uint8


def pictures(dataset: "h5py.Dataset", rows: Iterable[int], swap_red_blue: bool = False) -> Iterator[tuple[int, av.VideoFrame]]:
    """(row, picture) for each of the ascending `rows`. Raises `Unreadable`, also while iterating; to be used while the file is open."""
    if is_raw(dataset):
        layout = "bgr24" if swap_red_blue else "rgb24"
        for row, image in _blocks(dataset, rows):
            yield row, av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=layout)
        return
    decoder = StillDecoder()
    for row, content in _encoded(dataset, rows):
        try:
            frame = decoder.decode(content)
        except UnreadableVideo as error:
            raise Unreadable(f"{dataset.name}: frame {row}: {error}") from None
        yield row, swapped(frame) if swap_red_blue else frame


def _is_encoded(dataset: "h5py.Dataset") -> bool:
    """`compress_len`, which ALOHA keeps beside padded rows, is not needed to find a picture's end, and its order of cameras is not recorded."""
    return (dataset.ndim == 2 and dataset.dtype == np.uint8) or (dataset.ndim == 1 and (dataset.dtype.kind == "S" or _varying(dataset)))


def _varying(dataset: "h5py.Dataset") -> bool:
    import h5py

    return h5py.check_vlen_dtype(dataset.dtype) == np.uint8


def _encoded(dataset: "h5py.Dataset", rows: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    if _varying(dataset):
        yield from ((row, dataset[row].tobytes()) for row in rows)
        return
    for row, content in _blocks(dataset, rows):
        yield row, content.tobytes() if isinstance(content, np.ndarray) else bytes(content)


def _blocks(dataset: "h5py.Dataset", rows: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Each wanted row, read with its neighbours of the same chunk: compressed chunks are unpacked once, others are not read."""
    step = dataset.chunks[0] if dataset.chunks else 1
    row_bytes = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
    if min(step, len(dataset)) * row_bytes > MOST_CHUNK_BYTES:
        raise Unreadable(f"{dataset.name} is stored in chunks of {step} rows, too many to read at once; rewrite it with one frame a chunk (h5repack -l)")
    start = stop = 0
    for row in rows:
        if not start <= row < stop:
            start = row - row % step
            stop = min(start + step, len(dataset))
            block = dataset[start:stop]
        yield row, block[row - start]
