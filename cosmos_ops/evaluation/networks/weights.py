"""Weights of a metric's network: where they lie, what they are, and putting them into the network without leaving a tensor out."""

import re
from pathlib import Path

import huggingface_hub
import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest, file_sha256

_PATTERNS = ["*.safetensors", "*.json"]


def weight_files(metric: str, source: str) -> list[Path]:
    """The safetensors and JSON files of a folder, of one file, or of a Hub repository (`owner/name`, or `owner/name@commit`), by name.

    Raises `UserError` where there are none: weights that are asked for and missing are no reason to leave a metric out silently.
    """
    asked, path = f"evaluation.weights.{metric}: {source!r}", Path(source).expanduser()
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = _listed(path)
    elif re.fullmatch(r"[\w-][\w.-]*/[\w.-]+(@[\w./-]+)?", source):
        name, _, revision = source.partition("@")
        try:
            found = _listed(Path(huggingface_hub.snapshot_download(name, revision=revision or None, allow_patterns=_PATTERNS)))
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"{asked} is no local path and not to be had from the Hub ({reason}); give a path, or leave it out") from None
    else:
        raise UserError(f"{asked} is neither a path that exists nor a Hub id (owner/name); correct the profile")
    if not any(file.suffix == ".safetensors" for file in found):
        raise UserError(f"{asked} holds no .safetensors file; other formats are not read, docs/METRICS.md says how to convert them")
    return found


def weights_hash(files: list[Path]) -> str:
    """Hash of the files' contents."""
    return digest([[file.name, file_sha256(file)] for file in files])


def fill(network: nn.Module, files: list[Path], what: str) -> nn.Module:
    """The network with its weights, ready to measure. Raises `UserError` where a tensor is missing or of another shape."""
    tensors: dict[str, torch.Tensor] = {}
    try:
        for file in files:
            if file.suffix == ".safetensors":
                tensors |= load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} is no safetensors file that can be read ({error})") from None
    wanted = network.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    wrong = [name for name in wanted if name not in counters and (name not in tensors or tensors[name].shape != wanted[name].shape)]
    if wrong:
        raise UserError(f"{files[0].parent} does not hold {what}: {len(wrong)} tensors are missing or of another shape, {wrong[0]} for one")
    network.load_state_dict({name: tensors[name].float() for name in wanted if name not in counters}, strict=False)
    return network.eval().requires_grad_(False)


def _listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json") and path.is_file())
