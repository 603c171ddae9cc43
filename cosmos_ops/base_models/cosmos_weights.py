"""Where the weights of a Cosmos pipeline folder are and what they hash to: Hub, local folder or builtin. Nothing enters memory here."""

import contextlib
import functools
import hashlib
import json
import re
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError, safe_open

from cosmos_ops.base_models.base import PARTS, Identity
from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest, file_sha256
from cosmos_ops.lake import write_json
from cosmos_ops.profiles import BaseModelSpec

CODE_VERSION = "1"
"""Part of every fingerprint: raise it when latents or text embeddings come out otherwise for the same weights."""

BUILTIN = "builtin:nano"

FOLDERS = {"vae": ("vae",), "text": ("text_encoder", "tokenizer"), "denoiser": ("transformer", "scheduler")}
"""Component folders of each part."""

PROJECTION = ("crossattn_proj.0.weight", "crossattn_proj.0.bias")
"""Names in the transformer's files of the linear layer that narrows text embeddings; a GELU follows it."""

_KINDS = ("*.safetensors", "*.json", "*.txt", "*.jinja")
"""Files that are read. Pickled weights never are."""


def identify(spec: BaseModelSpec, cache: Path) -> Identity:
    """Revision and fingerprint of a spec.

    A Hub revision is a commit, which names its content: no weights are downloaded. A folder is hashed; hashes are kept under
    `cache` by path, size and time of change. Raises `UserError` in one line for whatever is not there.
    """
    if _is_hub(spec):
        commit = _commit(spec)
        return Identity(commit, digest([CODE_VERSION, "hub", commit]))
    folder = locate(spec, cache, PARTS)
    hashes = _HashCache(cache / "weight-hashes.json")
    files = {part: {name: hashes.of_file(path) for name, path in _files(folder, part).items()} for part in PARTS}
    projection = [hashes.of_tensor(path, name) for name, path in projection_files(folder).items()]
    hashes.save()
    return Identity(digest(files, 40), digest([CODE_VERSION, files["vae"], files["text"], projection]))


def locate(spec: BaseModelSpec, cache: Path, parts: tuple[str, ...]) -> Path:
    """The pipeline folder holding at least `parts`, downloaded or built where it must be. Raises `UserError`."""
    if _is_hub(spec):
        wanted = [f"{name}/{kind}" for part in parts for name in FOLDERS[part] for kind in _KINDS]
        projection = [f"transformer/{kind}" for kind in _KINDS if needs_projection(parts)]
        folder = snapshot(spec.source, _commit(spec), ("model_index.json", "tokenizer/*.json", *wanted, *projection))
    elif spec.source == BUILTIN:
        from cosmos_ops.base_models.nano.build import builtin_nano

        folder = builtin_nano(cache)
    else:
        folder = Path(spec.source).expanduser().resolve()
    for part in parts:
        _files(folder, part)
    return folder


def tokenizer_folder(spec: BaseModelSpec) -> Path | None:
    """The pipeline folder with at least the tokenizer in it; None for a builtin that was not trained: its tokenizer is made in code. Raises `UserError`."""
    if _is_hub(spec):
        return snapshot(spec.source, _commit(spec), ("model_index.json", "tokenizer/*.json"))
    if spec.source == BUILTIN:
        trained = Path(__file__).parent / "nano" / "weights"
        return trained if (trained / "tokenizer" / "tokenizer.json").is_file() else None
    return Path(spec.source).expanduser().resolve()


def needs_projection(parts: tuple[str, ...]) -> bool:
    """Whether text is read or made: always, but for a VAE alone."""
    return set(parts) != {"vae"}


