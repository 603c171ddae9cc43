"""The loss from cached latents and text is the loss of the pipeline that encodes video and caption on the spot."""

import dataclasses
from pathlib import Path

import pytest
import torch

from cosmos_ops.base_models import load_world_model
from cosmos_ops.base_models.cosmos import condition_indicator, load_pipeline
from cosmos_ops.base_models.latent_store import LatentStore
from cosmos_ops.base_models.latents import encode_latents
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import load_profile
from cosmos_ops.recipes import resolve_recipe
from cosmos_ops.shards.read import read_clip
from cosmos_ops.training.adapters import attach_adapter
from cosmos_ops.training.data import Sample, stack
from cosmos_ops.training.objective import draw, sample_losses
from tests.base_models.lake_factory import add_dataset, add_shard, small


def uncached_loss(pipeline, frames: torch.Tensor, caption: str, tokens: int, drawn, number: int) -> torch.Tensor:
    """One sample as the public recipe computes it: VAE and text encoder in the step, the text dropped before its projection, conditioning masked."""
    pixels = frames[None].movedim(-1, 1).float() / 127.5 - 1
    with torch.no_grad():
        mean = pipeline.vae.encode(pixels).latent_dist.mean
        clean = (mean - pipeline.latents_mean) * pipeline.latents_std  # the pipeline keeps 1 / std under this name
        raw = pipeline._get_prompt_embeds([caption], max_sequence_length=tokens, device=torch.device("cpu"))
    if drawn.dropped[number]:
        raw = torch.zeros_like(raw)
    sigma, noise, count = drawn.sigma[number], drawn.noise[number][None], int(drawn.conditioning_frames[number])
    known = condition_indicator(torch.tensor([count]), clean.shape[2])
    mask = known.expand(-1, 1, -1, *clean.shape[3:])
    predicted = pipeline.transformer(
        hidden_states=mask * clean + (1 - mask) * (noise * sigma + clean * (1 - sigma)),
        condition_mask=mask,
        timestep=known * 0.0001 + (1 - known) * sigma,
        encoder_hidden_states=raw,
        padding_mask=torch.zeros(1, 1, clean.shape[3] * 8, clean.shape[4] * 8),
        return_dict=False,
    )[0]
    return (predicted - (noise - clean))[:, :, count:].square().mean()


@pytest.mark.parametrize("name", ["lora-r8", "dora-r8"])
def test_cached_and_uncached_give_the_same_loss_and_gradients(tmp_path: Path, name: str):
    profile = load_profile("nano")
    profile = small(profile, profile.base_model)
    lake = Lake(tmp_path)
    rows = add_shard(lake, "bench", clips=2, seed=4)
    store = LatentStore(lake, encode_latents(lake, add_dataset(lake, rows), profile))
    recipe = dataclasses.replace(resolve_recipe(name, profile), text_dropout=0.5)
    clean, text = stack(store, [Sample(row["clip_id"], row["caption"]) for row in rows], torch.device("cpu"))
    drawn = draw(recipe, [1, 4], clean.shape[1:])
    assert drawn.dropped.tolist() == [True, False] and drawn.conditioning_frames.tolist() == [2, 1], "places that show both cases"

    model = load_world_model(profile.base_model, lake.models(), "cpu", ("denoiser",))
    trained = attach_adapter(model.denoiser, recipe, model.lora_targets)
    cached = sample_losses(model, clean, text, store.dropped_text(), drawn)
    cached.mean().backward()

    pipeline = load_pipeline(profile.base_model, lake.models())
    theirs = attach_adapter(pipeline.transformer, recipe, model.lora_targets)
    losses = []
    for number, row in enumerate(rows):
        frames = torch.from_numpy(read_clip(lake, row["shard_path"], row["key"]).frames)
        losses.append(uncached_loss(pipeline, frames, row["caption"], model.text_tokens, drawn, number))
    uncached = torch.stack(losses)
    uncached.mean().backward()

    torch.testing.assert_close(cached, uncached, rtol=1e-5, atol=0)
    assert abs(cached[0] - cached[1]) > 1e-3 * cached[0]
    for key, parameter in trained.items():
        if ".lora_B." in key:
            difference = (parameter.grad - theirs[key].grad).norm() / theirs[key].grad.norm()
            assert difference < 1e-4, key
