"""The files that latents and texts are kept in, and reading them back.

Layout of a store (`lake.latents(<model and geometry>)`): `<shard sha256>.safetensors` with one tensor a clip (`.1`, `.2`, ... follow the
hash where a later dataset version wants more of a shard's clips) and `text/<caption sha256>.safetensors`, each with a `.json` beside it,
written after it, that holds its hash and the store's name; `<dataset version>/` lists in
two tables exactly the files and hashes that make up a dataset version.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import safe_open

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import file_sha256
from cosmos_ops.lake import MANIFEST, Lake, Manifest, read_manifest
from cosmos_ops.store.folders import bring_file
from cosmos_ops.store.notes import read_note, share, write_note
from cosmos_ops.store.place import located
from cosmos_ops.tensors import write_tensors

DROPPED = "dropped"
"""Name in the text table of the embedding that stands for no text."""

_AT_ONCE = 4
"""Files that are brought from upstream at the same time."""

LATENTS_SCHEMA = pa.schema([("clip_id", pa.string()), ("file", pa.string()), ("sha256", pa.string())])
TEXT_SCHEMA = pa.schema([("text_sha256", pa.string()), ("file", pa.string()), ("sha256", pa.string())])


class LatentStore:
    """Reads the latents and texts of one dataset version; every file is checked against its hash before its first use."""

    def __init__(self, lake: Lake, manifest: Manifest):
        self.folder = manifest.path.parent
        clips = pq.read_table(manifest.file("latents.parquet")).to_pylist()
        texts = pq.read_table(manifest.file("text.parquet")).to_pylist()
        self._clips = {row["clip_id"]: row["file"] for row in clips}
        self._texts = {row["text_sha256"]: row["file"] for row in texts}
        self._hashes = {row["file"]: row["sha256"] for row in [*clips, *texts]}
        self._checked: set[Path] = set()
        self._coming: dict[Path, Future] = {}
        self._elsewhere = ThreadPoolExecutor(_AT_ONCE, "latents") if located(self.folder) is not None else None

    @property
    def clip_ids(self) -> list[str]:
        """Clips there are latents of, sorted."""
        return sorted(self._clips)

    def clip(self, clip_id: str) -> torch.Tensor:
        """Normalised latents of a clip, float32 [C, t, h, w]. Raises `UserError` for a clip of another dataset version, `WorkFailed` for damage."""
        return self._read(self._clips, clip_id, clip_id, f"clip {clip_id}")

    def text(self, caption: str) -> torch.Tensor:
        """A caption as the denoiser reads it, float32 [L, D]."""
        return self._read(self._texts, text_sha256(caption), "text", f"text {caption[:60]!r}")

    def dropped_text(self) -> torch.Tensor:
        """The embedding that stands for no text, float32 [L, D]."""
        return self._read(self._texts, DROPPED, "text", "the dropped text")

    def expect(self, clip_ids: Sequence[str]) -> None:
        """Start to bring the files of clips that will be asked for soon, where they are not here; returns at once. What goes wrong is told by `clip`."""
        if self._elsewhere is not None:
            for name in dict.fromkeys(self._clips[clip_id] for clip_id in clip_ids if clip_id in self._clips):
                path = self.folder / name
                if path not in self._checked and path not in self._coming:
                    self._coming[path] = self._elsewhere.submit(self._bring, path, name)

    def _read(self, places: dict[str, str], name: str, tensor: str, what: str) -> torch.Tensor:
        if name not in places:
            raise UserError(f"{what} is not among the latents of {self.folder}; encode the dataset version that holds it")
        path = self.folder / places[name]
        if path not in self._checked:
            if self._elsewhere is not None:
                coming = self._coming.get(path)
                coming.result() if coming else self._bring(path, places[name])
            elif not path.is_file() or file_sha256(path) != self._hashes[places[name]]:
                raise WorkFailed(f"{path} is missing or differs from its recorded hash; remove it and encode the latents again")
            self._checked.add(path)
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(tensor).float()

    def _bring(self, path: Path, name: str) -> None:
        """Have a file here that is in a store elsewhere too; one that is damaged here is brought anew."""
        if not path.is_file() or file_sha256(path) != self._hashes[name]:
            bring_file(located(path), path, self._hashes[name])


@dataclass(frozen=True)
class StoredFile:
    """One file of the store and the names of its tensors."""

    file: str
    """Relative to the store."""
    sha256: str
    names: tuple[str, ...]


def stored_files(store: Path, stem: str) -> list[StoredFile]:
    """Whole files of a shard or text. Size is compared here, the hash when the file is read.

    Raises `UserError` for a file that another model, or another geometry, made: copied from another store it would be taken for one of this store's.
    """
    found = []
    for name in _file_names(stem):
        path = store / name
        try:
            about = json.loads(read_note(path.with_suffix(".json")))
        except FileNotFoundError:
            return found
        if about.get("store", store.name) != store.name:
            raise UserError(f"{path} was encoded under fingerprint {about['store']} and lies in the store of {store.name}; remove it and its .json")
        # What is told upstream is there: its note was written after it.
        if path.stat().st_size == about["bytes"] if path.is_file() else located(path) is not None:
            found.append(StoredFile(name, about["sha256"], tuple(about["names"])))


def save_tensors(store: Path, stem: str, tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> StoredFile:
    """Write a file and, last, what it holds; never over a whole file, which an older dataset version may list."""
    taken = {stored.file for stored in stored_files(store, stem)}
    path = store / next(name for name in _file_names(stem) if name not in taken)
    write_tensors(path, {key: tensor.to(dtype).cpu().contiguous() for key, tensor in sorted(tensors.items())})
    stored = StoredFile(str(path.relative_to(store)), file_sha256(path), tuple(sorted(tensors)))
    share(path)
    write_note(path.with_suffix(".json"), {"sha256": stored.sha256, "names": stored.names, "bytes": path.stat().st_size, "store": store.name})
    return stored


def text_sha256(text: str) -> str:
    """Name of a text's file."""
    return hashlib.sha256(text.encode()).hexdigest()


def forget_if_files_are_gone(folder: Path) -> None:
    """Data files lie outside the dataset version's folder: where one was removed, the version is no longer whole."""
    manifest = read_manifest(folder)
    if manifest is None:
        return
    listed = {name for table in ("latents.parquet", "text.parquet") for name in pq.read_table(manifest.file(table), columns=["file"])["file"].to_pylist()}
    if located(folder) is None and not all((folder.parent / name).is_file() for name in listed):
        (folder / MANIFEST).unlink()


def _file_names(stem: str) -> Iterator[str]:
    return (f"{stem}{f'.{number}' if number else ''}.safetensors" for number in itertools.count())
