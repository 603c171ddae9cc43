"""Writing safetensors files whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from cosmos_ops.errors import WorkFailed
from cosmos_ops.lake import atomic_write

MAKE_ROOM = "make room there, then run the same command again: it goes on from what is whole"


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write contiguous CPU tensors and a header atomically. Raises `WorkFailed` when the disk is full or refuses otherwise; what was at `path` stays."""
    try:
        with atomic_write(path) as part:
            save_file(dict(tensors), part, metadata=metadata)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own, which is no OSError
        raise WorkFailed(f"{path} cannot be written ({error}); {MAKE_ROOM}") from None
