"""How much a forward pass keeps for the backward pass, found by running it on the meta device: real shapes, real code, no memory.

What autograd saves is seen through its saved-tensor hooks, each storage counted once and weights left out. The meta device has neither fused
attention nor autocast, so both are stood in for: attention keeps its inputs, its output and a log-sum-exp in float32, as the fused kernels do;
in half precision linear layers take and give the half type and normalisations compute in float32, as CUDA's autocast lets them.
"""

import contextlib
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from cosmos_ops.base_models import WorldModel


@dataclass(frozen=True)
class Activations:
    """Bytes kept for the backward pass of one batch."""

    blocks: int
    """How many blocks the denoiser has."""
    outside_bytes: int
    """Kept before the first and after the last block, together."""
    shared_bytes: int
    """What every block is given beside its hidden states, once."""
    block_input_bytes: int
    """Hidden states that enter a block."""
    block_bytes: int
    """Kept inside the largest block, all blocks being kept whole."""
    all_blocks_bytes: int
    attention_bytes: int
    """Attention outputs and log-sum-exps of one block; 0 where the meta device was not used."""
    largest_bytes: int
    """The largest tensor kept."""

    def kept_bytes(self, policy: str) -> int:
        """What is kept between forward and backward pass under a policy of `recompute.POLICIES`."""
        outside = self.outside_bytes + self.shared_bytes
        if policy == "none":
            return outside + self.all_blocks_bytes
        extra = self.attention_bytes if policy == "attention" else 0
        return outside + self.blocks * (self.block_input_bytes + extra)


def measure_activations(model: WorldModel, latent_shape: tuple[int, ...], text_shape: tuple[int, int], batch: int) -> Activations:
    """Run one forward pass of `model` (on the meta device, or a small one on a CPU), adapter attached, and count what it keeps.

    `latent_shape` is (C, t, h, w), `text_shape` (L, D).
    """
    device, dtype = model.device, next(model.denoiser.parameters()).dtype
    count = _Counter(model.denoiser)
    inputs = (torch.empty(batch, *latent_shape, device=device), torch.full((batch,), 0.5, device=device))
    text, frames = torch.empty(batch, *text_shape, device=device), torch.ones(batch, dtype=torch.long, device=device)
    kernels = _Kernels(None if dtype == torch.float32 else dtype)
    with torch.enable_grad(), count, kernels if device.type == "meta" else contextlib.nullcontext(), saved_tensors_hooks(count.saved, lambda tensor: tensor):
        noisy, sigma = inputs
        output = model.velocity(noisy, sigma, text, torch.zeros_like(noisy), frames)
    del output
    return count.result(kernels.attention_bytes)


class _Counter(contextlib.ExitStack):
    """Attributes each storage that autograd keeps to the block in which it was first seen."""

    def __init__(self, denoiser: nn.Module):
        super().__init__()
        self._weights = {tensor.untyped_storage()._cdata for tensor in (*denoiser.parameters(), *denoiser.buffers())}
        self._seen: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice
        self._blocks = [module for module in denoiser.modules() if type(module).__name__ in (getattr(denoiser, "_no_split_modules", None) or ())]
        self._kept: dict[int | None, int] = dict.fromkeys([None, *range(len(self._blocks))], 0)
        self._inside: int | None = None
        self._shared, self._input, self._largest = 0, 0, 0

    def __enter__(self) -> "_Counter":
        for number, block in enumerate(self._blocks):
            for handle in (
                block.register_forward_pre_hook(lambda module, inputs, number=number: self._enter(number, inputs)),
                block.register_forward_hook(lambda module, inputs, output: self._leave()),
            ):
                self.callback(handle.remove)
        return self

    def saved(self, tensor: torch.Tensor) -> torch.Tensor:
        size = self._take(tensor)
        self._kept[self._inside] += size
        self._largest = max(self._largest, size)
        return tensor

    def result(self, attention_bytes: int) -> Activations:
        inside = [self._kept[number] for number in range(len(self._blocks))] or [0]
        of_a_block = attention_bytes // max(1, len(self._blocks))
        return Activations(len(self._blocks), self._kept[None], self._shared, self._input, max(inside), sum(inside), of_a_block, self._largest)

    def _enter(self, number: int, inputs: tuple) -> None:
        self._inside = number
        tensors = [tensor for value in inputs for tensor in (value if isinstance(value, tuple | list) else (value,)) if isinstance(tensor, torch.Tensor)]
        self._input = max(self._input, tensors[0].untyped_storage().nbytes())
        if number:  # hidden states of a later block are that block's own: autograd counts them when it keeps them
            return
        self._shared = sum(self._take(tensor) for tensor in tensors[1:])

    def _leave(self) -> None:
        self._inside = None

    def _take(self, tensor: torch.Tensor) -> int:
        """Bytes of a storage seen for the first time, else 0."""
        storage = tensor.untyped_storage()
        if storage._cdata in self._seen or storage._cdata in self._weights:
            return 0
        self._seen[storage._cdata] = storage
        return storage.nbytes()


class _FusedAttention(torch.autograd.Function):
    """Shapes of a fused attention kernel: what it returns and what it keeps."""

    @staticmethod
    def forward(ctx, query, key, value):
        batch, heads, tokens, _ = query.shape
        output = query.new_empty(batch, tokens, heads, value.shape[-1]).transpose(1, 2)  # the layout that kernels leave
        logsumexp = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, logsumexp)
        return output

    @staticmethod
    def backward(ctx, *gradients):
        raise AssertionError("shapes alone have no gradient")


class _Kernels(TorchFunctionMode):
    """Stands in for fused attention and, where `half` is a type, for CUDA's autocast to it."""

    def __init__(self, half: torch.dtype | None):
        super().__init__()
        self._half = half
        self.attention_bytes = 0
        """Outputs and log-sum-exps of all attention calls."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            query, key, value = (self._to(tensor, self._half) for tensor in _arguments(*args, **(kwargs or {})))
            output = _FusedAttention.apply(query, key, value)
            self.attention_bytes += output.nbytes + output[..., 0].numel() * 4
            return output
        if self._half is not None and name in ("linear", "matmul"):
            args = tuple(self._to(value, self._half) for value in args)
        elif self._half is not None and name in ("layer_norm", "rms_norm", "pow"):
            args = tuple(self._to(value, torch.float32) for value in args)
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _to(value, dtype: torch.dtype | None):
        return value.to(dtype) if dtype is not None and isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _arguments(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *settings: object, **named: object) -> tuple[torch.Tensor, ...]:
    """The tensors among the arguments of `scaled_dot_product_attention`."""
    return query, key, value
