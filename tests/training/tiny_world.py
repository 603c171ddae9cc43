"""A world model of a few thousand parameters, registered like any other: the loop is tested in milliseconds and without Cosmos."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from cosmos_ops.base_models.base import PARTS, Identity, register_world_model
from cosmos_ops.profiles import BaseModelSpec
from cosmos_ops.recipes import Recipe
from cosmos_ops.training.data import Sample, Samples

SHAPE = (4, 3, 4, 6)
"""(C, t, h, w) of its latents."""
TOKENS, WIDTH = 5, 8
HIDDEN = 32


class TinyDenoiser(nn.Module):
    """A per-position MLP with the mean text and the noise level added, residual over two blocks."""

    def __init__(self):
        super().__init__()
        channels = SHAPE[0]
        self.inward = nn.Linear(channels + 2, HIDDEN)
        self.text = nn.Linear(WIDTH, HIDDEN)
        self.blocks = nn.ModuleList([nn.ModuleDict({"to_q": nn.Linear(HIDDEN, HIDDEN), "ff": nn.Linear(HIDDEN, HIDDEN)}) for _ in range(2)])
        self.outward = nn.Linear(HIDDEN, channels)

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor, known: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        level = sigma.view(-1, 1, 1, 1, 1).expand_as(known)
        hidden = self.inward(torch.cat([noisy, level, known], dim=1).movedim(1, -1))
        hidden = hidden + self.text(text.mean(dim=1))[:, None, None, None]
        for block in self.blocks:
            hidden = hidden + block["ff"](nn.functional.silu(block["to_q"](hidden)))
        return self.outward(hidden).movedim(-1, 1)


@register_world_model
class TinyWorld:
    """The parts of `WorldModel` that training uses."""

    family: ClassVar[str] = "tiny"
    lora_targets: ClassVar[tuple[str, ...]] = ("to_q", "ff", "outward")

    def __init__(self, dtype: torch.dtype = torch.float32):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.denoiser = TinyDenoiser().to(dtype)
        self.denoiser.requires_grad_(False)
        self.dtype = dtype
        self.revision, self.fingerprint, self.device = "tiny-1", "tiny-1", torch.device("cpu")

    @classmethod
    def identify(cls, spec: BaseModelSpec, cache: Path) -> Identity:
        return Identity("tiny-1", "tiny-1")

    @classmethod
    def load(cls, spec: BaseModelSpec, cache: Path, device: str, parts: tuple[str, ...] = PARTS) -> "TinyWorld":
        return cls()

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        return SHAPE[0], (frames - 1) // 4 + 1, height // 8, width // 8

    def velocity(self, noisy, sigma, text, clean, conditioning_frames):
        known = (torch.arange(noisy.shape[2]) < conditioning_frames[:, None]).float().view(-1, 1, noisy.shape[2], 1, 1)
        mixed = known * clean + (1 - known) * noisy
        known = known.expand(-1, 1, *noisy.shape[2:])
        return self.denoiser(mixed.to(self.dtype), sigma.to(self.dtype), known.to(self.dtype), text.to(self.dtype)).float()


def a_velocity(model: TinyWorld) -> torch.Tensor:
    """The model's answer to one fixed question."""
    generator = torch.Generator().manual_seed(11)
    noisy, clean = torch.randn(2, *SHAPE, generator=generator), torch.randn(2, *SHAPE, generator=generator)
    text = torch.randn(2, TOKENS, WIDTH, generator=generator)
    with torch.no_grad():
        return model.velocity(noisy, torch.tensor([0.3, 0.9]), text, clean, torch.tensor([1, 2]))


class MemoryLatents:
    """Latents of `count` clips with structure that can be learned, made from a seed."""

    def __init__(self, count: int = 8):
        generator = torch.Generator().manual_seed(3)
        pattern = torch.randn(SHAPE, generator=generator)
        self.clips = {f"clip{number}": pattern + 0.1 * torch.randn(SHAPE, generator=generator) for number in range(count)}
        self.texts = {f"caption {number}": torch.randn(TOKENS, WIDTH, generator=generator) for number in range(2)}

    def clip(self, clip_id: str) -> torch.Tensor:
        return self.clips[clip_id]

    def text(self, caption: str) -> torch.Tensor:
        return self.texts[caption]

    def expect(self, clip_ids) -> None:
        """All is here."""

    def dropped_text(self) -> torch.Tensor:
        return torch.zeros(TOKENS, WIDTH)

    def samples(self, validation: int = 2) -> Samples:
        made = [Sample(clip_id, f"caption {number % 2}") for number, clip_id in enumerate(self.clips)]
        return Samples(tuple(made[validation:]), tuple(made[:validation]))


def tiny_recipe(**settings) -> Recipe:
    """A recipe that trains the tiny world in a second."""
    base = Recipe(name="tiny-r4", method="lora", rank=4, alpha=4, steps=12, batch_size=2, learning_rate=1e-2, warmup_steps=2, decay_steps=1000, f_max=1.0)
    return dataclasses.replace(base, **{"validate_every": 4, "checkpoint_minutes": 60.0, **settings})
