"""A lake on object storage: every object that something lists is read and hashed there, past this machine's copies; then the copies themselves."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.errors import WorkFailed
from cosmos_ops.hashing import file_sha256
from cosmos_ops.lake import MANIFEST
from cosmos_ops.shards.write import INDEX
from cosmos_ops.store.catalog import REGISTRATION
from cosmos_ops.store.folders import KEY, parsed_manifest
from cosmos_ops.store.objects import in_parallel, objects
from cosmos_ops.store.place import ARTIFACTS, Place
from cosmos_ops.verify.drops import damaged_clips
from cosmos_ops.verify.folders import EXTRA
from cosmos_ops.verify.hashing import Checking
from cosmos_ops.verify.products import folder_of_pointer

_LATENTS, _HEADS = "latents", "heads"
_AGAIN = "run the command that made it (`cosmos-ops ingest` for a drop, else `cosmos-ops run`)"


def check_upstream(checking: Checking, place: Place, drop: str | None) -> None:
    """Check a whole lake upstream, or one drop of it. Lists what is below and reads all of it: as long, and as much traffic, as the lake is large."""
    look = _Pass(checking, place, f"drops/{drop}" if drop else "")
    look.folders()
    look.registrations()
    look.latents()
    if drop is None:
        look.pointers()
    look.rest()


class _Pass:
    """One pass. `left` are names that nothing has accounted for yet."""

    def __init__(self, checking: Checking, place: Place, below: str):
        self.checking, self.place, self.store = checking, place, objects(place)
        found = self.store.below(below)
        names = {f"{below}/{name}" if below else name: size for name, size in found.items()}
        self.sizes = {name: size for name, size in names.items() if PurePosixPath(name).parts[0] != ARTIFACTS}
        self.left = {name for name in self.sizes if not any(part.startswith(".") for part in PurePosixPath(name).parts)}
        self.done = {str(PurePosixPath(name).parent) for name in self.left if PurePosixPath(name).name == MANIFEST}
        checking.expect(len(self.left))

    def folders(self) -> None:
        """Every manifest, and the files that it lists."""
        for folder in sorted(self.done):
            name = f"{folder}/{MANIFEST}"
            self.left.discard(name)
            remedy = f"remove {self._told(name)} and {_AGAIN}; what is whole is not made again"
            self.checking.count(self._told(name), self.sizes[name])
            try:
                manifest = parsed_manifest(self.place / folder, self._read(name))
            except WorkFailed as error:
                self._report(name, f"damaged: it is no manifest ({error})", remedy)
                self.left -= {other for other in self.left if other.startswith(f"{folder}/")}
                continue
            self._files({f"{folder}/{file}": sha256 for file, sha256 in manifest["files"].items()}, remedy)
            for extra in sorted(other for other in self.left if other.startswith(f"{folder}/")):
                if not extra.startswith(f"{_LATENTS}/"):
                    self._report(extra, EXTRA, f"remove {self._told(extra)}: nothing reads it")
                    self.left.discard(extra)

    def registrations(self) -> None:
        """Registrations, and the files of drops that were copied in."""
        for name in sorted(self.left):
            parts = PurePosixPath(name).parts
            if parts[0] != "drops" or parts[2:] != (REGISTRATION,):
                continue
            stored = self._parsed(name, f"restore it, or remove everything below {self._told(f'drops/{parts[1]}')} and ingest the delivery again")
            if isinstance(stored, dict) and stored.get("copied") and isinstance(stored.get("files"), dict):
                source = {f"drops/{parts[1]}/source/{file}": facts[2] for file, facts in stored["files"].items()}
                self._files(source, "put the delivered file back; what was made of it is unharmed, but could not be made again")

    def latents(self) -> None:
        """Tensor files have their hash in a note beside them."""
        for name in sorted(other for other in self.left if other.startswith(f"{_LATENTS}/") and other.endswith(".json")):
            tensors = name.removesuffix(".json") + ".safetensors"
            remedy = f"remove {self._told(tensors)} and its .json, and the {MANIFEST} of the dataset versions beside them, and run `cosmos-ops train`"
            about = self._parsed(name, remedy)
            if isinstance(about, dict) and isinstance(about.get("sha256"), str):
                self._files({tensors: about["sha256"]}, f"{remedy}: it is encoded again")

    def pointers(self) -> None:
        """What is current must be there."""
        for head in sorted(other for other in self.left if other.startswith(f"{_HEADS}/")):
            pointers = self._parsed(head, f"remove {self._told(head)} and run `cosmos-ops run`: finished work is found again")
            for name, value in sorted(pointers.items() if isinstance(pointers, dict) else ()):
                folder = folder_of_pointer(name, value)
                if folder is not None and folder not in self.done:
                    what = f"missing: it is the current {name} of {PurePosixPath(head).stem}"
                    self._report(f"{folder}/{MANIFEST}", what, "run `cosmos-ops run`: it is made again")

    def rest(self) -> None:
        """Notes must be readable; folders without a manifest are unfinished, unless their check says that they were whole."""
        unfinished = set()
        for name in sorted(self.left):
            folder = str(PurePosixPath(name).parent)
            if name.endswith(".json"):
                self._parsed(name, f"remove {self._told(name)} and {_AGAIN}")
            elif "/checks/" not in name:
                unfinished.add(folder)
                self.left.discard(name)
        for folder in sorted({str(PurePosixPath(name).parent) for name in self.sizes if PurePosixPath(name).name == KEY} - self.done | unfinished):
            if self._was_checked(folder):
                self._report(f"{folder}/{MANIFEST}", "missing: nothing says what its folder should hold", _AGAIN)
            else:
                self.checking.unfinished.append(self._told(folder))

    def _was_checked(self, folder: str) -> bool:
        parts = PurePosixPath(folder).parts
        return len(parts) == 4 and parts[0] == "drops" and f"drops/{parts[1]}/checks/{parts[3]}/{parts[2]}.json" in self.sizes

    def _files(self, expected: dict[str, str], remedy: str) -> None:
        present = [name for name in sorted(expected) if name in self.sizes]
        for name in sorted(expected.keys() - set(present)):
            self._report(name, "missing", remedy)
        for name, (whole, told, clips) in zip(present, in_parallel(lambda name: self._looked_at(name, expected[name]), present), strict=True):
            self.left.discard(name)
            self.checking.count(self._told(name), self.sizes[name])
            if not whole:
                self._report(name, f"damaged: its content differs from its hash{told}", remedy, clips)

    def _looked_at(self, name: str, sha256: str) -> tuple[bool, str, tuple[str, ...]]:
        with tempfile.TemporaryDirectory(prefix="cosmos-ops-") as here:
            path = Path(here) / PurePosixPath(name).name
            if self.store.fetch(name, path) and file_sha256(path) == sha256:
                return True, "", ()
            if path.suffix != ".tar" or not path.exists() or not self.store.fetch(f"{PurePosixPath(name).parent}/{INDEX}", path.with_name(INDEX)):
                return False, "", ()
            try:
                clips = damaged_clips(path)
            except (OSError, ValueError, pa.ArrowException):
                clips = None
            return False, f"; {len(clips)} clips are lost" if clips else "", clips or ()

    def _parsed(self, name: str, remedy: str) -> Any:
        self.left.discard(name)
        self.checking.count(self._told(name), self.sizes[name])
        try:
            return json.loads(self._read(name))
        except ValueError as error:
            self._report(name, f"damaged: not readable as JSON ({' '.join(str(error).split())})", remedy)
            return None

    def _read(self, name: str) -> bytes:
        found = self.store.read(name)
        return found[0] if found else b""

    def _told(self, name: str) -> str:
        return str(self.place / name)

    def _report(self, name: str, what: str, remedy: str, clips: tuple[str, ...] = ()) -> None:
        self.checking.report_at(self._told(name), what, remedy, clips)


def check_copy(checking: Checking, root: Path) -> None:
    """Check what this machine holds of a lake elsewhere: a damaged copy would be read before the whole object is."""
    for manifest in sorted(root.rglob(MANIFEST)):
        folder = manifest.parent
        if any(part.startswith(".") for part in folder.relative_to(root).parts) or checking.is_busy(folder):
            continue
        stored = checking.parsed(manifest, f"remove {folder}: it is brought again")
        files = stored.get("files") if isinstance(stored, dict) else None
        if isinstance(files, dict):
            present = {folder / name: sha256 for name, sha256 in files.items() if (folder / name).is_file()}
            checking.files(present, lambda path: f"remove {path}: it is brought again")
    tensors = dict(_tensors_here(root / _LATENTS))
    checking.files(tensors, lambda path: f"remove {path}: it is brought again")


def _tensors_here(latents: Path) -> Iterator[tuple[Path, str]]:
    """Tensor files that lie here with their hashes, from the tables of the dataset versions that are here."""
    for folder in sorted(path.parent for path in latents.glob(f"*/*/{MANIFEST}")):
        for table in (folder / "latents.parquet", folder / "text.parquet"):
            try:
                rows = pq.read_table(table, columns=["file", "sha256"]).to_pylist()
            except (OSError, KeyError, pa.ArrowException):
                continue  # not brought, or reported as damaged
            yield from ((folder.parent / row["file"], row["sha256"]) for row in rows if (folder.parent / row["file"]).is_file())
