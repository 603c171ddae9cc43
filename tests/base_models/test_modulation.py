"""Modulation by frame against the stock transformer."""

import copy

import pytest
import torch

from cosmos_ops.base_models.cosmos import condition_indicator
from cosmos_ops.base_models.cosmos_modulation import modulate_by_frame
from cosmos_ops.base_models.nano.build import make_transformer
from cosmos_ops.profiles import load_profile
from cosmos_ops.recipes import resolve_recipe
from cosmos_ops.training.activations import measure_activations
from cosmos_ops.training.adapters import attach_adapter
from cosmos_ops.training.memory import adapted_skeleton


@pytest.fixture(scope="module")
def both():
    """The stock transformer of nano's settings with an adapter on it, random weights, and the same by frame."""
    torch.manual_seed(0)
    stock = make_transformer()
    recipe = resolve_recipe("lora-r8", load_profile("nano"))
    parameters = attach_adapter(stock, recipe, ("to_q", "to_out.0", "ff.net.2", "norm1.linear_1"))
    with torch.no_grad():
        for parameter in parameters.values():
            parameter += 0.05 * torch.randn_like(parameter)
    by_frame = copy.deepcopy(stock)
    modulate_by_frame(by_frame)
    return stock, by_frame


def run(transformer, sigma: torch.Tensor, hidden: torch.Tensor) -> list[torch.Tensor]:
    """Output, and gradients of a loss on it by the input and by every adapter weight."""
    hidden = hidden.clone().requires_grad_()
    generator = torch.Generator().manual_seed(2)
    known = condition_indicator(torch.tensor([1, 2]), 3)
    out = transformer(
        hidden_states=hidden,
        condition_mask=known.expand(-1, 1, -1, 4, 6),
        timestep=known * 0.0001 + (1 - known) * sigma.view(-1, 1, 1, 1, 1),
        encoder_hidden_states=torch.randn(2, 8, 128, generator=generator),
        padding_mask=torch.zeros(1, 1, 32, 48),
        return_dict=False,
    )[0]
    transformer.zero_grad()
    out.square().mean().backward()
    return [out.detach(), hidden.grad, *(parameter.grad.clone() for parameter in transformer.parameters() if parameter.grad is not None)]


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got.double() - wanted.double()).norm() / wanted.double().norm())


def test_outputs_and_gradients_are_the_stock_transformers(both):
    stock, by_frame = both
    stock.crossattn_proj = by_frame.crossattn_proj = torch.nn.Identity()
    hidden = torch.randn(2, 16, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    wanted, got = (run(transformer, torch.tensor([0.9, 0.3]), hidden) for transformer in (stock, by_frame))
    assert len(got) == len(wanted) > 40
    for ours, theirs in zip(got, wanted, strict=True):
        assert relative(ours, theirs) < 1e-5
    # The test would see a frame or a sample with another one's modulation.
    assert relative(run(by_frame, torch.tensor([0.3, 0.9]), hidden)[0], wanted[0]) > 1e-3
    assert list(stock.state_dict()) == list(by_frame.state_dict())


def test_at_the_2b_geometry_the_spread_out_modulations_are_gone():
    """382 MB of `temb` and 127 MB of the noise level's embedding for every token; and one scale a norm, kept for the backward pass."""
    profile = load_profile("cosmos-predict2.5-2b")
    kept = []
    for stock in (False, True):
        model, _ = adapted_skeleton(profile.base_model, resolve_recipe("lora-r8", profile))
        if stock:
            for module in model.denoiser.modules():
                module.__dict__.pop("forward", None)
        kept.append(measure_activations(model, (16, 24, 54, 96), (512, 1024), 1))
    ours, theirs = kept
    tokens, width, half = 24 * 27 * 48, 2048, 2
    assert theirs.shared_bytes - ours.shared_bytes == pytest.approx(tokens * 4 * width * half, rel=0.01)
    assert theirs.all_blocks_bytes - ours.all_blocks_bytes > 0.99 * 28 * 3 * tokens * width * half
