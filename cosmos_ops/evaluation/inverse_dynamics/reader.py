"""The network: two small frames of one camera in, one action out; and how clips become its input."""

import cv2
import numpy as np
import torch
from torch import nn

HEIGHT_PX, WIDTH_PX = 48, 80
"""Frames are brought to this size by area averaging, whatever the clip's own."""
SPAN_S = 0.125
"""Time between the two frames that an action is read from; at least one frame."""
_CHANNELS = (24, 48, 64, 64)
_HIDDEN = 128


class ActionReader(nn.Module):
    """Frames t and t + k -> the action commanded at t, in standard deviations from the mean of the training clips."""

    def __init__(self, cameras: int, actions: int):
        super().__init__()
        layers, wide = [], 9
        for channels in _CHANNELS:
            layers += [nn.Conv2d(wide, channels, 3, stride=2, padding=1), nn.GroupNorm(8, channels), nn.SiLU()]
            wide = channels
        self.look = nn.Sequential(*layers, nn.Flatten())
        places = (HEIGHT_PX // 16) * (WIDTH_PX // 16)
        self.tell = nn.Sequential(nn.Linear(places * wide + cameras, _HIDDEN), nn.SiLU(), nn.Dropout(0.1), nn.Linear(_HIDDEN, actions))
        self.cameras = cameras

    def forward(self, before: torch.Tensor, after: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
        """[B, 3, h, w] twice in [0, 1] and camera numbers [B] -> [B, A]."""
        # The change is small beside the pictures: it is given apart, and larger.
        seen = self.look(torch.cat([before - 0.5, after - 0.5, 4 * (after - before)], 1))
        return self.tell(torch.cat([seen, nn.functional.one_hot(camera, self.cameras).to(seen.dtype)], 1))


def small_frames(frames: np.ndarray) -> torch.Tensor:
    """uint8 [T, H, W, 3] -> uint8 [T, 3, h, w] as the reader takes them."""
    shrunk = np.stack([cv2.resize(frame, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA) for frame in frames])
    return torch.from_numpy(shrunk).permute(0, 3, 1, 2).contiguous()


def span_frames(fps: float) -> int:
    """k: how many frames lie between the two that are looked at."""
    return max(1, round(SPAN_S * fps))


def blurred_and_noisy(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Training pictures [B, 2, 3, h, w] in [0, 1] as a world model might draw them: softer, noisier, in another light; both of a pair alike.

    Without this the reader would lean on detail that no generated video has, and its error there would say little about motion.
    """
    count = len(pictures)

    def each() -> torch.Tensor:
        return torch.rand(count, 1, 1, 1, 1, generator=generator)

    soft = nn.functional.avg_pool2d(pictures.flatten(0, 1), 3, stride=1, padding=1, count_include_pad=False).view_as(pictures)
    share = each()
    mixed = share * soft + (1 - share) * pictures
    lit = (mixed - 0.5) * (0.85 + 0.3 * each()) + 0.5 + 0.1 * (each() - 0.5)
    return lit + 0.04 * each() * torch.randn(pictures.shape, generator=generator)
