"""NVIDIA Cosmos Predict 2.5 (Wan 2.1 VAE, Qwen2.5-VL text encoder, `CosmosTransformer3DModel`) as a `WorldModel`.

Text crosses the interface after the denoiser's frozen `crossattn_proj` (100,352 -> 1,024 channels in the 2B model): it is a hundred
times smaller to cache, and neither training nor generation needs the 7B encoder. The denoiser therefore runs with an identity in
that place; `original_projection` puts the real layer back for saving or merging.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel, UniPCMultistepScheduler
from torch import nn

from cosmos_ops.base_models import cosmos_text, cosmos_weights
from cosmos_ops.base_models.base import PARTS, Identity, register_world_model
from cosmos_ops.base_models.cosmos_loading import compute_dtype, from_pretrained, load_component, load_projection, torch_device
from cosmos_ops.base_models.cosmos_modulation import modulate_by_frame
from cosmos_ops.base_models.cpu_kernels import use_cpu_kernels
from cosmos_ops.base_models.guardrail import guardrail
from cosmos_ops.profiles import BaseModelSpec

CONDITIONING_TIMESTEP = 0.0001
"""Noise level that conditioning frames carry, in training and in generation."""


@register_world_model
class CosmosPredict25:
    """A Cosmos Predict 2.5 pipeline, loaded by parts. See `WorldModel` for the shapes."""

    family: ClassVar[str] = "cosmos-predict2.5"
    lora_targets: ClassVar[tuple[str, ...]] = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")

    def __init__(self, folder: Path, identity: Identity, device: torch.device, dtype: torch.dtype):
        self.folder = folder
        self.revision = identity.revision
        self.fingerprint = identity.fingerprint
        self.device = device
        self.dtype = dtype
        """Of the frozen weights and of what the denoiser computes in."""
        self.stored_dtype = dtype
        """Of weights that are written."""
        self.text_tokens = cosmos_text.text_length(folder)
        self.vae: AutoencoderKLWan | None = None
        self.text_encoder: nn.Module | None = None
        self.tokenizer: Any = None
        self.projection: nn.Sequential | None = None
        self.denoiser: CosmosTransformer3DModel | None = None
        self._transformer: CosmosTransformer3DModel | None = None

    @classmethod
    def identify(cls, spec: BaseModelSpec, cache: Path) -> Identity:
        """See `cosmos_weights.identify`."""
        return cosmos_weights.identify(spec, cache)

    @classmethod
    def load(cls, spec: BaseModelSpec, cache: Path, device: str = "cpu", parts: tuple[str, ...] = PARTS) -> "CosmosPredict25":
        """Load only `parts`; all in eval with gradients off. On a CPU everything is float32, on a GPU `spec.dtype`.

        Raises `UserError` for weights that are missing, incomplete or not of this family, and for a device that is not there.
        """
        unknown = set(parts) - set(PARTS)
        assert not unknown, f"no such parts: {sorted(unknown)}"
        where = torch_device(device)
        folder = cosmos_weights.locate(spec, cache, parts)
        model = cls(folder, cosmos_weights.identify(spec, cache), where, compute_dtype(spec.dtype, where))
        model.stored_dtype = getattr(torch, spec.dtype)
        if cosmos_weights.needs_projection(parts):
            model.projection = load_projection(folder, model.dtype)
        if "vae" in parts:
            model.vae = load_component(AutoencoderKLWan, folder / "vae", model.dtype, where)
            if where.type == "cpu":
                use_cpu_kernels(model.vae)
        if "text" in parts:
            from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

            model.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
            model.text_encoder = load_component(Qwen2_5_VLForConditionalGeneration, folder / "text_encoder", model.dtype, where)
            model.projection.to(where)
        if "denoiser" in parts:
            model.denoiser = model._transformer = load_component(CosmosTransformer3DModel, folder / "transformer", model.dtype, where)
            model._transformer.crossattn_proj = nn.Identity()
            modulate_by_frame(model._transformer)
        return model

    @classmethod
    def skeleton(cls, spec: BaseModelSpec) -> "CosmosPredict25":
        """See `WorldModel.skeleton`."""
        from cosmos_ops.base_models.cosmos_skeleton import denoiser_skeleton

        made = cls.__new__(cls)
        made.device, made.dtype = torch.device("meta"), getattr(torch, spec.dtype)
        made.denoiser, made.text_tokens = denoiser_skeleton(spec)
        made.text_width = made.denoiser.config.text_embed_dim
        return made

    @torch.no_grad()
    def encode_video(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 [B, T, H, W, 3] -> float32 latents [B, C, t, h, w]: posterior mean, normalised by the VAE's own statistics.

        The VAE is causal: the latents of a clip's first 4n + 1 frames are the first n + 1 latent frames of the clip.
        """
        mean, std = self._latent_statistics()
        latents = []
        for clip in frames:  # one at a time: a whole clip at full size fills a GPU
            video = clip.to(self.device).movedim(-1, 0)[None].float() / 127.5 - 1.0
            latents.append((self.vae.encode(video.to(self.dtype)).latent_dist.mean.float() - mean) / std)
        return torch.cat(latents)

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents [B, C, t, h, w] -> uint8 frames [B, T, H, W, 3] on the CPU."""
        mean, std = self._latent_statistics()
        clips = []
        for clip in latents:
            video = self.vae.decode((clip[None].to(self.device).float() * std + mean).to(self.dtype)).sample[0]
            clips.append(((video.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(0, -1).cpu())
        return torch.stack(clips)

    @torch.no_grad()
    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """Prompts -> [B, L, D] float32 after the frozen projection; L is `text_tokens`, longer prompts are cut."""
        assert self.text_encoder is not None, "the model was loaded without its text part"
        made = []
        for prompt in prompts:
            hidden = cosmos_text.hidden_text(self.text_encoder, cosmos_text.token_ids(self.tokenizer, prompt, self.text_tokens))
            made.append(self.projection(hidden.to(self.dtype)).float())
        return torch.cat(made)

    @torch.no_grad()
    def dropped_text(self) -> torch.Tensor:
        """[1, L, D]: the projection of a zero embedding, which is GELU(bias) at every token."""
        assert self.projection is not None, "the model was loaded as a VAE alone"
        bias = self.projection[0].bias.to(self.device)
        return self.projection[1](bias).float().expand(1, self.text_tokens, -1).contiguous()

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, t, h, w): 4x in time after the first frame, 8x in space."""
        return 16, (frames - 1) // 4 + 1, height // 8, width // 8

    def velocity(self, noisy: torch.Tensor, sigma: torch.Tensor, text: torch.Tensor, clean: torch.Tensor, conditioning_frames: torch.Tensor) -> torch.Tensor:
        """Predicted velocity, float32 [B, C, t, h, w]; see `WorldModel.velocity`. `text` is [B or 1, L, D]."""
        known = condition_indicator(conditioning_frames.to(noisy.device), noisy.shape[2])
        timestep = known * CONDITIONING_TIMESTEP + (1 - known) * sigma.to(noisy.device, torch.float32).view(-1, 1, 1, 1, 1)
        return self._denoise(known * clean + (1 - known) * noisy, known, timestep, text)

    @torch.no_grad()
    def sample(
        self,
        conditioning: torch.Tensor,
        text: torch.Tensor,
        negative: torch.Tensor,
        seeds: list[int],
        shape: tuple[int, int, int, int],
        steps: int,
        guidance: float,
        on_step: Callable[[int, int], None] | None = None,
    ) -> torch.Tensor:
        """Generate float32 latents [B, C, t, h, w]; see `WorldModel.sample`.

        The loop is that of `Cosmos2_5_PredictBasePipeline.__call__`: velocity `pos + guidance * (pos - neg)`, the known velocity on
        conditioning frames. It differs where guidance is in (0, 1], which the pipeline treats as none; here only 0 is none.
        `on_step(i, steps)` is called after step i = 1, 2, ...
        """
        count = conditioning.shape[2]
        latents = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(self.device)
        clean = torch.zeros_like(latents)
        clean[:, :, :count] = conditioning.to(self.device, torch.float32)
        known = condition_indicator(torch.full((len(seeds),), count, device=self.device), shape[1])
        known_velocity = (latents - clean) * known
        scheduler = UniPCMultistepScheduler.from_pretrained(self.folder, subfolder="scheduler")
        scheduler.set_timesteps(steps, device=self.device)
        for index, time in enumerate(scheduler.timesteps):
            timestep = known * CONDITIONING_TIMESTEP + (1 - known) * float(scheduler.sigmas[index])
            mixed = known * clean + (1 - known) * latents
            velocity = self._denoise(mixed, known, timestep, text)
            if guidance != 0:
                velocity = velocity + guidance * (velocity - self._denoise(mixed, known, timestep, negative))
            latents = scheduler.step(known_velocity + velocity * (1 - known), time, latents, return_dict=False)[0]
            if on_step is not None:
                on_step(index + 1, steps)
        return known * clean + (1 - known) * latents

    @contextlib.contextmanager
    def original_projection(self) -> Iterator[CosmosTransformer3DModel]:
        """Within the block the transformer carries its real `crossattn_proj`, as `save_pretrained` and merging need it."""
        assert self._transformer is not None, "the model was loaded without its denoiser"
        identity, self._transformer.crossattn_proj = self._transformer.crossattn_proj, self.projection
        try:
            yield self._transformer
        finally:
            self._transformer.crossattn_proj = identity

    def save(self, folder: Path) -> None:
        """Write a whole pipeline folder with the denoiser as it is now; see `WorldModel.save`."""
        from cosmos_ops.base_models.cosmos_saving import save_pipeline

        with self.original_projection() as transformer:
            save_pipeline(self.folder, transformer, self.stored_dtype, folder)

    def _denoise(self, latents: torch.Tensor, known: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        batch, _, _, height, width = latents.shape
        text = text.to(self.device, self.dtype)
        return self.denoiser(
            hidden_states=latents.to(self.dtype),
            condition_mask=known.expand(-1, -1, -1, height, width).to(self.dtype),
            timestep=timestep,
            encoder_hidden_states=text.expand(batch, -1, -1),
            padding_mask=latents.new_zeros(1, 1, height * 8, width * 8, dtype=self.dtype),
            return_dict=False,
        )[0].float()

    def _latent_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.vae is not None, "the model was loaded without its VAE"
        return tuple(
            torch.tensor(values, dtype=torch.float32, device=self.device).view(1, -1, 1, 1, 1)
            for values in (self.vae.config.latents_mean, self.vae.config.latents_std)
        )


def condition_indicator(frames: torch.Tensor, total: int) -> torch.Tensor:
    """Conditioning frames a sample [B] -> float32 [B, 1, total, 1, 1], 1 on the first of them and 0 on the rest."""
    order = torch.arange(total, device=frames.device)
    return (order[None] < frames[:, None]).float().view(-1, 1, total, 1, 1)


def load_pipeline(spec: BaseModelSpec, cache: Path, device: str = "cpu") -> Any:
    """The whole `Cosmos2_5_PredictBasePipeline` with the spec's guardrail policy, for export and for comparison.

    Loaded apart from any `CosmosPredict25`: its transformer carries the real `crossattn_proj`.
    """
    from diffusers import Cosmos2_5_PredictBasePipeline

    where = torch_device(device)
    folder = cosmos_weights.locate(spec, cache, PARTS)
    dtype = compute_dtype(spec.dtype, where)
    return from_pretrained(Cosmos2_5_PredictBasePipeline, folder, dtype, safety_checker=guardrail(spec.guardrail)).to(where)
