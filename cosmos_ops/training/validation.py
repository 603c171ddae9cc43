"""The validation loss: fixed clips, fixed noise, a fixed grid of noise levels, so that two values differ by the weights alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cosmos_ops.base_models import WorldModel
from cosmos_ops.recipes import Recipe
from cosmos_ops.training.data import Latents, Sample, stack
from cosmos_ops.training.objective import Draw, derived_seed, masked_square, sample_losses, sigma_grid

LEVELS = 4
"""Noise levels each clip is looked at; the quantile midpoints of the training distribution, so the mean estimates the training loss."""


@dataclass(frozen=True)
class ValidationLoss:
    mean: float
    by_sigma: dict[str, float]
    """Noise level -> mean over the clips."""


class Validation:
    """Repeats the same forward passes whenever it is asked. The noise follows from clip and level, not from the recipe's seed."""

    def __init__(self, model: WorldModel, latents: Latents, samples: Sequence[Sample], recipe: Recipe):
        self._model = model
        self._latents = latents
        self._samples = samples
        self._size = recipe.batch_size
        self._counts = sorted(recipe.conditioning_probabilities)
        self._sigmas = sigma_grid(LEVELS, recipe.shift)

    @property
    def empty(self) -> bool:
        """No clip to validate on."""
        return not self._samples

    @torch.no_grad()
    def loss(self) -> ValidationLoss:
        """Mean loss over clips and noise levels, captions never dropped."""
        self._model.denoiser.eval()
        nothing = self._latents.dropped_text().to(self._model.device)
        rows = []
        for level in range(LEVELS):
            for samples in self._groups():
                clean, text = stack(self._latents, samples, self._model.device)
                drawn = self._draw(samples, level, clean.shape[1:]).to(self._model.device)
                rows.append((level, sample_losses(self._model, clean, text, nothing, drawn).tolist()))
        self._model.denoiser.train()
        levels = [[loss for at, losses in rows if at == level for loss in losses] for level in range(LEVELS)]
        by_sigma = {f"{sigma:.3f}": _mean(losses) for sigma, losses in zip(self._sigmas.tolist(), levels, strict=True)}
        return ValidationLoss(_mean(list(by_sigma.values())), by_sigma)

    def loss_of_nothing(self) -> float:
        """What a model that always predicts zero velocity would score; a base model near it has not learned anything."""
        losses = []
        for level in range(LEVELS):
            for samples in self._groups():
                clean, _ = stack(self._latents, samples, torch.device("cpu"))
                drawn = self._draw(samples, level, clean.shape[1:])
                losses += masked_square(drawn.noise - clean, drawn.conditioning_frames).tolist()
        return _mean(losses)

    def _groups(self) -> list[Sequence[Sample]]:
        return [self._samples[start : start + self._size] for start in range(0, len(self._samples), self._size)]

    def _draw(self, samples: Sequence[Sample], level: int, shape: Sequence[int]) -> Draw:
        generators = [torch.Generator().manual_seed(derived_seed("validation", sample.clip_id, level)) for sample in samples]
        count = len(samples)
        return Draw(
            sigma=self._sigmas[level].expand(count),
            noise=torch.stack([torch.randn(tuple(shape), generator=generator) for generator in generators]),
            conditioning_frames=torch.full((count,), self._counts[level % len(self._counts)]),
            dropped=torch.zeros(count, dtype=torch.bool),
        )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
