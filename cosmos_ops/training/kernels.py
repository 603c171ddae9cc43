"""Which of torch's attention kernels a training uses: each is tried on the device with a real batch, and the fastest is kept.

At the 2B model's 31,104 tokens attention is three quarters of an update, and which kernel is fastest depends on card, driver and torch.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

KERNELS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}
DEFAULT = "default"
"""Torch's own choice."""
_CANDIDATES = (DEFAULT, "cudnn", "flash")


@contextlib.contextmanager
def attention(kernel: str) -> Iterator[None]:
    """Use this kernel for `scaled_dot_product_attention` inside the block, forward and backward; another where it cannot serve."""
    if kernel == DEFAULT:
        yield
        return
    others = [] if kernel == "math" else [backend for name, backend in KERNELS.items() if name != kernel]  # math serves whatever comes
    with sdpa_kernel([KERNELS[kernel], *others], set_priority=True):
        yield


def fastest_attention(work: Callable[[], object], device: torch.device, candidates: tuple[str, ...] = _CANDIDATES) -> tuple[str, dict[str, float]]:
    """Name of the fastest kernel for `work` (a forward and backward pass), and the seconds each took. One that fails or runs out of memory is left out."""
    seconds = {}
    for name in candidates:
        try:
            with attention(name):
                work()  # kernels are looked up and built
                _wait(device)
                begun = time.perf_counter()
                work()
                _wait(device)
                seconds[name] = time.perf_counter() - begun
        except RuntimeError:  # no kernel for this card or these shapes, or out of memory; the default runs anyway
            if name == DEFAULT:
                raise
    return min(seconds, key=seconds.__getitem__), seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
