"""Loading parts of a Cosmos pipeline folder: safetensors only, whole or not at all, frozen, nothing global left changed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from cosmos_ops.base_models import cosmos_weights
from cosmos_ops.errors import UserError


def load_component(cls: Any, folder: Path, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """One component from its folder, in eval and frozen. Raises `UserError` where weights that its config asks for are missing."""
    model, report = from_pretrained(cls, folder, dtype, output_loading_info=True)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise UserError(f"{folder} lacks {len(missing)} weights ({missing[0]}, ...) that its config.json asks for; get the whole folder again")
    return model.to(device).eval().requires_grad_(False)


def load_projection(folder: Path, dtype: torch.dtype) -> nn.Sequential:
    """`crossattn_proj` alone, on the CPU: the rest of the transformer is not read."""
    tensors = {}
    for name, path in cosmos_weights.projection_files(folder).items():
        with safe_open(path, framework="pt") as file:
            tensors[name] = file.get_tensor(name).to(dtype)
    weight, bias = (tensors[name] for name in cosmos_weights.PROJECTION)
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta", dtype=dtype)
    linear.weight, linear.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
    return nn.Sequential(linear, nn.GELU()).eval()


def from_pretrained(cls: Any, folder: Path, dtype: torch.dtype, **more: Any) -> Any:
    """`cls.from_pretrained` on a local folder, without a progress bar for every component. Raises `UserError` in one line."""
    gradients = torch.is_grad_enabled()
    try:
        with no_progress_bars():
            return cls.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True, **more)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder} cannot be loaded as {cls.__name__} ({' '.join(str(error).split())[:200]}); check base_model.source") from None
    finally:
        torch.set_grad_enabled(gradients)


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep diffusers and transformers from drawing bars of their own; they are as before afterwards."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    bars = [logging for logging in (diffusers_logging, transformers_logging) if logging.is_progress_bar_enabled()]
    for logging in bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging in bars:
            logging.enable_progress_bar()


def torch_device(name: str) -> torch.device:
    """The device, if it is there. Raises `UserError`."""
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name!r} was asked for and torch sees no CUDA device; use cpu, or mend the driver")
    return device


def compute_dtype(name: str, device: torch.device) -> torch.dtype:
    """float32 on a CPU, else the named dtype. Raises `UserError` for another than the usual three."""
    if name not in ("float32", "bfloat16", "float16"):
        raise UserError(f"base_model.dtype {name!r} is unknown; use bfloat16, float16 or float32")
    return torch.float32 if device.type == "cpu" else getattr(torch, name)
