"""The memory plan: what is counted without memory against what autograd really keeps, and what is chosen from it."""

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cosmos_ops.base_models import load_world_model
from cosmos_ops.errors import UserError
from cosmos_ops.profiles import load_profile
from cosmos_ops.recipes import resolve_recipe
from cosmos_ops.training.activations import measure_activations
from cosmos_ops.training.adapters import attach_adapter
from cosmos_ops.training.memory import USABLE, WORKING_TENSORS, MemorySettings, Planner, adapted_skeleton, count_activations, plan_memory, predict_peak
from cosmos_ops.training.recompute import set_recompute
from tests.training.conftest import CLIP

NANO = dataclasses.replace(load_profile("nano"), clip=CLIP)
REAL = load_profile("cosmos-predict2.5-2b")


def on_cpu(nano_lake, recipe):
    """The real nano denoiser with the recipe's adapter on it."""
    model = load_world_model(NANO.base_model, nano_lake.lake.models(), "cpu", ("denoiser",))
    attach_adapter(model.denoiser, recipe, model.lora_targets)
    model.denoiser.train()
    return model


@pytest.mark.parametrize(("name", "batch"), [("lora-r8", 1), ("lora-r8", 2), ("dora-r8", 2)])
def test_what_is_counted_without_memory_is_what_autograd_keeps(nano_lake, name, batch):
    recipe = resolve_recipe(name, NANO)
    skeleton, trainable = adapted_skeleton(NANO.base_model, recipe)
    predicted = count_activations(skeleton, CLIP, batch)
    model = on_cpu(nano_lake, recipe)
    shapes = (model.latent_shape(CLIP.frames, CLIP.height, CLIP.width), (skeleton.text_tokens, skeleton.text_width))
    measured = measure_activations(model, *shapes, batch)
    assert trainable == sum(parameter.numel() for parameter in model.denoiser.parameters() if parameter.requires_grad)
    assert predicted.blocks == measured.blocks == 5
    for part in ("all_blocks_bytes", "block_bytes", "block_input_bytes", "largest_bytes"):
        assert getattr(predicted, part) == pytest.approx(getattr(measured, part), rel=0.02), part
    assert predicted.kept_bytes("none") == pytest.approx(measured.kept_bytes("none"), rel=0.02)


def test_recomputing_keeps_what_the_plan_says(nano_lake):
    recipe = resolve_recipe("lora-r8", NANO)
    skeleton, _ = adapted_skeleton(NANO.base_model, recipe)
    predicted = count_activations(skeleton, CLIP, 1)
    model = on_cpu(nano_lake, recipe)
    set_recompute(model.denoiser, "full")
    shapes = (model.latent_shape(CLIP.frames, CLIP.height, CLIP.width), (skeleton.text_tokens, skeleton.text_width))
    kept = measure_activations(model, *shapes, 1).kept_bytes("none")
    # A checkpoint keeps its inputs; the first block's hidden states are the patch embedding's output.
    assert kept == pytest.approx(predicted.kept_bytes("full"), rel=0.05)
    assert predicted.kept_bytes("full") < predicted.kept_bytes("attention") < predicted.kept_bytes("none")


def velocity_and_gradients(model) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    shape = model.latent_shape(CLIP.frames, CLIP.height, CLIP.width)
    noisy, clean = torch.randn(2, *shape, generator=generator), torch.randn(2, *shape, generator=generator)
    text = torch.randn(2, 16, 128, generator=generator)
    with torch.enable_grad():
        velocity = model.velocity(noisy, torch.tensor([0.3, 0.8]), text, clean, torch.tensor([1, 2]))
        velocity.square().mean().backward()
    gradients = [parameter.grad.clone() for parameter in model.denoiser.parameters() if parameter.grad is not None]
    model.denoiser.zero_grad()
    return [velocity.detach(), *gradients]


class CountAttention(TorchDispatchMode):
    """Counts attention kernels that run; what a checkpoint has kept does not come this far."""

    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += func is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
        return func(*args, **(kwargs or {}))


def test_policies_change_memory_and_nothing_else(nano_lake):
    model = on_cpu(nano_lake, resolve_recipe("dora-r8", NANO))
    wanted = velocity_and_gradients(model)
    calls = {}
    for policy, offload in (("none", "none"), ("attention", "none"), ("full", "none"), ("full", "block_inputs")):
        set_recompute(model.denoiser, policy, offload)
        with CountAttention() as counted:
            got = velocity_and_gradients(model)
        calls[policy] = counted.calls
        assert len(got) == len(wanted) > 100
        for ours, theirs in zip(got, wanted, strict=True):
            assert torch.equal(ours, theirs), (policy, offload)
    assert calls == {"none": 10, "attention": 10, "full": 20}, "kept attention is not computed again"


