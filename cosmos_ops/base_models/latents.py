"""Clips and captions after the frozen VAE and text encoder: encoded once, kept for every later dataset version."""

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import torch

from cosmos_ops.base_models.base import Identity, WorldModel, identify_world_model, load_world_model
from cosmos_ops.base_models.encoders import Encoders, encode_clips, encode_texts, frames_of
from cosmos_ops.base_models.latent_store import (
    DROPPED,
    LATENTS_SCHEMA,
    TEXT_SCHEMA,
    LatentStore,
    StoredFile,
    forget_if_files_are_gone,
    save_tensors,
    stored_files,
    text_sha256,
)
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, locked, require_manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.tables import content_hash, write_table
from cosmos_ops.workers import LOCAL, Workers

__all__ = ["LatentStore", "encode_latents", "latents_fingerprint"]

CODE_VERSION = "2"


def encode_latents(lake: Lake, dataset_version: str, profile: Profile, device: str = "cpu", progress: Progress = silent, workers: Workers = LOCAL) -> Manifest:
    """Encode what a dataset version holds and no earlier one has encoded: clips of every split, their captions, the profile's negative prompt.

    Continues after a kill with the first shard that is not whole. Workers elsewhere take a shard each and must see the lake at its path.
    `meta` counts what was `encoded` and `reused` and the seconds it took.
    Raises `UserError` for a dataset version or weights that are not there, `WorkFailed` for shards of another geometry.
    """
    dataset = require_manifest(lake.dataset(dataset_version), f"dataset version {dataset_version}", "make it first (cosmos-ops run)")
    identity = identify_world_model(profile.base_model, lake.models())
    store = lake.latents(latents_fingerprint(profile, identity, device))
    extra = [text for text in (profile.generation.negative_prompt,) if text is not None]
    folder, key = store / dataset_version, digest([CODE_VERSION, store.name, dataset.data_version, extra])
    with locked(store / "encoding"):  # two dataset versions share files: one encodes, the other then finds them
        forget_if_files_are_gone(folder)
        return build_folder(folder, "latents", key, lambda work: _Encoding(lake, store, profile, device, progress, workers).run(dataset, extra, work))


def latents_fingerprint(profile: Profile, identity: Identity, device: str) -> str:
    """Folder name: the model's fingerprint, then a hash of clip size, precision and code version."""
    clip = profile.clip
    precision = "float32" if device.startswith("cpu") else profile.base_model.dtype
    return f"{identity.fingerprint}-{digest([CODE_VERSION, clip.frames, clip.height, clip.width, precision, profile.base_model.dtype], 12)}"


