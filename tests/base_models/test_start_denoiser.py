"""Before any training, the denoiser takes the given frame for what the others will be."""

import pytest
import torch
from torch import nn

from cosmos_ops.base_models.nano.build import make_transformer
from cosmos_ops.base_models.nano.start_denoiser import HEADS, start_denoiser

HEIGHT, WIDTH, FRAMES = 10, 16, 5


@pytest.fixture(scope="module")
def denoiser():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = make_transformer()
    made.crossattn_proj = nn.Identity()
    start_denoiser(made)
    return made


def velocity(denoiser, noisy: torch.Tensor, clean: torch.Tensor, given: int, level: float) -> torch.Tensor:
    known = torch.zeros(1, 1, FRAMES, 1, 1)
    known[:, :, :given] = 1.0
    return denoiser(
        hidden_states=known * clean + (1 - known) * noisy,
        condition_mask=known.expand(-1, -1, -1, HEIGHT, WIDTH),
        timestep=known * 0.0001 + (1 - known) * level,
        encoder_hidden_states=torch.randn(1, 4, 128, generator=torch.Generator().manual_seed(3)),
        padding_mask=torch.zeros(1, 1, HEIGHT * 8, WIDTH * 8),
        return_dict=False,
    )[0]


@pytest.mark.parametrize("level", [0.3, 0.95])
@pytest.mark.parametrize("given", [1, 2])
def test_velocity_is_what_is_there_less_the_given_frame_at_the_same_place(denoiser, level, given):
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(1, 16, FRAMES, HEIGHT, WIDTH, generator=generator)
    # The same in all given frames, else different everywhere: a copy from any other place would not fit.
    clean = torch.randn(1, 16, 1, HEIGHT, WIDTH, generator=generator).expand_as(noisy).contiguous()
    with torch.no_grad():
        made = velocity(denoiser, noisy, clean, given, level)[:, :, given:].flatten()
    parts = torch.stack([noisy[:, :, given:].flatten(), clean[:, :, given:].flatten()], 1)
    slopes = torch.linalg.lstsq(parts, made[:, None]).solution.flatten()
    left = (parts @ slopes - made).square().mean() / made.square().mean()
    assert slopes[0] == pytest.approx(1.0, abs=0.25) and slopes[1] == pytest.approx(-0.5, abs=0.25)
    assert left < 0.15


def test_every_weight_can_learn(denoiser):
    generator = torch.Generator().manual_seed(2)
    noisy, clean = (torch.randn(1, 16, FRAMES, HEIGHT, WIDTH, generator=generator) for _ in range(2))
    denoiser.requires_grad_(True)
    velocity(denoiser, noisy, clean, 1, 0.8).square().mean().backward()
    # What stands behind a closed gate waits until the gate opens, which a gradient tells it to.
    waiting = ("transformer_blocks.1", "transformer_blocks.2", "transformer_blocks.3", "transformer_blocks.4", "attn2", ".ff.", "linear_1", "crossattn")
    first = {name: weight for name, weight in denoiser.named_parameters() if "linear_2" in name or not any(part in name for part in waiting)}
    still = [name for name, weight in first.items() if weight.grad is None or not weight.grad.abs().sum() > 0]
    assert not still
    query, key = (getattr(denoiser.transformer_blocks[0].attn1, name).weight.grad[: HEADS * 32] for name in ("to_q", "to_k"))
    assert (query.abs().sum(1) > 0).all() and (key.abs().sum(1) > 0).all()


def test_no_row_is_without_length_where_adapters_attach(denoiser):
    """DoRA divides by the length of every row of a weight."""
    attention = denoiser.transformer_blocks[0].attn1
    for layer in (attention.to_q, attention.to_k, attention.to_v):
        assert (layer.weight.norm(dim=1) > 0).all()
