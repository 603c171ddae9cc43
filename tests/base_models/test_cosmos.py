"""The world model against the pipeline that it stands for, at tiny size."""

import pytest
import torch
from peft import LoraConfig

from cosmos_ops.base_models import load_world_model
from cosmos_ops.base_models.cosmos import CosmosPredict25, condition_indicator, load_pipeline

PROMPTS = ["Pick up the yellow bottle and place it in the bowl.", "push the red cube to the left"]
SHAPE = (16, 3, 6, 8)


@pytest.fixture(scope="module")
def pipeline(spec, cache):
    assert torch.is_grad_enabled()
    loaded = load_pipeline(spec, cache, "cpu")
    assert torch.is_grad_enabled(), "loading a pipeline must leave the gradient switch alone"
    loaded.set_progress_bar_config(disable=True)
    return loaded


def raw_text(pipeline, model, prompts):
    return pipeline._get_prompt_embeds(prompts, max_sequence_length=model.text_tokens, device=torch.device("cpu"))


def test_text_after_projection_is_the_pipelines_text_projected(pipeline, model):
    raw = raw_text(pipeline, model, PROMPTS)
    expected = pipeline.transformer.crossattn_proj(raw)
    assert torch.equal(model.encode_text(PROMPTS), expected)
    assert (expected[0] - expected[1]).abs().mean() > 0.01
    assert torch.allclose(model.dropped_text(), pipeline.transformer.crossattn_proj(torch.zeros_like(raw[:1])), atol=1e-6)


def test_denoiser_reads_projected_text_as_the_original_reads_raw_text(pipeline, model, latents):
    known = condition_indicator(torch.tensor([1, 2]), 3)
    mask = known.expand(-1, 1, -1, 6, 8)
    sigma = torch.tensor([0.9, 0.3])
    noisy = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = pipeline.transformer(
            hidden_states=mask * latents + (1 - mask) * noisy,
            condition_mask=mask,
            timestep=known * 0.0001 + (1 - known) * sigma.view(-1, 1, 1, 1, 1),
            encoder_hidden_states=raw_text(pipeline, model, PROMPTS),
            padding_mask=torch.zeros(1, 1, 48, 64),
            return_dict=False,
        )[0]
        got = model.velocity(noisy, sigma, model.encode_text(PROMPTS), latents, torch.tensor([1, 2]))
    assert torch.allclose(got, expected, atol=1e-5)
    assert expected.std() > 0.01


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_sampling_equals_the_pipeline_from_a_video(pipeline, model, clips, guidance):
    noise = torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(11))
    video = clips[:1].movedim(-1, 1).float() / 127.5 - 1  # [1, 3, T, H, W]
    expected = pipeline(
        video=video[:, :, :5],
        prompt=PROMPTS[:1],
        negative_prompt=PROMPTS[1:],
        num_frames=9,
        height=48,
        width=64,
        num_inference_steps=5,
        guidance_scale=guidance,
        latents=noise,
        output_type="latent",
        max_sequence_length=model.text_tokens,
        num_latent_conditional_frames=2,
    ).frames
    text = model.encode_text(PROMPTS)
    conditioning = model.encode_video(clips[:1, :5])  # 5 frames are enough: the pipeline pads them to the whole clip
    steps = []
    got = model.sample(conditioning, text[:1], text[1:], [11], SHAPE, 5, guidance, on_step=lambda i, n: steps.append((i, n)))
    assert torch.allclose(got[:, :, 2:], expected[:, :, 2:], atol=1e-4)
    assert torch.equal(got[:, :, :2], conditioning)
    assert torch.allclose(got[:, :, :2], expected[:, :, :2], atol=0.05)  # the pipeline lands beside them, having begun at sigma 0.995
    assert steps == [(i, 5) for i in range(1, 6)]


