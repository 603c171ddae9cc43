"""A loaded model working through the samples of an evaluation set, a batch at a time."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from cosmos_ops.base_models import WorldModel, load_world_model
from cosmos_ops.base_models.guardrail import guardrail
from cosmos_ops.base_models.latents import LatentStore
from cosmos_ops.errors import WorkFailed
from cosmos_ops.evaluation.samples import Sample
from cosmos_ops.hashing import file_sha256
from cosmos_ops.lake import Lake, Manifest, atomic_write, write_json
from cosmos_ops.profiles import Profile
from cosmos_ops.store.notes import share
from cosmos_ops.training.adapters import load_adapter
from cosmos_ops.video.encode import encode_mp4

VIDEO_CRF, VIDEO_PRESET, VIDEO_GOP = 8, "veryfast", 8
"""Metrics are computed from the stored videos, so that anyone can compute them again; storing costs under 1 dB at 30 dB, nearly all of it 4:2:0 colour."""


def device_name(device: str) -> str:
    """What people call a torch device: the accelerator's model name, `cpu` otherwise."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") and torch.cuda.is_available() else device


def peak_memory_bytes(device: str) -> int:
    """Most memory held so far: of the accelerator since its counter was reset, or of this process on a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@dataclass(frozen=True)
class Measured:
    """What one process took."""

    stage_seconds: dict[str, float]
    peak_memory_bytes: int


class Generation:
    """A loaded model working through samples."""

    def __init__(self, lake: Lake, profile: Profile, latents: Manifest, adapter: Manifest | None, device: str):
        self.profile, self.device = profile, device
        started = time.perf_counter()
        self.model: WorldModel = load_world_model(profile.base_model, lake.models(), device, parts=("vae", "denoiser"))
        if adapter is not None:
            load_adapter(self.model.denoiser, adapter.whole())
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(device)
        self.stages = {"load": time.perf_counter() - started, "sample": 0.0, "decode": 0.0, "encode": 0.0}
        self.store = LatentStore(lake, latents)
        self.checker = guardrail(profile.base_model.guardrail)
        self.checker.to(device)
        negative = profile.generation.negative_prompt
        self.negative = self.store.dropped_text() if negative is None else self.store.text(negative)

    def run(self, folder: Path, batches: list[list[Sample]], report: Callable[[int], None]) -> "Measured":
        """Make the videos of these batches; `report(n)` after each says how many samples it had."""
        for batch in batches:
            self._batch(folder, batch)
            report(len(batch))
        return Measured({f"{name}_s": seconds for name, seconds in self.stages.items()}, peak_memory_bytes(self.device))

    @torch.inference_mode()
    def _batch(self, folder: Path, batch: list[Sample]) -> None:
        generation, clip = self.profile.generation, self.profile.clip
        started = time.perf_counter()
        conditioning = torch.stack([self.store.clip(sample.clip_id)[:, : generation.conditioning_latent_frames] for sample in batch])
        text = torch.stack([self.store.text(sample.prompt) for sample in batch])
        sampled = self.model.sample(
            conditioning.to(self.device),
            text.to(self.device),
            self.negative.to(self.device).expand(len(batch), *self.negative.shape),
            [sample.seed for sample in batch],
            self.model.latent_shape(clip.frames, clip.height, clip.width),
            generation.steps,
            generation.guidance,
        )
        sampled = sampled.float().cpu()
        each_s = (time.perf_counter() - started) / len(batch)
        self.stages["sample"] += each_s * len(batch)
        for sample, latents in zip(batch, sampled, strict=True):
            # One at a time: decoding needs the most memory, and a video must not depend on its neighbours in the batch.
            self._write(folder, sample, latents.contiguous(), each_s)

    def _write(self, folder: Path, sample: Sample, latents: torch.Tensor, sample_s: float) -> None:
        started = time.perf_counter()
        frames = self.model.decode_latents(latents[None].to(self.device))[0].cpu().numpy()
        frames = safe_frames(self.checker, frames, sample.prompt, sample.sample_key)
        decoded = time.perf_counter()
        with atomic_write(folder / latents_name(sample)) as part:
            save_file({"latents": latents}, part)
        with atomic_write(folder / video_name(sample)) as part:
            encode_mp4(frames, sample.fps, part, crf=VIDEO_CRF, preset=VIDEO_PRESET, gop=VIDEO_GOP)
        encoded = time.perf_counter()
        self.stages["decode"] += decoded - started
        self.stages["encode"] += encoded - decoded
        # Last: a sample is whole when its note is there and its files are those of the note.
        files = {name: file_sha256(folder / name) for name in (video_name(sample), latents_name(sample))}
        write_json(folder / note_name(sample), {"seconds": round(sample_s + encoded - started, 4), "files": files})
        share(*(folder / name for name in (*files, note_name(sample))))


def safe_frames(checker: Any, frames: np.ndarray, prompt: str, name: str) -> np.ndarray:
    """Frames as the guardrail returns them (it may blur faces). Raises `WorkFailed` where it refuses the prompt or the video."""
    if not checker.check_text_safety(prompt):
        raise WorkFailed(f"the guardrail refuses the prompt of {name} ({prompt!r}); leave the clip out, or set base_model.guardrail: off")
    checked = checker.check_video_safety(frames)
    if checked is None:
        raise WorkFailed(f"the guardrail refuses the video of {name}; leave the clip out, or set base_model.guardrail: off")
    return checked


def video_name(sample: Sample) -> str:
    return f"{sample.sample_key}.mp4"


def latents_name(sample: Sample) -> str:
    return f"{sample.sample_key}.safetensors"


def note_name(sample: Sample) -> str:
    return f".{sample.sample_key}.json"
