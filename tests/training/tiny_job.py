"""Whole training jobs on the tiny world, each in a lake of its own."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from cosmos_ops.base_models.latent_store import DROPPED, LATENTS_SCHEMA, TEXT_SCHEMA, save_tensors, text_sha256
from cosmos_ops.lake import Lake, Output, build_folder
from cosmos_ops.profiles import BaseModelSpec, ClipGeometry, load_profile
from cosmos_ops.training.run import TrainingJob, prepare_training
from tests.training.tiny_world import MemoryLatents, TinyWorld, tiny_recipe


def tiny_job(root: Path, **settings) -> TrainingJob:
    """A job on the tiny world's latents, in a lake of its own."""
    lake, latents = Lake(root), MemoryLatents()
    base = BaseModelSpec(family="tiny", source="tiny", dtype="float32")
    profile = dataclasses.replace(load_profile("nano"), base_model=base, clip=ClipGeometry(9, 32, 48, 8.0))
    samples = latents.samples()
    rows = [
        {"clip_id": sample.clip_id, "caption": sample.caption, "split": split}
        for split, chosen in (("train", samples.train), ("validation", samples.validation))
        for sample in chosen
    ]

    def write_dataset(folder: Path) -> Output:
        pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
        return Output("v1", len(rows))

    store = lake.latents(TinyWorld().fingerprint)
    clips = save_tensors(store, "shard", latents.clips, torch.float32)
    texts = {text_sha256(caption): text for caption, text in latents.texts.items()} | {DROPPED: latents.dropped_text()}
    stored = {name: save_tensors(store, f"text/{name}", {"text": tensor}, torch.float32) for name, tensor in texts.items()}

    def write_latents(folder: Path) -> Output:
        clip_rows = [{"clip_id": clip_id, "file": clips.file, "sha256": clips.sha256} for clip_id in latents.clips]
        text_rows = [{"text_sha256": name, "file": file.file, "sha256": file.sha256} for name, file in stored.items()]
        pq.write_table(pa.Table.from_pylist(clip_rows, LATENTS_SCHEMA), folder / "latents.parquet")
        pq.write_table(pa.Table.from_pylist(text_rows, TEXT_SCHEMA), folder / "text.parquet")
        return Output("v1", len(clip_rows))

    build_folder(lake.dataset("v1"), "dataset", "v1", write_dataset)
    manifest = build_folder(store / "v1", "latents", "v1", write_latents)
    recipe = tiny_recipe(**settings)
    return prepare_training(lake, profile, recipe, "v1", manifest, "tiny-1", "cpu", threads=1)