def test_sampling_equals_the_pipeline_from_an_image(pipeline, model, clips):
    noise = torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(12))
    expected = pipeline(
        image=clips[0, 0].numpy(),
        prompt=PROMPTS[0],
        negative_prompt=PROMPTS[1],
        num_frames=9,
        height=48,
        width=64,
        num_inference_steps=4,
        guidance_scale=7.0,
        latents=noise,
        output_type="latent",
        max_sequence_length=model.text_tokens,
    ).frames
    text = model.encode_text(PROMPTS)
    got = model.sample(model.encode_video(clips[:1, :1]), text[:1], text[1:], [12], SHAPE, 4, 7.0)
    assert torch.allclose(got[:, :, 1:], expected[:, :, 1:], atol=1e-4)


def test_a_batch_gives_the_videos_of_one_by_one(model, latents):
    text = model.encode_text(PROMPTS)
    dropped = model.dropped_text()
    together = model.sample(latents[:, :, :1], text, dropped, [5, 6], SHAPE, 4, 1.0)
    alone = torch.cat([model.sample(latents[i : i + 1, :, :1], text[i : i + 1], dropped, [5 + i], SHAPE, 4, 1.0) for i in range(2)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=0.1)


def test_without_guidance_the_negative_text_is_never_read(model, latents):
    negative = torch.full_like(model.dropped_text(), float("nan"))
    made = model.sample(latents[:1, :, :1], model.encode_text(PROMPTS[:1]), negative, [0], SHAPE, 2, 0.0)
    assert torch.isfinite(made).all()


def test_latents_of_first_frames_do_not_depend_on_later_ones(model, clips, latents):
    assert torch.allclose(model.encode_video(clips[:, :1]), latents[:, :, :1], atol=1e-5)
    assert torch.allclose(model.encode_video(clips[:, :5]), latents[:, :, :2], atol=1e-5)
    assert not torch.allclose(latents[:, :, 0], latents[:, :, 1], atol=0.1)


def test_shapes_and_ranges(model, clips, latents):
    assert latents.shape == (2, *model.latent_shape(9, 48, 64)) == (2, *SHAPE)
    frames = model.decode_latents(latents)
    assert frames.shape == clips.shape
    assert frames.dtype == torch.uint8
    assert frames.float().std() > 5
    assert model.text_tokens == model.encode_text(["x " * 500]).shape[1] == model.dropped_text().shape[1]


def test_gradients_reach_an_adapter_and_nothing_else(spec, cache, latents):
    model = load_world_model(spec, cache, "cpu", parts=("denoiser",))
    assert model.vae is None and model.text_encoder is None
    assert not any(parameter.requires_grad for parameter in model.denoiser.parameters())
    model.denoiser.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=list(model.lora_targets)))
    text = model.dropped_text()
    velocity = model.velocity(torch.randn_like(latents), torch.tensor([0.5, 0.8]), text, latents, torch.tensor([1, 2]))
    velocity.square().mean().backward()
    trained = {name for name, parameter in model.denoiser.named_parameters() if parameter.grad is not None}
    assert trained and all("lora_" in name for name in trained)
    for target in model.lora_targets:
        assert any(f".{target}.lora_B" in name for name in trained), target


def test_transformer_with_its_original_projection_can_be_saved(spec, cache, nano_folder, tmp_path):
    from safetensors.torch import load_file

    model = load_world_model(spec, cache, "cpu", parts=("denoiser",))
    with model.original_projection() as transformer:
        transformer.save_pretrained(tmp_path)
    assert "crossattn_proj.0.weight" not in model.denoiser.state_dict()
    name = "diffusion_pytorch_model.safetensors"
    before, after = load_file(nano_folder / "transformer" / name), load_file(tmp_path / name)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_every_part_loads_alone_with_the_same_identity(spec, cache):
    whole = CosmosPredict25.identify(spec, cache)
    for parts in (("vae",), ("text",), ("denoiser",), ()):
        model = load_world_model(spec, cache, "cpu", parts=parts)
        assert (model.revision, model.fingerprint) == (whole.revision, whole.fingerprint)
        loaded = (model.vae is not None, model.text_encoder is not None, model.denoiser is not None)
        assert loaded == tuple(part in parts for part in ("vae", "text", "denoiser"))
        if parts != ("vae",):
            assert model.dropped_text().shape == (1, 128, 128)