def test_a_smaller_gpu_is_given_a_more_frugal_plan():
    recipe = resolve_recipe("dora-r32", REAL)
    planner = Planner(REAL.base_model, REAL.clip, recipe)
    plans = {size: planner.plan(size) for size in (16, 24, 40, 80)}
    order = [("none", "none"), ("attention", "none"), ("full", "none"), ("full", "block_inputs")]
    places = [order.index((plan.settings.activation_checkpointing, plan.settings.offload)) for plan in plans.values()]
    assert places == sorted(places, reverse=True)
    assert plans[24].fits and plans[24].peak.total < 22.1e9
    assert plans[80].fits and plans[80].settings.activation_checkpointing in ("none", "attention")
    for plan in plans.values():
        assert plan.peak.weights == pytest.approx(3.9e9, rel=0.1), "2B weights in bfloat16, without the text projection"
        assert plan.to_json()["predicted_peak_bytes"] == sum(plan.to_json()["breakdown_bytes"].values())


def test_what_is_counted_at_the_2b_geometry_is_what_arithmetic_by_hand_gives():
    """93 frames of 432 x 768: 24 x 27 x 48 tokens of width 2048 in bfloat16, 28 blocks, 512 text tokens."""
    recipe = resolve_recipe("lora-r32", REAL)
    model, trainable = adapted_skeleton(REAL.base_model, recipe)
    counted = count_activations(model, REAL.clip, 1)
    tokens, width, inner, heads, blocks = 24 * 27 * 48, 2048, 8192, 16, 28
    hidden = tokens * width * 2
    assert counted.block_input_bytes == hidden and blocks * hidden == pytest.approx(3.57e9, rel=0.01)
    # Two attentions a block: an output as large as the hidden states, and a log-sum-exp in float32 for each head and token.
    assert counted.attention_bytes == 2 * (hidden + heads * tokens * 4)
    # A and B of rank 32 on four square and two 1024-wide projections of self- and cross-attention and the two of the feed-forward part.
    square, text, feed = 32 * 2 * width, 32 * (1024 + width), 32 * (width + inner)
    assert trainable == blocks * (6 * square + 2 * text + 2 * feed) == pytest.approx(45e6, rel=0.1)
    peak = predict_peak(model, trainable, counted, MemorySettings("full", "none", 1, 1))
    assert (peak.adapter, peak.optimizer) == (8 * trainable, 8 * trainable), "float32 weight and gradient; two moments"
    kept = blocks * hidden + counted.block_bytes + counted.outside_bytes + counted.shared_bytes
    assert peak.activations == kept + WORKING_TENSORS * counted.largest_bytes
    # The largest tensor is the feed-forward part's inner state; normalisations and the residual around a part are kept in float32.
    assert counted.largest_bytes == tokens * inner * 2
    assert 20 * hidden < counted.block_bytes < 50 * hidden


def test_the_batch_is_cut_and_accumulated_when_it_must_be():
    recipe = dataclasses.replace(resolve_recipe("lora-r8", NANO), batch_size=6, gradient_accumulation=2, gradient_checkpointing=True)
    planner = Planner(NANO.base_model, NANO.clip, recipe)
    whole = planner.plan(80)
    assert (whole.settings.batch_size, whole.settings.gradient_accumulation) == (6, 2)
    tight = planner.plan((whole.peak.total - 1) / 1e9 / USABLE)
    assert tight.fits and tight.peak.total < whole.peak.total
    # 5 does not divide the 12 samples of an update.
    assert (tight.settings.batch_size, tight.settings.gradient_accumulation) == (4, 3)
    hopeless = planner.plan(0.1)
    assert not hopeless.fits and hopeless.settings == MemorySettings("full", "block_inputs", 1, 12)


def test_a_recipe_that_asks_for_checkpointing_gets_it():
    recipe = dataclasses.replace(resolve_recipe("lora-r8", NANO), gradient_checkpointing=True)
    assert plan_memory(NANO.base_model, NANO.clip, recipe, 80).settings.activation_checkpointing == "full"
    assert plan_memory(NANO.base_model, NANO.clip, resolve_recipe("lora-r8", NANO), 80).settings == MemorySettings("none", "none", 2, 1)


def test_offload_and_recomputation_take_off_what_they_move():
    recipe = resolve_recipe("lora-r8", NANO)
    model, trainable = adapted_skeleton(NANO.base_model, recipe)
    counted = count_activations(model, CLIP, 1)
    full, moved = (predict_peak(model, trainable, counted, MemorySettings("full", offload, 1, 1)) for offload in ("none", "block_inputs"))
    assert full.activations - moved.activations == 3 * counted.block_input_bytes


def test_what_cannot_be_planned_says_why():
    with pytest.raises(UserError, match="GPU memory is 0 GB"):
        plan_memory(NANO.base_model, NANO.clip, resolve_recipe("lora-r8", NANO), 0)
    unknown = dataclasses.replace(REAL, base_model=dataclasses.replace(REAL.base_model, source="someone/some-model"))
    with pytest.raises(UserError, match="the shape of someone/some-model is not known"):
        plan_memory(unknown.base_model, unknown.clip, resolve_recipe("lora-r8", unknown), 24)
