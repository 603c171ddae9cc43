"""Videos of the evaluation set from one contender: same prompts, first frames and seeds for all.

Only what is needed is loaded: the conditioning latents are the first latent frames of the clip's cached latents (the VAE is causal,
so they depend on no later pixel) and text comes from the cache too; the VAE decodes, the text encoder stays away. A folder is named
by the weights, not by the contender: base is generated once for every recipe, and an incumbent that is a recipe's adapter is reused.
"""

import json
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save_file

from cosmos_ops.base_models import WorldModel, identify_world_model, load_world_model
from cosmos_ops.base_models.guardrail import guardrail
from cosmos_ops.base_models.latents import LatentStore
from cosmos_ops.errors import WorkFailed
from cosmos_ops.evaluation.samples import STRIP_FRAMES, Sample, read_samples, read_video, real_frames, spread
from cosmos_ops.hashing import digest, file_sha256
from cosmos_ops.lake import Lake, Manifest, Output, atomic_write, resume_folder, write_json
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.tables import write_table
from cosmos_ops.training.adapters import load_adapter
from cosmos_ops.video.encode import encode_mp4
from cosmos_ops.video.filmstrip import filmstrip_png

CODE_VERSION = "1"

VIDEO_CRF, VIDEO_PRESET, VIDEO_GOP = 8, "veryfast", 8
"""Metrics are computed from the stored videos, so that anyone can compute them again; storing costs under 1 dB at 30 dB, nearly all of it 4:2:0 colour."""

FILMSTRIP_SAMPLES = 4

SCHEMA = pa.schema(
    [
        ("sample_key", pa.string()),
        ("clip_id", pa.string()),
        ("drop", pa.string()),
        ("episode_id", pa.string()),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("fps", pa.float64()),
        ("frames", pa.int64()),
        ("seconds", pa.float64()),
        ("file", pa.string()),
        ("file_sha256", pa.string()),
        ("latents_file", pa.string()),
        ("latents_sha256", pa.string()),
    ]
)


def generate(
    lake: Lake, profile: Profile, evaluation_version: str, latents: Manifest, contender: str, adapter: Manifest | None, device: str, progress: Progress = silent
) -> Manifest:
    """Generate every sample of an evaluation set with the base model, or with an adapter on it.

    Writes `<sample key>.mp4` (H.264, the clip's own fps), `<sample key>.safetensors` (`latents` float32 [C, t, h, w], as sampled),
    `videos.parquet` and `filmstrip.png`. Continues after an interruption with the samples that are not whole. `contender` only names
    the work in progress notes. Raises `WorkFailed` for an adapter of another base model and a video that the guardrail refuses.
    """
    base_revision = identify_world_model(profile.base_model, lake.models()).revision
    if adapter is not None and adapter.meta["base"]["revision"] != base_revision:
        theirs = adapter.meta["base"]["revision"]
        raise WorkFailed(f"the adapter of {contender} was made for base revision {theirs}, the profile's is {base_revision}; train it again")
    precision = "float32" if device.startswith("cpu") else profile.base_model.dtype
    settings = {name: value for name, value in asdict(profile.generation).items() if name not in ("batch", "seeds")}  # neither changes a sample
    weights = {"base_revision": base_revision, "adapter": adapter.data_version if adapter else None, "adapter_key": adapter.key if adapter else None}
    encoding = [VIDEO_CRF, VIDEO_PRESET, VIDEO_GOP]
    key = digest([CODE_VERSION, weights, evaluation_version, settings, profile.clip, profile.base_model.guardrail, precision, encoding])
    about = {
        "adapter_key": weights["adapter_key"],
        "weights": weights,
        "evaluation_set": evaluation_version,
        "steps": profile.generation.steps,
        "guidance": profile.generation.guidance,
        "negative_prompt": profile.generation.negative_prompt,
        "conditioning_latent_frames": profile.generation.conditioning_latent_frames,
        "guardrail": profile.base_model.guardrail,
        "precision": precision,
        "device": device_name(device),
    }

    def write(folder: Path) -> Output:
        samples = read_samples(lake, evaluation_version)
        missing = [sample for sample in samples if not _is_whole(folder, sample)]
        measured: dict[str, Any] = {}
        if missing:
            work = _Generation(lake, profile, latents, adapter, device)
            measured = work.run(folder, missing, samples, contender, progress)
        rows = [_row(folder, sample, profile) for sample in samples]
        write_table(folder / "videos.parquet", rows, SCHEMA)
        strips = []
        for sample in spread(samples, FILMSTRIP_SAMPLES):
            strips.append((f"real, {sample.camera}: {sample.prompt}", spread(list(real_frames(lake, sample)), STRIP_FRAMES)))
            strips.append((f"generated, seed {sample.seed}", spread(list(read_video(folder / _video(sample), profile.clip.frames)), STRIP_FRAMES)))
        filmstrip_png(strips, folder / "filmstrip.png")
        seconds = float(np.mean([row["seconds"] for row in rows]))
        shown = float(np.mean([row["frames"] / row["fps"] for row in rows]))
        cost = {"seconds_per_video": seconds, "compute_s_per_video_s": seconds / shown}
        # How long it took is no part of what came out.
        content = [[row["sample_key"], row["file_sha256"], row["latents_sha256"]] for row in rows]
        return Output(digest(content), len(rows), about | cost | measured)

    return resume_folder(lake.generations(key), "generations", key, write)


