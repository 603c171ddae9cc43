"""Weights that nano's VAE starts from: random, but for a path on which block averages of colour come through.

With random weights alone a decoder shows nothing of what was encoded. Here eleven of the sixteen latent channels begin as means of
8 x 8 pixels and 4 frames: colour (0-2), its change within pairs of frames (4-6) and between pairs (8-10), and the slopes of
luma (3 across, 7 down); decoding them gives the clip blurred. Convolutions on the way are identities, means and differences; residual
branches begin small. Normalisation and SiLU at both ends are passed by a constant beside which the signal is small, so that
dividing by the norm is nearly linear, and by carrying each value with both signs, as silu(x) - silu(-x) = x.
"""

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanAttentionBlock, WanResample, WanResidualBlock
from torch import nn

COLOUR, WITHIN, BETWEEN, ACROSS, DOWN = (0, 1, 2), (4, 5, 6), (8, 9, 10), 3, 7
CARRIED = (*COLOUR, *WITHIN, *BETWEEN, ACROSS, DOWN)
LUMA = 1 / 3

_GAIN = 1.4
"""Keeps the variance of a random convolution's output near that of its input behind SiLU, by trial."""
_SMALL = 0.01
"""Size of what residual branches add at the start, relative to normalised signals."""
_CONSTANT = 6.0
_COLOUR_SCALE, _DETAIL_SCALE = 3.0, 12.0
"""Bring latents near unit variance: colours vary by about 0.3, their changes by about 0.05."""
_SMOOTH = (0.25, 0.5, 0.25)
_POINT = {(0, 0, 0): 1.0}
_PRESENT = {(2, 1, 1): 1.0}
"""Of a causal 3 x 3 x 3 kernel: the present frame, the pixel itself."""


@torch.no_grad()
def start(vae: AutoencoderKLWan) -> None:
    """Overwrite all weights of a VAE of nano's sizes, drawing from torch's global generator."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.normal_(module.weight, std=_SMALL * _GAIN / module.weight[0].numel() ** 0.5)
            nn.init.zeros_(module.bias)
    for module in vae.modules():
        # What stands first in a residual branch may be as large as it likes: the last layer of the branch is small.
        for layer in (getattr(module, "conv1", None), getattr(module, "to_qkv", None)):
            if isinstance(module, WanResidualBlock | WanAttentionBlock) and layer is not None:
                layer.weight.mul_(1 / _SMALL)
        if isinstance(module, WanResidualBlock) and isinstance(module.conv_shortcut, nn.Conv3d):
            _carry(module.conv_shortcut.weight, _POINT)
    _start_encoder(vae)
    _start_decoder(vae)
    for conv, power in ((vae.quant_conv, 1), (vae.post_quant_conv, -1)):
        _carry(conv.weight, _POINT)
        for channel in range(16):
            conv.weight[channel] *= (_COLOUR_SCALE if channel in COLOUR else _DETAIL_SCALE) ** power


def _start_encoder(vae: AutoencoderKLWan) -> None:
    encoder = vae.encoder
    _carry(encoder.conv_in.weight, _PRESENT)
    halvings = [block for block in encoder.down_blocks if isinstance(block, WanResample)]
    for halving in halvings:
        _carry(halving.resample[1].weight, dict.fromkeys(((0, 0), (0, 1), (1, 0), (1, 1)), 0.25))
        if halving.mode == "downsample3d":  # taps: the frame before, then the pair
            _carry(halving.time_conv.weight, {(1, 0, 0): 0.5, (2, 0, 0): 0.5})
    for halving, change in zip(halvings[1:], (WITHIN, BETWEEN), strict=True):
        for colour, channel in zip(COLOUR, change, strict=True):
            for sign, offset in _signs(halving.dim):
                weight = halving.time_conv.weight[channel + offset, :, :, 0, 0]
                weight.zero_()
                weight[colour, 1], weight[colour, 2] = -0.5 * sign, 0.5 * sign
    slopes = halvings[-1].resample[1].weight
    for sign, offset in _signs(halvings[-1].dim):
        slopes[[ACROSS + offset, DOWN + offset]] = 0.0
        for row in (0, 1):
            for column in (0, 1):
                slopes[ACROSS + offset, list(COLOUR), row, column] = sign * LUMA * (0.5 if column else -0.5)
                slopes[DOWN + offset, list(COLOUR), row, column] = sign * LUMA * (0.5 if row else -0.5)
    widening = next(block for block in encoder.down_blocks if isinstance(block, WanResidualBlock) and block.out_dim == 32)
    _carry(widening.conv_shortcut.weight, {(0, 0, 0): -1.0}, first=16)  # from here on channel 16 + c is minus channel c
    encoder.mid_block.resnets[-1].conv2.bias[15] = _CONSTANT
    read = encoder.conv_out
    read.weight[list(CARRIED)] = 0.0
    for channel in CARRIED:
        read.weight[channel, channel, 2, 1, 1] = _CONSTANT / 32**0.5
        read.weight[channel, 16 + channel, 2, 1, 1] = -_CONSTANT / 32**0.5
    read.weight[16:] *= _SMALL
    read.bias[16:] = -6.0  # log variance


def _start_decoder(vae: AutoencoderKLWan) -> None:
    decoder = vae.decoder
    _carry(decoder.conv_in.weight, _PRESENT)
    doublings = [block.upsamplers[0] for block in decoder.up_blocks if block.upsamplers is not None]
    for doubling in doublings:
        _carry(doubling.resample[1].weight, {(row, column): _SMOOTH[row] * _SMOOTH[column] for row in range(3) for column in range(3)})
    for doubling, change in zip(doublings, (BETWEEN, WITHIN), strict=False):
        for phase, sign in ((0, -1.0), (1, 1.0)):  # the earlier and the later frame of a pair
            weight = doubling.time_conv.weight[phase * doubling.dim : (phase + 1) * doubling.dim]
            _carry(weight, {(2, 0, 0): 1.0})
            for colour, channel in zip(COLOUR, change, strict=True):
                weight[colour, channel, 2, 0, 0] = sign
    last = doublings[-1].resample[1].weight
    last[3:6] = -last[:3]
    decoder.up_blocks[-1].resnets[-1].conv2.bias[6] = _CONSTANT
    shown = decoder.conv_out.weight
    shown.zero_()
    for colour in COLOUR:
        shown[colour, colour, 2, 1, 1] = _CONSTANT / 8**0.5
        shown[colour, colour + 3, 2, 1, 1] = -_CONSTANT / 8**0.5


def _carry(weight: torch.Tensor, taps: dict[tuple[int, ...], float], first: int = 0) -> None:
    """Let input channel c come through as output channel `first` + c, seen through `taps` (position in the kernel -> factor).

    Output channels that no input channel answers to keep their random weights.
    """
    for channel in range(min(weight.shape[1], weight.shape[0] - first)):
        weight[first + channel] = 0.0
        for tap, factor in taps.items():
            weight[first + channel, channel, *tap] = factor


def _signs(width: int) -> tuple[tuple[float, int], ...]:
    """Where a value is kept: once, and from 32 channels on once more with the other sign."""
    return ((1.0, 0), (-1.0, 16)) if width == 32 else ((1.0, 0),)
