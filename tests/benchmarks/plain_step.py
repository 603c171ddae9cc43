"""The opponent: a training step that behaves as the public recipe's script does (huggingface/diffusers, `examples/cosmos`).

Every step of every epoch it decodes the clip's whole file to PIL frames, runs VAE and text encoder on it, projects the text inside the denoiser,
recomputes each block in the backward pass (the recipe's launch line asks for it) and lets PEFT's own LoRA or DoRA and AdamW do the rest, with
default kernels. Loss, noise and schedule of what is dropped are the recipe's. Batches of one, as there.
"""

from pathlib import Path

import av
import torch
from diffusers import Cosmos2_5_PredictBasePipeline
from diffusers.video_processor import VideoProcessor
from peft import LoraConfig

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]


class PlainTrainer:
    """A pipeline with an adapter on its transformer; `step` trains on one file."""

    def __init__(self, pipeline: Cosmos2_5_PredictBasePipeline, text_tokens: int, size: tuple[int, int], method: str, rank: int, recompute: bool = True):
        self.pipeline, self.text_tokens, self.size = pipeline, text_tokens, size
        self.device, self.dtype = pipeline.transformer.device, pipeline.transformer.dtype
        self.processor = VideoProcessor(vae_scale_factor=8, resample="bilinear")
        for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder):
            part.requires_grad_(False)
        pipeline.transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS, use_dora=method == "dora"))
        self.parameters = [parameter for parameter in pipeline.transformer.parameters() if parameter.requires_grad]
        for parameter in self.parameters:
            parameter.data = parameter.data.float()
        if recompute:
            pipeline.transformer.enable_gradient_checkpointing()
        pipeline.transformer.train()
        self.optimizer = torch.optim.AdamW(self.parameters, lr=2**-14.5, weight_decay=0.001)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.5 * min(1.0, (step + 1) / 1000))
        self.mean, self.inverse_std = pipeline.latents_mean.to(self.device), pipeline.latents_std.to(self.device)
        torch.set_grad_enabled(True)  # the pipeline's class switches gradients off

    def step(self, video: Path, caption: str) -> float:
        """One optimizer update on one clip; returns the loss."""
        pixels = self.processor.preprocess_video(_decode(video), *self.size)
        return self.step_on(pixels, caption)

    def step_on(self, pixels: torch.Tensor, caption: str) -> float:
        """The same from pixels [1, 3, T, H, W] in [-1, 1]."""
        pipeline, device = self.pipeline, self.device
        with torch.no_grad():
            mean = pipeline.vae.encode(pixels.to(device, pipeline.vae.dtype)).latent_dist.mean.float()
            clean = (mean - self.mean) * self.inverse_std
            text = pipeline._get_prompt_embeds([caption], max_sequence_length=self.text_tokens, device=device)
        text[torch.rand(1, device=device) < 0.2] = 0.0
        known = torch.zeros(1, 1, *clean.shape[2:], device=device)
        known[:, :, : int(torch.randint(1, 3, ()))] = 1.0
        t = torch.sigmoid(torch.randn(1, device=device)).view(1, 1, 1, 1, 1)
        sigma = 5 * t / (1 + 4 * t)
        noise = torch.randn_like(clean)
        target = noise - clean
        noisy = clean * known + (noise * sigma + clean * (1 - sigma)) * (1 - known)
        indicator = known[:, :, :, :1, :1]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            predicted = pipeline.transformer(
                hidden_states=noisy.to(self.dtype),
                condition_mask=known.to(self.dtype),
                timestep=indicator * 0.0001 + (1 - indicator) * sigma,
                encoder_hidden_states=text.to(self.dtype),
                padding_mask=torch.zeros(1, 1, clean.shape[3] * 8, clean.shape[4] * 8, dtype=self.dtype, device=device),
                return_dict=False,
            )[0]
        predicted = target * known + predicted.float() * (1 - known)
        loss = torch.nn.functional.mse_loss(predicted, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return loss.item()


def _decode(path: Path) -> list:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]
