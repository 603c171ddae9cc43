"""A drop: its registration, its source, its stages, and each clip of a damaged shard."""

import hashlib
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.errors import UserError
from cosmos_ops.lake import MANIFEST
from cosmos_ops.logs.drops import REGISTRATION, Drop, load_drop
from cosmos_ops.logs.fingerprint import scan
from cosmos_ops.shards.tar import Extent, extent_hashes, read_extent
from cosmos_ops.shards.write import INDEX
from cosmos_ops.verify.folders import check_folder
from cosmos_ops.verify.hashing import Checking

_CHECKS, _SOURCE, _SHARDS, _EPISODES = "checks", "source", "shards", "episodes"
_CLIPS_NAMED = 8


def check_drop(checking: Checking, name: str, fingerprint: str | None) -> None:
    """Check one drop's folder. `fingerprint` is that of the profile in use, None where none is."""
    folder = checking.lake.drop(name)
    drop = _registration(checking, name)
    if drop is not None:
        _check_source(checking, drop)
    # A copied drop is compared with the delivery that its path is given of.
    again = f"cosmos-ops ingest {shlex.quote(drop.uri) if drop and not drop.copied else 'DELIVERY'} --drop {name}"
    for stage in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name not in (_CHECKS, _SOURCE)):
        if stage.name == _EPISODES or (stage / MANIFEST).exists():
            check_folder(checking, stage, f"remove {stage} and run `{again}`")
            continue
        for keyed in sorted(path for path in stage.iterdir() if path.is_dir() and not path.name.startswith(".")):
            command = f"`{again}`" + ("" if fingerprint in (None, keyed.name) else f" with the profile whose data fingerprint is {keyed.name}")
            if stage.name == _SHARDS:
                _check_shards(checking, folder, keyed, command)
            else:
                check_folder(checking, keyed, f"remove {keyed} and run {command}")
    for path in sorted((folder / _CHECKS).rglob("*.json")):
        if not path.name.startswith("."):
            checking.parsed(path, f"remove it and run `{again}`: the check is made again")


def _registration(checking: Checking, name: str) -> Drop | None:
    path = checking.lake.drop(name) / REGISTRATION
    remedy = f"restore it, or remove {path.parent} and ingest the delivery again with --drop {name}"
    if not path.is_file():
        checking.report(path, "missing: nothing says where the drop came from", remedy)
        return None
    if checking.parsed(path, remedy) is None:
        return None
    try:
        return load_drop(checking.lake, name)
    except UserError as error:
        checking.report(path, f"damaged: {error}", remedy)
        return None


def _check_source(checking: Checking, drop: Drop) -> None:
    """The delivery itself, in the lake or where it was registered: without it nothing can be made again."""
    source = Path(drop.uri)
    remedy = "put the delivered file back; what was made of it is unharmed, but could not be made again"
    if not source.exists():
        checking.report(source, f"missing: the source of drop {drop.name}", remedy)
        return
    base = source if source.is_dir() else source.parent
    expected = {base / name: sha256 for name, (_, _, sha256) in drop.files.items()}
    checking.files(expected, lambda _: remedy)
    try:
        extra = sorted(scan(source, drop.files).keys() - drop.files.keys())
    except UserError as error:
        checking.report(source, f"damaged: {error}", remedy)
        return
    for name in extra:
        checking.report(base / name, f"extra: it is no part of drop {drop.name}", "move it out of the drop's folder, or deliver it as a drop of its own")


def _check_shards(checking: Checking, drop: Path, folder: Path, command: str) -> None:
    remedy = f"remove {folder / MANIFEST} and run {command}: only shards that are not whole are made again"
    finished = (drop / _CHECKS / folder.name / f"{_SHARDS}.json").exists()

    def explain(path: Path) -> tuple[str, tuple[str, ...]]:
        if path.suffix != ".tar":
            return "", ()
        clips = damaged_clips(path)
        if clips is None:
            return "; which clips cannot be told, its index is damaged too", ()
        shown = ", ".join(clips[:_CLIPS_NAMED]) + (f" and {len(clips) - _CLIPS_NAMED} more" if len(clips) > _CLIPS_NAMED else "")
        return (f"; {len(clips)} clips are lost: {shown}" if clips else "; every clip in it is whole"), clips

    check_folder(checking, folder, remedy, explain, finished)


def damaged_clips(shard: Path) -> tuple[str, ...] | None:
    """Ids of a shard's clips whose bytes are not those of its index; None where the index cannot be read."""
    try:
        rows = [row for row in pq.read_table(shard.parent / INDEX).to_pylist() if row["shard"] == shard.name]
        extents = [Extent(row["offset_bytes"], row["size_bytes"]) for row in rows]
        ids = [row["clip_id"] for row in rows]
    except (OSError, KeyError, pa.ArrowException):
        return None
    try:
        hashes = extent_hashes(shard, extents)
    except OSError:
        return tuple(ids)
    # Indexes of earlier versions have no hash of the whole sample, only of its video.
    whole = [row["sample_sha256"] == sha256 if row.get("sample_sha256") else _has_video(shard, row) for row, sha256 in zip(rows, hashes, strict=True)]
    return tuple(clip for clip, fine in zip(ids, whole, strict=True) if not fine)


def _has_video(shard: Path, row: dict) -> bool:
    try:
        sample = read_extent(shard, Extent(row["offset_bytes"], row["size_bytes"]))
        return sample.key == row["key"] and hashlib.sha256(sample.members["mp4"]).hexdigest() == row["video_sha256"]
    except (OSError, ValueError, KeyError):
        return False