def projection_files(folder: Path) -> dict[str, Path]:
    """Tensor name -> safetensors file for the text projection. Raises `UserError` where the transformer has none."""
    transformer = folder / "transformer"
    index = next(iter(sorted(transformer.glob("*.safetensors.index.json"))), None)
    if index is not None:
        places = json.loads(index.read_text())["weight_map"]
        found = {name: transformer / Path(places[name]).name for name in PROJECTION if name in places}
    else:
        found = {}
        for path in sorted(transformer.glob("*.safetensors")):
            with _opened(path) as file:
                found |= {name: path for name in PROJECTION if name in file.keys()}
    if len(found) != len(PROJECTION):
        raise UserError(f"{transformer} holds no {PROJECTION[0]}: not the transformer of a Cosmos Predict 2.5 pipeline; check base_model.source")
    return {name: found[name] for name in PROJECTION}


def _is_hub(spec: BaseModelSpec) -> bool:
    if spec.source == BUILTIN or Path(spec.source).expanduser().is_dir():
        return False
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", spec.source) is None:
        raise UserError(f"base_model.source {spec.source!r} is no folder that exists and no Hub id (owner/name); correct the profile")
    return True


@functools.lru_cache
def snapshot(source: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """Files of a Hub repository; the folder's name is the commit. Without a network, what is in the Hub's cache."""
    named = f"{source} at revision {revision or 'main'}"
    wanted = {"revision": revision, "allow_patterns": list(patterns)}
    try:
        return Path(huggingface_hub.snapshot_download(source, **wanted))
    except GatedRepoError:
        raise UserError(f"{named} is gated; accept its terms on the Hub and log in with `hf auth login`, or set base_model.source to a local folder") from None
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise UserError(f"{named} is not on the Hub; correct base_model.source and base_model.revision") from None
    except OSError as error:
        with contextlib.suppress(OSError):  # some versions of the library ask the Hub even for a commit that is here whole
            return Path(huggingface_hub.snapshot_download(source, local_files_only=True, **wanted))
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{named} is neither in the local Hub cache nor to be had ({reason}); connect, or set base_model.source to a local folder") from None


def _commit(spec: BaseModelSpec) -> str:
    """The commit a Hub revision stands for now, or stood for when it was last downloaded where there is no network."""
    return snapshot(spec.source, spec.revision, ("model_index.json",)).name


def _files(folder: Path, part: str) -> dict[str, Path]:
    """Relative name -> path of a part's files. Raises `UserError` where its weights or settings are missing."""
    found: dict[str, Path] = {}
    for name in FOLDERS[part]:
        here = sorted(path for kind in _KINDS for path in (folder / name).glob(kind) if path.is_file())
        weights = name in ("tokenizer", "scheduler") or any(path.suffix == ".safetensors" for path in here)
        if not here or not weights:
            raise UserError(f"{folder / name} holds no {'weights (*.safetensors)' if here else 'files'}; give a whole pipeline folder as base_model.source")
        found |= {f"{name}/{path.name}": path for path in here}
    return found


class _HashCache:
    """SHA-256 by path, size and time of change, so that tens of gigabytes are hashed once."""

    def __init__(self, path: Path):
        self.path = path
        self.known: dict[str, str] = {}
        try:
            self.known = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            pass  # hashed again
        self.new: dict[str, str] = {}

    def of_file(self, path: Path) -> str:
        return self._get(path, "", lambda: file_sha256(path))

    def of_tensor(self, path: Path, name: str) -> str:
        """Hash of one tensor, so that another fine-tune of the transformer around the same projection keeps the fingerprint."""
        return self._get(path, name, lambda: _tensor_sha256(path, name))

    def save(self) -> None:
        if self.new:
            write_json(self.path, {**self.known, **self.new})

    def _get(self, path: Path, tensor: str, compute) -> str:
        stat = path.stat()
        key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{tensor}"
        if key not in self.known:
            self.known[key] = self.new[key] = compute()
        return self.known[key]


def _tensor_sha256(path: Path, name: str) -> str:
    import torch  # here, so that a tokenizer can be found without it

    with _opened(path) as file:
        tensor = file.get_tensor(name)
    raw = tensor.contiguous().view(-1).view(torch.uint8)
    return hashlib.sha256(raw.numpy().tobytes() + str(tensor.dtype).encode()).hexdigest()


def _opened(path: Path):
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is not readable as safetensors ({' '.join(str(error).split())}); copy or download it again") from None
