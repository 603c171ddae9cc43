"""Training nano's VAE: crops of 5, 9 and 17 frames, absolute error and a little KL divergence."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from cosmos_ops.base_models.nano.build import make_vae
from cosmos_ops.base_models.nano.pretrain_data import Budget, Recording

CROPS = ((3, 5, 48, 64, 0.6), (1, 9, 64, 80, 0.25), (1, 17, 48, 64, 0.15))
"""Clips a batch, frames, height, width, share of the steps."""
KL_WEIGHT = 1e-4
LEARNING_RATE = 5e-4
_LOG_EVERY = 50


def train_vae(recordings: list[Recording], folder: Path, budget: Budget) -> dict:
    """Train from a fixed start, or from what lies in `folder`, and save there. Returns what the model card tells.

    The learning rate falls to nothing over the given time; the number of steps depends on the machine.
    """
    torch.manual_seed(budget.seed)
    rng = np.random.default_rng(budget.seed)
    vae = AutoencoderKLWan.from_pretrained(folder) if (folder / "config.json").is_file() else make_vae()
    vae.to(budget.device).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    spent, step, history = budget.stopwatch(), 0, []
    while (done := spent()) < 1:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * done))
        count, *size, _ = CROPS[rng.choice(len(CROPS), p=[share for *_, share in CROPS])]
        video = crops(recordings, count * budget.batch_factor, *size, rng).to(budget.device)
        posterior = vae.encode(video).latent_dist
        error = (decode_open(vae, posterior.sample()) - video).abs().mean()
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()
        loss = error + KL_WEIGHT * divergence
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        history.append(error.item())
        if step % _LOG_EVERY == 0:
            print(f"vae {100 * done:.1f} % step {step} L1 {np.mean(history[-_LOG_EVERY:]):.4f} KL {divergence.item():.2f}", flush=True)
        if step % 500 == 0:
            vae.save_pretrained(folder)
    vae.to("cpu").eval().requires_grad_(False)
    vae.save_pretrained(folder)
    parameters = sum(parameter.numel() for parameter in vae.parameters())
    facts = {"steps": step, "minutes": budget.minutes, "batch_factor": budget.batch_factor, "parameters": parameters}
    facts["l1"] = round(float(np.mean(history[-200:])), 5)
    (folder / "training.json").write_text(json.dumps(facts))
    return facts


def crops(recordings: list[Recording], count: int, frames: int, height: int, width: int, rng: np.random.Generator) -> torch.Tensor:
    """Random crops [count, 3, frames, height, width] in [-1, 1], each recording weighted by the root of its length."""
    weights = np.sqrt([len(recording.frames) for recording in recordings])
    chosen = rng.choice(len(recordings), size=count, p=weights / weights.sum())
    made = []
    for number in chosen:
        video = recordings[number].frames
        t, y, x = (rng.integers(size - part + 1) for size, part in zip(video.shape[:3], (frames, height, width), strict=True))
        made.append(video[t : t + frames, y : y + height, x : x + width])
    return as_video(np.stack(made))


def as_video(frames: np.ndarray) -> torch.Tensor:
    """uint8 [B, T, H, W, 3] -> float32 [B, 3, T, H, W] in [-1, 1]."""
    return torch.from_numpy(frames).movedim(-1, 1).float() / 127.5 - 1.0


def decode_open(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """As `vae.decode`, without the clamp at +-1 through which no gradient passes."""
    vae.clear_cache()
    hidden = vae.post_quant_conv(latents)
    parts = []
    for frame in range(hidden.shape[2]):
        vae._conv_idx = [0]
        parts.append(vae.decoder(hidden[:, :, frame : frame + 1], feat_cache=vae._feat_map, feat_idx=vae._conv_idx, first_chunk=frame == 0))
    vae.clear_cache()
    return torch.cat(parts, dim=2)


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKLWan, clips: np.ndarray) -> float:
    """Mean PSNR in dB over uint8 clips [N, T, H, W, 3] through the VAE and back."""
    errors = []
    for clip in clips:
        video = as_video(clip[None])
        made = vae.decode(vae.encode(video).latent_dist.mean).sample
        errors.append(float(((made - video) / 2).square().mean()))
    return float(np.mean([-10 * math.log10(error) for error in errors]))
