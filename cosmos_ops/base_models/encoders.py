"""The frozen encoders as a worker elsewhere uses them: a call a shard, the model kept from one call to the next."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from cosmos_ops.base_models.base import WorldModel, load_world_model
from cosmos_ops.errors import WorkFailed
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import Profile
from cosmos_ops.shards.read import read_clip


@dataclass(frozen=True, eq=False)
class Encoders:
    """Which encoders, and where the clips are."""

    lake: Lake
    profile: Profile
    device: str


def encode_clips(work: Encoders, samples: list[dict]) -> dict[str, np.ndarray]:
    """Clip id -> latents float32 [C, t, h, w] of samples (`clip_id`, `shard_path`, `key`). Raises `WorkFailed` as `frames_of`."""
    model = _model(work, "vae")
    return {
        sample["clip_id"]: model.encode_video(torch.from_numpy(frames)[None])[0].float().cpu().numpy()
        for sample, frames in frames_of(work.lake, work.profile, samples)
    }


def encode_texts(work: Encoders, texts: dict[str, str | None]) -> dict[str, np.ndarray]:
    """Name -> embedding float32 [L, D] of each text; None stands for the dropped text."""
    model = _model(work, *(["text"] if any(text is not None for text in texts.values()) else []))
    return {name: (model.dropped_text() if text is None else model.encode_text([text]))[0].float().cpu().numpy() for name, text in texts.items()}


def frames_of(lake: Lake, profile: Profile, samples: list[dict]) -> Iterator[tuple[dict, np.ndarray]]:
    """Samples with their frames uint8 [T, H, W, 3], the next clip read while one is encoded. Raises `WorkFailed` for clips of another geometry."""
    with ThreadPoolExecutor(1) as reader:
        coming = None
        for sample, following in itertools.zip_longest(samples, samples[1:]):
            frames = coming.result() if coming else _read(lake, profile, sample)
            coming = reader.submit(_read, lake, profile, following) if following else None
            yield sample, frames


def _read(lake: Lake, profile: Profile, sample: dict) -> np.ndarray:
    frames, clip = read_clip(lake, sample["shard_path"], sample["key"]).frames, profile.clip
    if frames.shape != (clip.frames, clip.height, clip.width, 3):
        raise WorkFailed(
            f"clip {sample['clip_id']} in {sample['shard_path']} is {frames.shape}, the profile's clips are {(clip.frames, clip.height, clip.width, 3)}; "
            "make the dataset with this profile"
        )
    return frames


_held: tuple[str, WorldModel] | None = None


def _model(work: Encoders, *parts: str) -> WorldModel:
    """The model of the call before where it is the same; the VAE and the text encoder are never in memory together."""
    global _held
    key = digest([work.profile.base_model, work.lake.models(), work.device, parts])
    if _held is None or _held[0] != key:
        _held = None
        _held = key, load_world_model(work.profile.base_model, work.lake.models(), work.device, parts)
    return _held[1]
