"""Weights that nano's denoiser starts its training from: random, but for a path on which the given frame is copied to all others.

Finding out by gradient descent that the first frame says most about the same place in later frames takes a small transformer most of
two hours on a processor core. Here two heads of the first block attend from every token to the given frame at the same place: their
queries are one constant vector, their keys the same vector on given frames and another one elsewhere, and the rotary embedding lets
only equal rows and columns agree. What is copied there is taken off the noisy latents by the last layer: velocity is about
noisy - copy. All other residual branches are closed at first by their gates.
"""

import torch
from diffusers import CosmosTransformer3DModel
from torch import nn

PATCH, CHANNELS = 4, 16
"""Latent positions in a token's patch (1 x 2 x 2) and latent channels."""
CONTENT = PATCH * CHANNELS
COPIED, GIVEN, ALWAYS = CONTENT, 2 * CONTENT, 2 * CONTENT + 1
"""Hidden units: 0 to 63 hold the token's own patch, 64 to 127 the copy, then one marks given frames and one is constant once shifted."""
HEADS = 2
"""As many as a patch needs: 32 values a head."""
_PLACE, _ELSEWHERE = (6, 7, 11, 12), (10, 15)
"""Rotary components of 32: the two fastest of rows (6-10) and of columns (11-15), and the slowest of each."""
_SHARPNESS = 2.2
"""Of queries and of keys: a neighbouring place gets 0.05 of the weight of the same place."""
_MARK, _SHIFT = 4.0, 3.0
_GIVEN_STD, _MIXED_STD = 0.7, 0.6
"""Deviation of a token's hidden units before the first block on given frames, and at the end, which the norms divide by."""
_SMALL = 0.02
_KEPT = 0.6
"""How much of the given frame is believed: the slope of later latents over the first, by regression on simulated clips."""


@torch.no_grad()
def start_denoiser(denoiser: CosmosTransformer3DModel) -> None:
    """Overwrite what is needed of a freshly made denoiser of nano's sizes, in place."""
    for name, module in denoiser.named_modules():
        if name.endswith("linear_2"):  # modulation of all norms: no shift, no scale, closed gates
            nn.init.zeros_(module.weight)
    block, width = denoiser.transformer_blocks[0], denoiser.proj_out.in_features
    _patches(denoiser.patch_embed.proj.weight)
    _modulate(block.norm1, width, denoiser.time_embed)
    size = block.attn1.to_q.out_features // denoiser.config.num_attention_heads
    query, key, value, out = block.attn1.to_q.weight, block.attn1.to_k.weight, block.attn1.to_v.weight, block.attn1.to_out[0].weight
    out.zero_()
    for head in range(HEADS):
        rows = slice(head * size, (head + 1) * size)
        # Small, not nothing: where query and key are both zero no gradient arrives, and DoRA divides by the length of a row.
        query[rows], key[rows], value[rows] = _SMALL * query[rows], _SMALL * key[rows], 0.0
        for component in _PLACE:
            query[head * size + component, ALWAYS] = 1.0
            key[head * size + component, GIVEN] = 1.0
        for component in _ELSEWHERE:
            key[head * size + component, ALWAYS] = 1.0
        for unit in range(size):
            value[head * size + unit, head * size + unit] = 1.0
            out[COPIED + head * size + unit, head * size + unit] = _GIVEN_STD
    for norm in (block.attn1.norm_q, block.attn1.norm_k):
        norm.weight[list(_PLACE)] = _SHARPNESS
    shown = denoiser.proj_out.weight
    shown.zero_()
    for channel in range(CHANNELS):
        for place in range(PATCH):
            # The output names a patch's places first, the input its channels.
            row, unit = place * CHANNELS + channel, channel * PATCH + place
            shown[row, unit], shown[row, COPIED + unit] = _MIXED_STD, -_MIXED_STD * _KEPT


def _patches(weight: torch.Tensor) -> None:
    """`weight` [width, inputs]: inputs are the latents, the mark of given frames and the padding mask, each at the patch's places."""
    weight.mul_(0.1)
    weight[: ALWAYS + 1] = 0.0
    for unit in range(CONTENT):
        weight[unit, unit] = 1.0
    weight[GIVEN, CONTENT : CONTENT + PATCH] = _MARK / PATCH


def _modulate(norm: nn.Module, width: int, time_embed: nn.Module) -> None:
    """Shift the constant unit and open the gate, at any noise level: the slow parts of a level's embedding hardly change with it."""
    levels = torch.linspace(0.0, 1.0, 11)
    inner = norm.linear_1(norm.activation(time_embed.norm(time_embed.time_proj(levels)))).mean(0)
    answer = inner / inner.square().sum()
    norm.linear_2.weight[ALWAYS] = _SHIFT * answer
    norm.linear_2.weight[2 * width :] = answer
