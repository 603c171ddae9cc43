"""I3D (Carreira, Zisserman, "Quo vadis, action recognition?", CVPR 2017), RGB, 400 classes of Kinetics: the network that FVD is defined by."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cosmos_ops.evaluation.networks.weights import fill

SIZE_PX = 224
MIN_FRAMES = 9
"""Fewer leave the last pooling, over two of every eight frames, nothing to pool."""
_MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


class I3d(nn.Module):
    """Tensors have the names of the public PyTorch port (`Conv3d_1a_7x7.conv3d.weight`, ..., `logits.conv3d.bias`)."""

    def __init__(self):
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        for name, (inputs, widths) in _MIXED.items():
            self.add_module(name, _Mixed(inputs, widths))
        self.logits = _Unit(1024, 400, 1, normalised=False)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        """[B, 3, T, 224, 224] in [-1, 1], T at least `MIN_FRAMES` -> logits averaged over time [B, 400]."""
        x = _pooled(self.Conv3d_1a_7x7(video), (1, 3, 3), (1, 2, 2))
        x = _pooled(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in _MIXED:
            x = getattr(self, name)(x)
            if name == "Mixed_3c":
                x = _pooled(x, (3, 3, 3), (2, 2, 2))
            elif name == "Mixed_4f":
                x = _pooled(x, (2, 2, 2), (2, 2, 2))
        return self.logits(functional.avg_pool3d(x, (2, 7, 7), 1)).mean((2, 3, 4))


class I3dNetwork:
    """A loaded I3D."""

    def __init__(self, files: list[Path]):
        self.network = fill(I3d(), files, "I3D (RGB, Kinetics-400)")

    @torch.inference_mode()
    def __call__(self, video: np.ndarray) -> np.ndarray:
        """Logits, float64 [400], of all frames of a video, uint8 [T, H, W, 3], resized to 224 x 224 px bilinearly."""
        if len(video) < MIN_FRAMES:
            raise ValueError(f"I3D needs {MIN_FRAMES} frames or more, the video has {len(video)}")
        frames = torch.from_numpy(np.ascontiguousarray(video)).permute(0, 3, 1, 2).float()
        frames = functional.interpolate(frames, (SIZE_PX, SIZE_PX), mode="bilinear", align_corners=False) / 127.5 - 1
        return self.network(frames.transpose(0, 1)[None])[0].double().numpy()


class _Unit(nn.Module):
    """Convolution with "same" padding as TensorFlow does it, then batch normalisation and a ReLU unless it is the last."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, normalised: bool = True):
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=not normalised)
        self.bn = nn.BatchNorm3d(outputs, eps=0.001) if normalised else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv3d(_padded(x, self.conv3d.kernel_size, self.conv3d.stride))
        return x if self.bn is None else torch.relu(self.bn(x))


class _Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, inputs: int, widths: tuple[int, ...]):
        super().__init__()
        self.b0 = _Unit(inputs, widths[0], 1)
        self.b1a, self.b1b = _Unit(inputs, widths[1], 1), _Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = _Unit(inputs, widths[3], 1), _Unit(widths[3], widths[4], 3)
        self.b3b = _Unit(inputs, widths[5], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(_pooled(x, (3, 3, 3), (1, 1, 1)))], 1)


def _pooled(x: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    # What is padded with zeros comes out of a ReLU, so zero is never the greatest by mistake.
    return functional.max_pool3d(_padded(x, kernel, stride), kernel, stride)


def _padded(x: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    ends: list[int] = []
    for size, wide, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        missing = max(wide - (step if size % step == 0 else size % step), 0)
        ends += [missing // 2, missing - missing // 2]
    return functional.pad(x, ends)
