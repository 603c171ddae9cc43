"""nano: a pipeline of the very classes of Cosmos Predict 2.5, small enough for two CPU cores.

The package brings trained weights (`weights/`, see its MODEL_CARD.md): drawn and simulated arms and a few real recordings were shown to
it, at 80 x 128. What is built here is untrained. The VAE begins as block averages (see `start`): what it decodes is the clip, blurred.
Denoiser and text encoder are random numbers from a fixed seed: such a model exercises every code path and predicts nothing.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel, UniPCMultistepScheduler
from torch import nn

from cosmos_ops.base_models.cosmos_loading import no_progress_bars
from cosmos_ops.base_models.guardrail import Off
from cosmos_ops.base_models.nano.start import start
from cosmos_ops.base_models.nano.tokenizer import SPECIAL, VOCABULARY, build_tokenizer
from cosmos_ops.hashing import digest, file_sha256
from cosmos_ops.lake import Output, build_folder

CODE_VERSION = "1"
WEIGHTS = Path(__file__).parent / "weights"
"""Trained weights that come with the package, a whole pipeline folder."""

TEXT_LAYERS, TEXT_WIDTH, CONTEXT_WIDTH = 2, 64, 128


def builtin_nano(cache: Path, seed: int = 0) -> Path:
    """The folder of the builtin model: the package's trained weights, or random ones made once under `cache`."""
    if (WEIGHTS / "model_index.json").is_file():
        return WEIGHTS
    key = digest([CODE_VERSION, seed, torch.__version__])
    return build_folder(cache / f"nano-{key}", "base_model", key, lambda folder: _write(folder, seed)).path


def build_nano(folder: Path, seed: int = 0) -> None:
    """Write an untrained pipeline folder (save_pretrained layout, safetensors). The same seed gives the same bytes on one machine."""
    from diffusers import Cosmos2_5_PredictBasePipeline

    gradients, random = torch.is_grad_enabled(), torch.get_rng_state()
    try:
        torch.manual_seed(seed)
        pipeline = Cosmos2_5_PredictBasePipeline(
            text_encoder=make_text_encoder(),
            tokenizer=build_tokenizer(),
            transformer=make_transformer(),
            vae=make_vae(),
            scheduler=make_scheduler(),
            safety_checker=Off(),
        )
        calibrate(pipeline.vae, synthetic_clips(4, seed))
        pipeline.register_to_config(safety_checker=(None, None))
        with no_progress_bars():
            pipeline.save_pretrained(folder, safe_serialization=True)
    finally:
        torch.set_rng_state(random)
        torch.set_grad_enabled(gradients)


def make_vae() -> AutoencoderKLWan:
    """Wan 2.1's VAE, 12 times narrower: 16 latent channels, 8x in space, 4x in time; about 0.7M parameters."""
    vae = AutoencoderKLWan(base_dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1, temperal_downsample=[False, True, True])
    start(vae)
    return vae.eval()


def make_transformer() -> CosmosTransformer3DModel:
    """The denoiser, settings as in the 2B model where size does not matter; about 5.8M parameters."""
    return CosmosTransformer3DModel(
        in_channels=17,
        out_channels=16,
        num_attention_heads=8,
        attention_head_dim=32,
        num_layers=5,
        mlp_ratio=4.0,
        text_embed_dim=CONTEXT_WIDTH,
        adaln_lora_dim=32,
        max_size=(32, 64, 64),
        patch_size=(1, 2, 2),
        rope_scale=(1.0, 1.0, 1.0),
        concat_padding_mask=True,
        extra_pos_embed_type=None,
        use_crossattn_projection=True,
        crossattn_proj_in_channels=TEXT_LAYERS * TEXT_WIDTH,
        encoder_hidden_states_channels=CONTEXT_WIDTH,
    ).eval()


def make_scheduler() -> UniPCMultistepScheduler:
    """The settings of the 2B model's scheduler."""
    return UniPCMultistepScheduler(use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=200.0, sigma_min=0.01)


def make_text_encoder() -> nn.Module:
    """Qwen2.5-VL with two layers of width 64 and a vision tower that is never used."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    number = {token: index for index, token in enumerate(SPECIAL)}
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 2 * TEXT_WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 1024,
        "initializer_range": 0.05,
        "tie_word_embeddings": True,
        "rope_theta": 10000.0,
        "rope_scaling": {"mrope_section": [2, 3, 3], "rope_type": "default", "type": "default"},
        "bos_token_id": None,
        "eos_token_id": number["<|im_end|>"],
        "pad_token_id": number["<|endoftext|>"],
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": TEXT_WIDTH}
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        vision_start_token_id=number["<|vision_start|>"],
        vision_end_token_id=number["<|vision_end|>"],
        vision_token_id=number["<|vision_pad|>"],
        image_token_id=number["<|image_pad|>"],
        video_token_id=number["<|video_pad|>"],
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()


@torch.no_grad()
def calibrate(vae: AutoencoderKLWan, clips: torch.Tensor) -> None:
    """Set the VAE's `latents_mean` and `latents_std` so that the latents of `clips` [B, 3, T, H, W] in [-1, 1] are normalised by channel."""
    latents = torch.cat([vae.encode(clip[None]).latent_dist.mean for clip in clips])
    mean, std = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
    vae.register_to_config(latents_mean=[round(value, 4) for value in mean.tolist()], latents_std=[round(value, 4) for value in std.tolist()])


def synthetic_clips(count: int, seed: int, frames: int = 17, height: int = 80, width: int = 128) -> torch.Tensor:
    """Smooth coloured backgrounds with boxes that drift over them: [count, 3, frames, height, width] in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    clips = nn.functional.interpolate(uniform(count, 3, 2, 6, 9), size=(frames, height, width), mode="trilinear", align_corners=True)
    for clip in clips:
        for _ in range(6):
            centre, speed = uniform(2) * torch.tensor([height, width]), (uniform(2) - 0.5) * 5
            half, colour = uniform(2) * 18 + 5, uniform(3)
            for frame in range(frames):
                y, x = centre + speed * frame
                inside = ((rows - y).abs() < half[0]) & ((columns - x).abs() < half[1])
                clip[:, frame, inside] = colour[:, None]
    return clips * 2 - 1


def _write(folder: Path, seed: int) -> Output:
    build_nano(folder, seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Output(digest([[str(path.relative_to(folder)), file_sha256(path)] for path in files]), len(files), {"seed": seed, "trained": False})
