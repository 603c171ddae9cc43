"""Faster arithmetic for the VAE on a CPU, equal to rounding.

PyTorch gives small 3D convolutions of a batch of one to an unrolled-matrix kernel and takes norms over a strided dimension one element at a time;
at nano's size that is nine tenths of encoding and decoding. Here convolutions go to oneDNN, whatever their size, and norms are sums of squares.
"""

import types

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm
from torch import nn

_SMALLEST_NORM = 1e-12
"""As in `torch.nn.functional.normalize`."""


def use_cpu_kernels(vae: nn.Module) -> None:
    """Change how a float32 VAE on a CPU computes, in place. Does nothing where PyTorch was built without oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return
    for module in vae.modules():
        if isinstance(module, WanCausalConv3d):
            module._conv_forward = types.MethodType(_convolve, module)
        elif isinstance(module, WanRMS_norm) and module.channel_first:
            module.forward = types.MethodType(_normalise, module)


def _convolve(self: nn.Conv3d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.mkldnn_convolution(x, weight, bias, self.padding, self.stride, self.dilation, self.groups)


def _normalise(self: WanRMS_norm, x: torch.Tensor) -> torch.Tensor:
    length = x.square().sum(1, keepdim=True).sqrt_().clamp_min_(_SMALLEST_NORM)
    return x / length * (self.scale * self.gamma) + self.bias