def device_name(device: str) -> str:
    """What people call a torch device: the accelerator's model name, `cpu` otherwise."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") and torch.cuda.is_available() else device


def peak_memory_bytes(device: str) -> int:
    """Most memory held so far: of the accelerator since its counter was reset, or of this process on a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Generation:
    """A loaded model working through samples."""

    def __init__(self, lake: Lake, profile: Profile, latents: Manifest, adapter: Manifest | None, device: str):
        self.profile, self.device = profile, device
        started = time.perf_counter()
        self.model: WorldModel = load_world_model(profile.base_model, lake.models(), device, parts=("vae", "denoiser"))
        if adapter is not None:
            load_adapter(self.model.denoiser, adapter.path)
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(device)
        self.stages = {"load": time.perf_counter() - started, "sample": 0.0, "decode": 0.0, "encode": 0.0}
        self.store = LatentStore(lake, latents)
        self.checker = guardrail(profile.base_model.guardrail)
        self.checker.to(device)
        negative = profile.generation.negative_prompt
        self.negative = self.store.dropped_text() if negative is None else self.store.text(negative)

    def run(self, folder: Path, missing: list[Sample], samples: list[Sample], contender: str, progress: Progress) -> dict[str, Any]:
        done = len(samples) - len(missing)
        size = self.profile.generation.batch
        for start in range(0, len(missing), size):
            batch = missing[start : start + size]
            progress(done, len(samples), f"{contender}: sampling {len(batch)} at once")
            self._batch(folder, batch)
            done += len(batch)
            progress(done, len(samples), f"{contender}: {done} of {len(samples)} videos")
        stages = {f"{name}_s": round(seconds, 3) for name, seconds in self.stages.items()}
        return {"generated_now": len(missing), "stage_seconds": stages, "peak_memory_bytes": peak_memory_bytes(self.device)}

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
        with atomic_write(folder / _latents(sample)) as part:
            save_file({"latents": latents}, part)
        with atomic_write(folder / _video(sample)) as part:
            encode_mp4(frames, sample.fps, part, crf=VIDEO_CRF, preset=VIDEO_PRESET, gop=VIDEO_GOP)
        encoded = time.perf_counter()
        self.stages["decode"] += decoded - started
        self.stages["encode"] += encoded - decoded
        # Last: a sample is whole when its note is there.
        write_json(folder / _note(sample), {"seconds": round(sample_s + encoded - started, 4)})


def safe_frames(checker: Any, frames: np.ndarray, prompt: str, name: str) -> np.ndarray:
    """Frames as the guardrail returns them (it may blur faces). Raises `WorkFailed` where it refuses the prompt or the video."""
    if not checker.check_text_safety(prompt):
        raise WorkFailed(f"the guardrail refuses the prompt of {name} ({prompt!r}); leave the clip out, or set base_model.guardrail: off")
    checked = checker.check_video_safety(frames)
    if checked is None:
        raise WorkFailed(f"the guardrail refuses the video of {name}; leave the clip out, or set base_model.guardrail: off")
    return checked


def _video(sample: Sample) -> str:
    return f"{sample.sample_key}.mp4"


def _latents(sample: Sample) -> str:
    return f"{sample.sample_key}.safetensors"


def _note(sample: Sample) -> str:
    return f".{sample.sample_key}.json"


def _is_whole(folder: Path, sample: Sample) -> bool:
    return all((folder / name).is_file() for name in (_video(sample), _latents(sample), _note(sample)))


def _row(folder: Path, sample: Sample, profile: Profile) -> dict[str, Any]:
    return {
        "sample_key": sample.sample_key,
        "clip_id": sample.clip_id,
        "drop": sample.drop,
        "episode_id": sample.episode_id,
        "seed": sample.seed,
        "prompt": sample.prompt,
        "fps": sample.fps,
        "frames": profile.clip.frames,
        "seconds": json.loads((folder / _note(sample)).read_text())["seconds"],
        "file": _video(sample),
        "file_sha256": file_sha256(folder / _video(sample)),
        "latents_file": _latents(sample),
        "latents_sha256": file_sha256(folder / _latents(sample)),
    }
