"""LPIPS v0.1 on AlexNet (Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018)."""

from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

from cosmos_ops.evaluation.networks.weights import fill

_ENDS = (1, 4, 7, 9, 11)
"""Layers of AlexNet's `features` after which the five feature maps are taken: its ReLUs."""
_WIDTHS = (64, 192, 384, 256, 256)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_BATCH = 16


class Lpips(nn.Module):
    """Tensors by their published names: `features.*` of torchvision's AlexNet, `lin<n>.model.1.weight` of LPIPS."""

    def __init__(self):
        super().__init__()
        self.features = torchvision.models.alexnet(weights=None).features
        for place, width in enumerate(_WIDTHS):
            self.add_module(f"lin{place}", nn.ModuleDict({"model": nn.Sequential(nn.Identity(), nn.Conv2d(width, 1, 1, bias=False))}))

    def maps(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps of unit length a place, of frames [B, 3, H, W] in [-1, 1]."""
        x = (frames - frames.new_tensor(_SHIFT)[:, None, None]) / frames.new_tensor(_SCALE)[:, None, None]
        found = []
        for place, layer in enumerate(self.features[: _ENDS[-1] + 1]):
            x = layer.forward(x) if not isinstance(layer, nn.ReLU) else torch.relu(x)  # torchvision's works in place
            if place in _ENDS:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Distance of each pair of frames [B, 3, H, W] in [-1, 1] -> [B]."""
        parts = []
        for place, (a, b) in enumerate(zip(self.maps(one), self.maps(other), strict=True)):
            parts.append(getattr(self, f"lin{place}")["model"]((a - b).square()).mean((1, 2, 3)))
        return torch.stack(parts).sum(0)


class LpipsNetwork:
    """Loaded from `features.*` (AlexNet) and `lin*.model.1.weight` in one safetensors file, or in several."""

    def __init__(self, files: list[Path]):
        self.network = fill(Lpips(), files, "LPIPS (AlexNet and its linear heads)")

    @torch.inference_mode()
    def __call__(self, real: np.ndarray, generated: np.ndarray) -> float:
        """Mean over frames of two videos, uint8 [T, H, W, 3]."""
        pairs = [torch.from_numpy(np.ascontiguousarray(video)).permute(0, 3, 1, 2).float() / 127.5 - 1 for video in (real, generated)]
        return float(torch.cat([self.network(a, b) for a, b in zip(*(video.split(_BATCH) for video in pairs), strict=True)]).mean())
