"""What the backward pass keeps and what it computes again: policies of activation checkpointing, and block inputs kept in host memory."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from cosmos_ops.errors import UserError

POLICIES = ("none", "attention", "full")
"""From most memory to least: keep everything; keep block inputs and attention's outputs; keep block inputs alone."""
OFFLOADS = ("none", "block_inputs")
"""Where block inputs wait for the backward pass: on the device, or in host memory."""

_aten = torch.ops.aten
_ATTENTION = [
    getattr(_aten, name).default
    for name in (
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
    )
    if hasattr(_aten, name)
]
"""The kernels behind `scaled_dot_product_attention`; their outputs and log-sum-exps are worth three quarters of a forward pass."""


def set_recompute(denoiser: nn.Module, policy: str, offload: str = "none") -> None:
    """Set the policy on the denoiser's blocks. Block inputs are moved under the policy `full` alone.

    Raises `UserError` where the model has no checkpointing.
    """
    assert policy in POLICIES and offload in OFFLOADS and (offload == "none" or policy == "full"), (policy, offload)
    if policy == "none":
        if getattr(denoiser, "gradient_checkpointing", False):
            denoiser.disable_gradient_checkpointing()
        return
    if not hasattr(denoiser, "enable_gradient_checkpointing"):
        raise UserError("the base model has no gradient checkpointing; leave gradient_checkpointing out of the recipe")
    run = functools.partial(checkpoint, use_reentrant=False)
    if policy == "attention":
        run = functools.partial(run, context_fn=lambda: create_selective_checkpoint_contexts(_ATTENTION))
    denoiser.enable_gradient_checkpointing(_in_host_memory(run) if offload == "block_inputs" else run)


def _in_host_memory(run: Callable[..., Any]) -> Callable[..., Any]:
    """Checkpointing that keeps each block's first argument, its hidden states, in (pinned) host memory; what all blocks share stays."""

    def run_block(block: nn.Module, hidden: torch.Tensor, *others: Any) -> Any:
        own = hidden.untyped_storage()._cdata

        def pack(tensor: torch.Tensor) -> tuple[torch.device, torch.Tensor] | torch.Tensor:
            if tensor.untyped_storage()._cdata != own:
                return tensor
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            return tensor.device, host.copy_(tensor, non_blocking=True)

        def unpack(kept: tuple[torch.device, torch.Tensor] | torch.Tensor) -> torch.Tensor:
            return kept if isinstance(kept, torch.Tensor) else kept[1].to(kept[0], non_blocking=True)

        with saved_tensors_hooks(pack, unpack):
            return run(block, hidden, *others)

    return run_block
