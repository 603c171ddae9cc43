"""Tars in WebDataset's convention, equal bytes for equal samples: no time, user or machine in them.

The bytes are those of `webdataset.TarWriter` with its time, user, group and mode fixed (a test compares them); written with the
standard library because importing webdataset imports torch, which nothing else in the data half needs.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OWNER = "cosmos-ops"
MODE = 0o444


@dataclass(frozen=True)
class Sample:
    """One sample: members named `<key>.<extension>`. The key holds no dot: WebDataset cuts names at the first one."""

    key: str
    members: dict[str, bytes]


@dataclass(frozen=True)
class Extent:
    """Where a whole sample lies in its tar, headers included: one range read gives everything."""

    offset_bytes: int
    size_bytes: int


def write_tar(path: Path, samples: Iterable[Sample]) -> list[Extent]:
    """Write samples in order, each one's members by extension, and return where each lies."""
    extents = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            assert "." not in sample.key and "/" not in sample.key, sample.key
            start = tar.offset
            for extension, content in sorted(sample.members.items()):
                member = tarfile.TarInfo(f"{sample.key}.{extension}")
                member.size, member.mode, member.uname, member.gname = len(content), MODE, OWNER, OWNER
                tar.addfile(member, io.BytesIO(content))
            extents.append(Extent(start, tar.offset - start))
    return extents


def extent_hashes(path: Path, extents: Iterable[Extent]) -> list[str]:
    """SHA-256, hex, of the bytes at each extent; a file that ends earlier gives the hash of what is there."""
    hashes = []
    with open(path, "rb") as stream:
        for extent in extents:
            stream.seek(extent.offset_bytes)
            hashes.append(hashlib.sha256(stream.read(extent.size_bytes)).hexdigest())
    return hashes


def read_extent(path: Path, extent: Extent) -> Sample:
    """Read one sample back without touching the rest of the tar. Raises `ValueError` where no whole sample lies there."""
    with open(path, "rb") as stream:
        stream.seek(extent.offset_bytes)
        content = stream.read(extent.size_bytes)
    if len(content) != extent.size_bytes:
        raise ValueError(f"{path} is shorter than its index says")
    members, keys = {}, set()
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:", format=tarfile.USTAR_FORMAT) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                keys.add(key)
                members[extension] = tar.extractfile(member).read()
    except (tarfile.TarError, AttributeError) as error:
        raise ValueError(f"{path} holds no sample at {extent.offset_bytes} ({error})") from None
    if len(keys) != 1:
        raise ValueError(f"{path} holds parts of {len(keys)} samples at {extent.offset_bytes}")
    return Sample(keys.pop(), members)
