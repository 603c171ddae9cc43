"""The rectified-flow objective: what is drawn for a sample, and its loss.

sigma = shift * t / (1 + (shift - 1) * t) with t = sigmoid(normal); noisy = noise * sigma + clean * (1 - sigma);
target velocity = noise - clean. Source: NVIDIA's rectified-flow models for Cosmos Predict 2.5 and the public diffusers recipe.

The first 1 or 2 latent frames condition the sample: they stay clean and are left out of the loss. The loss of a sample is the mean
over its remaining frames. The public recipe averages over all frames, the left-out ones counting as zeros, which makes the value
depend on how many were left out ((t - n) / t of ours); under AdamW the two differ by how much a sample with 2 conditioning frames
weighs against one with 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cosmos_ops.base_models import WorldModel
from cosmos_ops.hashing import digest
from cosmos_ops.recipes import Recipe


@dataclass(frozen=True, eq=False)
class Draw:
    """Everything random about a batch of B samples."""

    sigma: torch.Tensor
    """[B] float32, noise level in (0, 1)."""
    noise: torch.Tensor
    """[B, C, t, h, w] float32."""
    conditioning_frames: torch.Tensor
    """[B] int64, clean latent frames at the start."""
    dropped: torch.Tensor
    """[B] bool: the caption is replaced by the dropped-text embedding."""

    def to(self, device: torch.device) -> "Draw":
        return Draw(*(tensor.to(device) for tensor in (self.sigma, self.noise, self.conditioning_frames, self.dropped)))


def derived_seed(*parts: object) -> int:
    """A 63-bit seed that differs for different parts."""
    return int(digest(list(parts), 16), 16) >> 1


def draw(recipe: Recipe, positions: Sequence[int], shape: Sequence[int]) -> Draw:
    """What the samples at these places of the training order get, for latents of `shape` (C, t, h, w).

    It follows from the recipe's seed and the place alone: the same on every machine, for any batch size and any number
    of processes, and different for every sample. Nothing about it needs to be kept in a checkpoint.
    """
    draws = [_draw_one(recipe, torch.Generator().manual_seed(derived_seed("sample", recipe.seed, position)), shape) for position in positions]
    return Draw(*(torch.stack(column) for column in zip(*draws, strict=True)))


def shifted(t: torch.Tensor, shift: float) -> torch.Tensor:
    """Uniform-time t in (0, 1) to noise level sigma in (0, 1)."""
    return shift * t / (1 + (shift - 1) * t)


def sigma_grid(count: int, shift: float) -> torch.Tensor:
    """[count] float32: noise levels at evenly spaced quantiles of the training distribution, ascending."""
    quantiles = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return shifted(torch.sigmoid(torch.special.ndtri(quantiles)), shift).float()


def sample_losses(model: WorldModel, clean: torch.Tensor, text: torch.Tensor, dropped_text: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """[B] float32: squared velocity error of each sample, averaged over its frames that are not conditioning.

    `clean` [B, C, t, h, w] float32, `text` [B, L, D], `dropped_text` [L, D]; all on the model's device.
    """
    text = torch.where(drawn.dropped[:, None, None], dropped_text.to(text.dtype), text)
    sigma = drawn.sigma[:, None, None, None, None]
    noisy = drawn.noise * sigma + clean * (1 - sigma)
    with arithmetic(model):
        predicted = model.velocity(noisy, drawn.sigma, text, clean, drawn.conditioning_frames)
    return masked_square(predicted.float() - (drawn.noise - clean), drawn.conditioning_frames)


def arithmetic(model: WorldModel) -> torch.autocast:
    """Compute in the dtype of the frozen weights: a float32 adapter on bfloat16 weights multiplies in bfloat16."""
    dtype = next(model.denoiser.parameters()).dtype
    return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def masked_square(error: torch.Tensor, conditioning_frames: torch.Tensor) -> torch.Tensor:
    """[B]: mean square of `error` [B, C, t, h, w] over the frames from `conditioning_frames` [B] on."""
    frames = error.shape[2]
    kept = (torch.arange(frames, device=error.device) >= conditioning_frames[:, None]).to(error.dtype)
    by_frame = error.square().mean(dim=(1, 3, 4))
    return (by_frame * kept).sum(dim=1) / kept.sum(dim=1)


def _draw_one(recipe: Recipe, generator: torch.Generator, shape: Sequence[int]) -> tuple[torch.Tensor, ...]:
    sigma = shifted(torch.sigmoid(torch.randn((), generator=generator)), recipe.shift)
    dropped = torch.rand((), generator=generator) < recipe.text_dropout
    counts = sorted(recipe.conditioning_probabilities)
    bounds = torch.tensor([recipe.conditioning_probabilities[count] for count in counts], dtype=torch.float64).cumsum(0)
    chosen = int(torch.searchsorted(bounds, torch.rand((), generator=generator, dtype=torch.float64), right=True))
    frames = torch.tensor(counts[min(chosen, len(counts) - 1)])
    return sigma, torch.randn(tuple(shape), generator=generator), frames, dropped