class _Encoding:
    """One dataset version's way through the encoders."""

    def __init__(self, lake: Lake, store: Path, profile: Profile, device: str, progress: Progress, workers: Workers):
        self.lake, self.store, self.profile, self.device, self.progress, self.workers = lake, store, profile, device, progress, workers
        self.load_s = 0.0

    def run(self, dataset: Manifest, extra_texts: list[str], folder: Path) -> Output:
        samples = pq.read_table(dataset.file("samples.parquet"), columns=["clip_id", "caption", "shard_sha256", "shard_path", "key"]).to_pylist()
        started = time.perf_counter()
        clips, clips_encoded = self._clips(samples)
        clips_s = time.perf_counter() - started
        texts, texts_encoded = self._texts({sample["caption"] for sample in samples} | set(extra_texts))
        write_table(folder / "latents.parquet", clips, LATENTS_SCHEMA)
        write_table(folder / "text.parquet", texts, TEXT_SCHEMA)
        meta = {
            "encoded": clips_encoded,
            "reused": len(clips) - clips_encoded,
            "texts_encoded": texts_encoded,
            "texts_reused": len(texts) - texts_encoded,
            "clips_s": round(clips_s, 3),
            "load_s": round(self.load_s, 3),
            "seconds": round(time.perf_counter() - started, 3),
        }
        return Output(content_hash([*clips, *texts]), len(clips), meta)

    def _clips(self, samples: list[dict]) -> tuple[list[dict], int]:
        """Rows of the latents table, and how many clips had to be encoded."""
        by_shard = defaultdict(list)
        for sample in samples:
            by_shard[sample["shard_sha256"]].append(sample)
        places = {name: stored for shard in by_shard for stored in stored_files(self.store, shard) for name in stored.names}
        missing = {shard: [sample for sample in wanted if sample["clip_id"] not in places] for shard, wanted in sorted(by_shard.items())}
        total = sum(map(len, missing.values()))
        todo = [wanted for wanted in missing.values() if wanted]
        for wanted, tensors in zip(todo, self._encoded(todo, total), strict=True):
            stored = self._save(wanted[0]["shard_sha256"], tensors)
            places |= dict.fromkeys(stored.names, stored)
        if total:
            self.progress(total, total, "clips encoded")
        clip_ids = sorted(sample["clip_id"] for sample in samples)
        return [{"clip_id": clip_id, "file": places[clip_id].file, "sha256": places[clip_id].sha256} for clip_id in clip_ids], total

    def _encoded(self, todo: list[list[dict]], total: int) -> Iterator[dict[str, torch.Tensor]]:
        """Latents of each list of samples, by clip."""
        if not todo:
            return
        if not self.workers.here:
            done, work = 0, Encoders(self.lake, self.profile, self.device)
            for wanted, arrays in zip(todo, self.workers.map(encode_clips, work, todo, self.device), strict=True):
                done += len(wanted)
                self.progress(done, total, f"clips encoded, last {wanted[-1]['clip_id']}")
                yield {name: torch.from_numpy(array) for name, array in arrays.items()}
            return
        done, model = 0, self._model("vae")
        for wanted in todo:
            tensors = {}
            for sample, frames in frames_of(self.lake, self.profile, wanted):
                self.progress(done, total, f"encoding clip {sample['clip_id']}")
                tensors[sample["clip_id"]] = model.encode_video(torch.from_numpy(frames)[None])[0]
                done += 1
            yield tensors

    def _texts(self, texts: set[str]) -> tuple[list[dict], int]:
        """Rows of the text table, and how many texts had to be encoded."""
        named = {text_sha256(text): text for text in texts} | {DROPPED: None}
        places = {name: next(iter(stored_files(self.store, f"text/{name}")), None) for name in sorted(named)}
        missing = [name for name, stored in places.items() if stored is None]
        if missing and not self.workers.here:
            self.progress(0, len(missing), "encoding captions")
            # One call: the text encoder is the largest of all models, and texts are few.
            (made,) = self.workers.map(encode_texts, Encoders(self.lake, self.profile, self.device), [{name: named[name] for name in missing}], self.device)
            places |= {name: self._save(f"text/{name}", {"text": torch.from_numpy(array)}) for name, array in made.items()}
            return [{"text_sha256": name, "file": stored.file, "sha256": stored.sha256} for name, stored in places.items()], len(missing)
        model = self._model(*(["text"] if set(missing) - {DROPPED} else [])) if missing else None
        for done, name in enumerate(missing):
            self.progress(done, len(missing), "encoding captions")
            embedding = model.dropped_text() if name == DROPPED else model.encode_text([named[name]])
            places[name] = self._save(f"text/{name}", {"text": embedding[0]})
        return [{"text_sha256": name, "file": stored.file, "sha256": stored.sha256} for name, stored in places.items()], len(missing)

    def _save(self, stem: str, tensors: dict[str, torch.Tensor]) -> StoredFile:
        return save_tensors(self.store, stem, tensors, getattr(torch, self.profile.base_model.dtype))

    def _model(self, *parts: str) -> WorldModel:
        """The VAE and the text encoder are never in memory together."""
        started = time.perf_counter()
        model = load_world_model(self.profile.base_model, self.lake.models(), self.device, parts)
        self.load_s += time.perf_counter() - started
        return model
