"""The objective against its formulas, and what is drawn against its distributions."""

import dataclasses
import math

import pytest
import torch

from cosmos_ops.training.objective import draw, masked_square, sample_losses, shifted, sigma_grid
from tests.training.tiny_world import SHAPE, TOKENS, WIDTH, TinyWorld, tiny_recipe


class Oracle(TinyWorld):
    """Knows the clean latents, so it can solve noisy = noise * sigma + clean * (1 - sigma) for noise - clean."""

    def velocity(self, noisy, sigma, text, clean, conditioning_frames):
        self.text, self.noisy = text, noisy
        exact = (noisy - clean) / sigma.view(-1, 1, 1, 1, 1)
        garbage = torch.full_like(exact, 1e3)
        known = torch.arange(noisy.shape[2])[None, :] < conditioning_frames[:, None]
        return torch.where(known.view(len(noisy), 1, -1, 1, 1), garbage, exact)


def inputs(count: int = 6):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, *SHAPE, generator=generator), torch.randn(count, TOKENS, WIDTH, generator=generator), torch.zeros(TOKENS, WIDTH)


def test_the_exact_velocity_has_no_loss_whatever_the_conditioning_frames_hold():
    drawn = draw(tiny_recipe(), range(6), SHAPE)
    assert set(drawn.conditioning_frames.tolist()) == {1, 2}
    losses = sample_losses(Oracle(), *inputs(), drawn)
    assert losses.shape == (6,)
    assert losses.max() < 1e-8


def test_the_loss_is_the_mean_over_frames_that_are_not_conditioning():
    error = torch.zeros(2, *SHAPE)
    error[:, :, 0], error[:, :, 1], error[:, :, 2] = 100.0, 2.0, 4.0
    assert masked_square(error, torch.tensor([1, 2])).tolist() == [(4.0 + 16.0) / 2, 16.0]


def test_dropped_samples_are_trained_without_their_caption():
    drawn = dataclasses.replace(draw(tiny_recipe(), range(6), SHAPE), dropped=torch.tensor([True, False] * 3))
    clean, text, nothing = inputs()
    model = Oracle()
    sample_losses(model, clean, text, nothing, drawn)
    for number in range(6):
        assert torch.equal(model.text[number], nothing if number % 2 == 0 else text[number])


def test_noise_levels_follow_the_shifted_logit_normal():
    sigmas = draw(tiny_recipe(), range(4000), (1, 3, 1, 1)).sigma
    assert sigmas.min() > 0 and sigmas.max() < 1
    for quantile, normal in ((0.1, -1.2816), (0.5, 0.0), (0.9, 1.2816)):
        t = 1 / (1 + math.exp(-normal))
        assert sigmas.quantile(quantile).item() == pytest.approx(5 * t / (1 + 4 * t), abs=0.02)
    assert shifted(torch.tensor(0.5), 5.0).item() == pytest.approx(2.5 / 3)


def test_the_validation_grid_has_the_training_distribution():
    sigmas = draw(tiny_recipe(), range(4000), (1, 3, 1, 1)).sigma
    grid = sigma_grid(4, 5.0)
    assert torch.equal(grid, grid.sort().values)
    for number, level in enumerate(grid.tolist()):
        assert (sigmas < level).float().mean().item() == pytest.approx((number + 0.5) / 4, abs=0.03)


def test_text_and_frames_are_drawn_with_their_probabilities():
    recipe = tiny_recipe(text_dropout=0.2, conditioning_probabilities={1: 0.75, 2: 0.25})
    drawn = draw(recipe, range(4000), (1, 3, 1, 1))
    assert drawn.dropped.float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert (drawn.conditioning_frames == 2).float().mean().item() == pytest.approx(0.25, abs=0.03)
    noise = drawn.noise.flatten()
    assert abs(noise.mean().item()) < 0.05 and noise.std().item() == pytest.approx(1.0, abs=0.05)


def test_what_is_drawn_follows_from_seed_and_place_alone():
    recipe = tiny_recipe()
    together, alone = draw(recipe, range(10, 16), SHAPE), draw(recipe, [13], SHAPE)
    assert torch.equal(together.noise[3], alone.noise[0])
    assert together.sigma[3] == alone.sigma[0]
    assert len({round(value, 6) for value in together.sigma.tolist()}) == 6
    assert not torch.equal(alone.noise, draw(dataclasses.replace(recipe, seed=1), [13], SHAPE).noise)
