"""Modulation of the Cosmos transformer by latent frame instead of by token, equal to rounding.

Shift, scale and gate of a block's three parts follow from the frame's noise level alone. The stock model computes and keeps them for every token
(31,104 at 432 x 768 x 93, 84 times, 382 MB each in bfloat16); here they stay [B, frames, 1, C] and are broadcast.
"""

import types

import torch
from torch import nn


def modulate_by_frame(transformer: nn.Module) -> None:
    """Change how the transformer computes, in place; what it is given, what it returns and what its weights are called stay.

    Blocks with image context or control residuals are not of the models this is for.
    """
    assert not transformer.config.img_context_dim_in and transformer.config.patch_size[0] == 1
    for block in transformer.transformer_blocks:
        block.forward = types.MethodType(_block, block)
    transformer.norm_out.forward = types.MethodType(_norm_out, transformer.norm_out)
    transformer.forward = types.MethodType(_forward, transformer)


def _forward(self: nn.Module, *, timestep: torch.Tensor, **inputs):
    # Noise levels in one row are embedded and handed to the blocks as they are; [B, 1, T, 1, 1] would be spread over the tokens first.
    return type(self).forward(self, timestep=timestep.flatten(), **inputs)


def _block(
    self: nn.Module,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    embedded_timestep: torch.Tensor,
    temb: torch.Tensor,
    image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    extra_pos_emb: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    controlnet_residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """`CosmosTransformerBlock.forward` for `embedded_timestep` [B * T, C] and `temb` [B * T, 3 C]; `hidden_states` is [B, T * tokens, C]."""
    assert extra_pos_emb is None and controlnet_residual is None
    parts = (
        (self.norm1, lambda x: self.attn1(x, image_rotary_emb=image_rotary_emb)),
        (self.norm2, lambda x: self.attn2(x, encoder_hidden_states=encoder_hidden_states, attention_mask=attention_mask)),
        (self.norm3, self.ff),
    )
    batch = len(hidden_states)
    hidden = hidden_states.unflatten(1, (len(embedded_timestep) // batch, -1))
    for norm, part in parts:
        shift, scale, gate = _modulation(norm, embedded_timestep, temb, 3, batch)
        inward = norm.norm(hidden) * (1 + scale) + shift
        hidden = hidden + gate * part(inward.flatten(1, 2)).view_as(hidden)
    return hidden.flatten(1, 2)


def _norm_out(self: nn.Module, hidden_states: torch.Tensor, embedded_timestep: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
    """`CosmosAdaLayerNorm.forward` for the same shapes."""
    batch = len(hidden_states)
    shift, scale = _modulation(self, embedded_timestep, temb[..., : 2 * self.embedding_dim], 2, batch)
    hidden = hidden_states.unflatten(1, (len(embedded_timestep) // batch, -1))
    return (self.norm(hidden) * (1 + scale) + shift).flatten(1, 2)


def _modulation(norm: nn.Module, embedded_timestep: torch.Tensor, temb: torch.Tensor, count: int, batch: int) -> tuple[torch.Tensor, ...]:
    """`count` tensors [B, T, 1, C]."""
    made = norm.linear_2(norm.linear_1(norm.activation(embedded_timestep))) + temb
    return made.view(batch, -1, 1, made.shape[-1]).chunk(count, dim=-1)
