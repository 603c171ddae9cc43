"""Training nano's denoiser (see `start_denoiser`) with the rectified-flow objective of Cosmos Predict 2.5, on latents encoded once.

sigma = shift * t / (1 + (shift - 1) * t) with t = sigmoid(normal) and shift 5; noisy = sigma * noise + (1 - sigma) * clean; target
noise - clean; the first one or two latent frames are given, at noise level 0.0001, and left out of the loss; text is dropped with
probability 0.2. Every second batch has shift 1: shift 5 hardly ever draws a level below 0.4, and as few steps as are taken here would
leave noise in what is generated. The text encoder and its projection stay as they were made: random, and different for different words.
"""

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cosmos_ops.base_models.cosmos import CosmosPredict25, condition_indicator
from cosmos_ops.base_models.nano.pretrain_data import Budget, Recording
from cosmos_ops.base_models.nano.start_denoiser import start_denoiser
from cosmos_ops.hashing import digest, file_sha256

BATCH = 4
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.01
TEXT_DROPOUT = 0.2
SHIFTS = (5.0, 1.0)
"""Of batches in turn."""
EMA = 0.998
STRIDE = 8
"""Frames between the windows that are encoded."""
_LOG_EVERY, _SAVE_EVERY = 50, 250
_FACTS, _STATE = "training.json", "state.pt"


@dataclass(frozen=True, eq=False)
class Encoded:
    """Windows of recordings as the denoiser sees them."""

    latents: torch.Tensor
    """[N, C, t, h, w]."""
    texts: torch.Tensor
    """[K, L, D], one a distinct task."""
    text_of: torch.Tensor
    """[N] index into `texts`."""


def encode(model: CosmosPredict25, recordings: list[Recording], frames: int, path: Path) -> Encoded:
    """Overlapping windows of `frames` frames and their tasks; kept at `path`, a safetensors file, for a training that is run again."""
    tasks = sorted({recording.task for recording in recordings})
    vae = file_sha256(model.folder / "vae/diffusion_pytorch_model.safetensors")
    content = digest([vae, frames, STRIDE, [[recording.source, recording.task, len(recording.frames)] for recording in recordings]])
    if path.is_file():
        with safe_open(path, "pt") as kept:
            if kept.metadata()["content"] == content:
                return Encoded(*(kept.get_tensor(name).to(model.device) for name in ("latents", "texts", "text_of")))
    latents, text_of = [], []
    for number, recording in enumerate(recordings):
        for start in range(0, len(recording.frames) - frames + 1, STRIDE):
            latents.append(model.encode_video(torch.from_numpy(recording.frames[None, start : start + frames])))
            text_of.append(tasks.index(recording.task))
        print(f"encoded {number + 1} of {len(recordings)} recordings", flush=True)
    encoded = Encoded(torch.cat(latents), model.encode_text(tasks), torch.tensor(text_of, device=model.device))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous() for name, tensor in vars(encoded).items()}, path, {"content": content})
    return encoded


def train_denoiser(model: CosmosPredict25, train: Encoded, validation: Encoded, folder: Path, budget: Budget) -> dict:
    """Train `model.denoiser` in place; it ends with the running mean of its weights. Returns what the model card tells.

    Progress is kept in `folder`; a killed training goes on from there, unless the windows have become others.
    """
    torch.manual_seed(budget.seed)
    batch = BATCH * budget.batch_factor
    denoiser = model.denoiser.train().requires_grad_(True)
    start_denoiser(denoiser)
    mean = copy.deepcopy(denoiser).requires_grad_(False)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    facts = {"steps": 0, "minutes": 0.0, "batch": batch, "windows": len(train.latents), "parameters": sum(p.numel() for p in denoiser.parameters())}
    facts |= {"validation_loss_before": round(validation_loss(model, validation), 4), "latents": _fingerprint(train)}
    if (found := _left_there(folder)) is not None and found["latents"] == facts["latents"]:
        facts = found
        kept = torch.load(folder / _STATE, map_location=model.device, weights_only=True)
        denoiser.load_state_dict(kept["denoiser"])
        mean.load_state_dict(kept["mean"])
        optimizer.load_state_dict(kept["optimizer"])
    before, step, history = facts["minutes"], facts["steps"], []
    generator = torch.Generator().manual_seed(budget.seed + step)
    dropped = model.dropped_text()[0]

    def save() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        facts.update(steps=step, minutes=round(before + spent() * budget.minutes, 2), loss=round(float(np.mean(history[-200:])), 4))
        torch.save({"denoiser": denoiser.state_dict(), "mean": mean.state_dict(), "optimizer": optimizer.state_dict()}, folder / _STATE)
        (folder / _FACTS).write_text(json.dumps(facts))

    spent = budget.stopwatch()
    while (done := before / budget.minutes + spent()) < 1:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * done))
        chosen = torch.randint(len(train.latents), (batch,), generator=generator).to(model.device)
        text = train.texts[train.text_of[chosen]].clone()
        text[(torch.rand(batch, generator=generator) < TEXT_DROPOUT).to(model.device)] = dropped
        loss = flow_loss(model, train.latents[chosen], text, generator, SHIFTS[step % len(SHIFTS)])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(EMA, step / (step + 10))
        with torch.no_grad():
            for kept, new in zip(mean.parameters(), denoiser.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
        history.append(loss.item())
        if step % _LOG_EVERY == 0:
            print(f"denoiser {100 * done:.1f} % step {step} loss {np.mean(history[-_LOG_EVERY:]):.4f}", flush=True)
        if step % _SAVE_EVERY == 0:
            save()
    if history:
        save()
    denoiser.load_state_dict(mean.state_dict())
    denoiser.eval().requires_grad_(False)
    return facts | {"validation_loss": round(validation_loss(model, validation), 4)}


def _left_there(folder: Path) -> dict | None:
    return json.loads((folder / _FACTS).read_text()) if (folder / _FACTS).is_file() else None


def _fingerprint(data: Encoded) -> str:
    return digest([round(float(data.latents.double().sum()), 3), list(data.latents.shape)])


def flow_loss(model: CosmosPredict25, clean: torch.Tensor, text: torch.Tensor, generator: torch.Generator, shift: float = SHIFTS[0]) -> torch.Tensor:
    """Mean squared error of the velocity over frames that are not given; all chance is drawn on the CPU."""
    count = len(clean)
    time = torch.sigmoid(torch.randn(count, generator=generator))
    sigma = (shift * time / (1 + (shift - 1) * time)).to(clean.device)
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    given = torch.randint(1, 3, (count,), generator=generator).to(clean.device)
    level = sigma.view(-1, 1, 1, 1, 1)
    error = model.velocity(level * noise + (1 - level) * clean, sigma, text, clean, given) - (noise - clean)
    free = (1 - condition_indicator(given, clean.shape[2])).expand_as(error)
    return (error.square() * free).sum() / free.sum()


@torch.no_grad()
def validation_loss(model: CosmosPredict25, data: Encoded) -> float:
    """`flow_loss` over all windows with the same noise every time."""
    generator = torch.Generator().manual_seed(0)
    losses = [
        flow_loss(model, data.latents[start : start + BATCH], data.texts[data.text_of[start : start + BATCH]], generator).item()
        for start in range(0, len(data.latents), BATCH)
    ]
    return float(np.mean(losses))
