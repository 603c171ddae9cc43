"""The Inception v3 that FID is defined by (weights of 2015-12-05), which pools otherwise than torchvision's."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import inception as torchvision_inception

from cosmos_ops.evaluation.networks.weights import fill

SIZE_PX, FEATURES = 299, 2048
_BATCH = 8


class _InsidePooling:
    """Average pooling that does not count the padding; everything else is torchvision's block."""

    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(self.pooled(x))]

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _A(_InsidePooling, torchvision_inception.InceptionA):
    pass


class _C(_InsidePooling, torchvision_inception.InceptionC):
    pass


class _E(_InsidePooling, torchvision_inception.InceptionE):
    pass


class _LastE(_InsidePooling, torchvision_inception.InceptionE):
    """The last block of the published weights takes the maximum instead."""

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        return functional.max_pool2d(x, 3, 1, 1)


def fid_inception() -> nn.Module:
    """Without weights; `fc` gives the 2048 pooled features themselves."""
    blocks = [torchvision_inception.BasicConv2d, _A, torchvision_inception.InceptionB, _C, torchvision_inception.InceptionD, _E, None]
    network = torchvision_inception.Inception3(num_classes=1008, aux_logits=False, inception_blocks=blocks, init_weights=False)
    network.Mixed_7c = _LastE(2048)
    network.fc = nn.Identity()
    return network


class InceptionNetwork:
    """A loaded Inception v3; tensors have the names of the public PyTorch port of the TensorFlow weights (`Conv2d_1a_3x3.conv.weight`, ...)."""

    def __init__(self, files: list[Path]):
        self.network = fill(fid_inception(), files, "the Inception v3 of FID")

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [T, H, W, 3] -> float64 [T, 2048]."""
        parts = []
        for part in torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).split(_BATCH):
            sized = functional.interpolate(part.float() / 255, (SIZE_PX, SIZE_PX), mode="bilinear", align_corners=False)
            parts.append(self.network(2 * sized - 1))
        return torch.cat(parts).double().numpy()
