"""What is made of the drops: dataset versions, latents, adapters, generations, scores, and the pointers to the current ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.lake import MANIFEST, Manifest
from cosmos_ops.verify.folders import check_folder, visible_files
from cosmos_ops.verify.hashing import Checking

_AGAIN = {
    "datasets": "cosmos-ops run",
    "evaluation_sets": "cosmos-ops run",
    "adapters": "cosmos-ops train",
    "generations": "cosmos-ops evaluate",
    "scores": "cosmos-ops evaluate",
    "leaderboards": "cosmos-ops evaluate",
    "decisions": "cosmos-ops run",
    "models": "cosmos-ops run",
}
"""Folder of the lake -> the command that makes again what was in it."""
_POINTERS = {"dataset": "datasets", "evaluation_set": "evaluation_sets", "leaderboard": "leaderboards", "decision": "decisions"}
_HEADS, _LATENTS, _DATASETS = "heads", "latents", "datasets"
_APART = ("drops", "landing", _HEADS, _LATENTS)


def check_products(checking: Checking) -> None:
    """Check everything in the lake but drops, whose hashes must be known already: dataset versions are compared with them."""
    root = checking.lake.root
    current = dict(_current(checking))
    for place in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name not in _APART):
        command = _AGAIN.get(place.name, "cosmos-ops run")
        for path in sorted(place.glob("[!.]*")):
            if path.suffix == ".json" and path.is_file():
                checking.parsed(path, _file_remedy(path, command))
            elif path.is_dir() and ((path / MANIFEST).exists() or (place.name in _AGAIN and place.name != "models")):
                manifest = check_folder(checking, path, f"remove {path} and run `{command}`", was_finished=path in current)
                if manifest is not None and place.name == _DATASETS:
                    _check_references(checking, manifest)
    for store in sorted(root.glob(f"{_LATENTS}/[!.]*")):
        if store.is_dir():
            _check_latents(checking, store)
    for path, (head, name) in current.items():
        if not path.is_dir() and not checking.is_busy(path):
            checking.report(path, f"missing: it is the current {name} of {head.stem}", "run `cosmos-ops run`: it is made again")
    forgotten = root / "forgotten.json"
    if forgotten.exists():
        checking.parsed(forgotten, "mend it: it maps episode ids to reasons, both texts")


def _current(checking: Checking) -> Iterator[tuple[Path, tuple[Path, str]]]:
    """Folders that a profile's pointers name, each with the pointer's file and name."""
    root = checking.lake.root
    for head in sorted((root / _HEADS).glob("[!.]*.json")):
        pointers = checking.parsed(head, f"remove {head} and run `cosmos-ops run`: finished work is found again")
        for name, value in sorted(pointers.items() if isinstance(pointers, dict) else ()):
            if (place := folder_of_pointer(name, value)) is not None:
                yield root / place, (head, name)


def folder_of_pointer(name: str, value: Any) -> str | None:
    """The lake's folder that a pointer's value stands for; None for pointers to something else."""
    kind = name.partition("/")[0]
    if not isinstance(value, str) or (kind not in _POINTERS and kind not in _AGAIN and kind != _LATENTS):
        return None
    return f"{_POINTERS.get(kind, kind)}/{value}" if kind != _LATENTS else value


def _file_remedy(path: Path, command: str) -> str:
    if path.name == "drop-order.json":
        return f"restore it from a backup, it decides which of two copies is kept; or remove {path} and run `{command}`: drops are then ordered by name"
    return f"remove {path} and run `{command}`"


def _check_references(checking: Checking, dataset: Manifest) -> None:
    """A dataset version lists shards by content: those must still be there."""
    try:
        rows = pq.read_table(dataset.file("samples.parquet"), columns=["shard_path", "shard_sha256"]).to_pylist()
    except (OSError, KeyError, pa.ArrowException):
        return  # reported as damaged
    for where, sha256 in sorted({(row["shard_path"], row["shard_sha256"]) for row in rows}):
        shard = checking.lake.root / where
        if not shard.is_file():
            what, remedy = f"missing: {where}, which it lists", "ingest that drop again"
        elif shard not in checking.hashes:
            what, remedy = f"missing: the manifest of {where}, which it lists", "ingest that drop again"
        elif checking.hashes[shard] != sha256 and not _is_reported(checking, shard):
            what, remedy = f"damaged: it lists another version of {where}", "nothing reads an old version"
        else:
            continue
        checking.report(dataset.path, what, f"{remedy}; or remove {dataset.path} and run `cosmos-ops run` for a version of what is there")


def _is_reported(checking: Checking, path: Path) -> bool:
    return any(damage.path == checking.name(path) for damage in checking.damaged)


def _check_latents(checking: Checking, store: Path) -> None:
    """Tensor files have their hash beside them, and dataset versions list them with it."""
    if checking.is_busy(store / "encoding"):
        return
    expected: dict[Path, str] = {}
    for folder in sorted(path for path in store.glob("[!.]*") if path.is_dir() and path.name != "text"):
        if check_folder(checking, folder, f"remove {folder} and run `cosmos-ops train`: nothing is encoded again") is not None:
            for table in ("latents.parquet", "text.parquet"):
                try:
                    rows = pq.read_table(folder / table, columns=["file", "sha256"]).to_pylist()
                except (OSError, KeyError, pa.ArrowException):
                    continue  # reported as damaged
                expected |= {store / row["file"]: row["sha256"] for row in rows}
    own = {path for path in visible_files(store) if path.parent in (store, store / "text")}
    for path in sorted(path for path in own if path.suffix == ".json"):
        about = checking.parsed(path, f"remove {path} and {path.with_suffix('.safetensors')} and run `cosmos-ops train`: they are encoded again")
        tensors = path.with_suffix(".safetensors")
        if isinstance(about, dict) and isinstance(about.get("sha256"), str):
            expected.setdefault(tensors, about["sha256"])
    checking.files(expected, lambda path: f"remove {path} and {path.with_suffix('.json').name} beside it and run `cosmos-ops train`: it is encoded again")
    for extra in sorted(path for path in own - expected.keys() if path.suffix != ".json"):
        checking.report(extra, "extra: nothing lists it", f"remove {extra} or move it out of the lake: nothing reads it")
