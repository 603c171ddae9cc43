"""Training nano's VAE: crops of 5, 9 and 17 frames, the root of each crop's mean squared error and a little KL divergence.

The root makes every crop's pull independent of how hard it is, as PSNR does; by trial it ends higher than absolute error after equal time.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm

from cosmos_ops.base_models.nano.build import make_vae
from cosmos_ops.base_models.nano.pretrain_data import Budget, Recording

CROPS = ((3, 5, 48, 64, 0.6), (1, 9, 64, 80, 0.25), (1, 17, 48, 64, 0.15))
"""Clips a batch, frames, height, width, share of the steps."""
KL_WEIGHT = 1e-4
LEARNING_RATE = 5e-4
_LOG_EVERY, _SAVE_EVERY = 50, 250
_FLOOR = 1e-6
"""Keeps the root's gradient finite on a crop without error."""
_FACTS, _OPTIMIZER = "training.json", "optimizer.pt"


def train_vae(recordings: list[Recording], folder: Path, budget: Budget) -> dict:
    """Train from a fixed start and save in `folder`, or go on with what a killed training left there. Returns what the model card tells.

    The minutes are those of all attempts together, other recordings may join between two of them. The learning rate is even for half of
    the time, then falls to nothing; the number of steps depends on the machine.
    """
    torch.manual_seed(budget.seed)
    vae = AutoencoderKLWan.from_pretrained(folder) if (folder / _FACTS).is_file() else make_vae()
    vae.to(budget.device).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    facts = {"steps": 0, "minutes": 0.0, "batch_factor": budget.batch_factor, "parameters": sum(p.numel() for p in vae.parameters())}
    if (folder / _FACTS).is_file():
        facts = json.loads((folder / _FACTS).read_text())
        optimizer.load_state_dict(torch.load(folder / _OPTIMIZER, weights_only=True))
    before, step, history = facts["minutes"], facts["steps"], []
    attempts = [*facts.get("attempts", []), {"from_step": step, "recordings": Counter(recording.source for recording in recordings)}]
    rng = np.random.default_rng([budget.seed, step])

    def save() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        facts.update(attempts=attempts, steps=step, minutes=round(before + spent() * budget.minutes, 2), l1=round(float(np.mean(history[-200:])), 5))
        vae.save_pretrained(folder)
        torch.save(optimizer.state_dict(), folder / _OPTIMIZER)
        (folder / _FACTS).write_text(json.dumps(facts))

    spent = budget.stopwatch()
    with _faster_norm():
        while (done := before / budget.minutes + spent()) < 1:
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * min(1, (step + 1) / 100) * min(1, 2 - 2 * done)
            count, *size, _ = CROPS[rng.choice(len(CROPS), p=[share for *_, share in CROPS])]
            video = crops(recordings, count * budget.batch_factor, *size, rng).to(budget.device)
            posterior = vae.encode(video).latent_dist
            error = decode_open(vae, posterior.sample()) - video
            divergence = 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()
            loss = (error.square().mean((1, 2, 3, 4)) + _FLOOR).sqrt().mean() + KL_WEIGHT * divergence
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimizer.step()
            step += 1
            history.append(error.detach().abs().mean().item())
            if step % _LOG_EVERY == 0:
                print(f"vae {100 * done:.1f} % step {step} L1 {np.mean(history[-_LOG_EVERY:]):.4f} KL {divergence.item():.2f}", flush=True)
            if step % _SAVE_EVERY == 0:
                save()
    vae.to("cpu").eval().requires_grad_(False)
    if history:
        save()
    return facts


@contextmanager
def _faster_norm() -> Iterator[None]:
    """Norms over channels as plain arithmetic: torch's own norm over a strided dimension takes a sixth of a step on a CPU."""
    original = WanRMS_norm.forward

    def forward(self: WanRMS_norm, x: torch.Tensor) -> torch.Tensor:
        length = x.square().sum(1 if self.channel_first else -1, keepdim=True).clamp_min(1e-24).rsqrt()
        return x * length * self.scale * self.gamma + self.bias

    WanRMS_norm.forward = forward
    try:
        yield
    finally:
        WanRMS_norm.forward = original


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
