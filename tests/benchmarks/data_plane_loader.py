"""Samples a second: latents and text as training reads them, and clips as floats, against what the public recipe's dataset class does."""

import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from cosmos_ops.lake import Manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.shards.read import read_clip
from cosmos_ops.shards.write import write_shards
from tests.benchmarks.data_plane_shards import cosmos_profile
from tests.benchmarks.films import FPS, HEIGHT, WIDTH, filmed_log
from tests.benchmarks.measuring import Result, in_turns
from tests.shards.lakes import ready_for_shards

EPISODE_S = 13
LATENTS, TEXT = (16, 24, 54, 96), (512, 1024)
"""What the 2B model's VAE makes of a clip of 93 x 432 x 768, and its text after the projection."""


def loader_part(folder: Path, quick: bool, result: Result) -> None:
    profile = cosmos_profile()
    log = filmed_log(folder / "log", 2 if quick else 4, EPISODE_S * FPS, "libsvtav1")
    lake = ready_for_shards(folder / "lake", log, profile)
    shards = write_shards(lake, "toy", profile)
    import pyarrow.parquet as pq

    rows = pq.read_table(shards.file("index.parquet")).to_pylist()
    videos = sorted(log.rglob("*.mp4"))
    store = _latents(folder / "store", [row["clip_id"] for row in rows])
    where = shards.path.relative_to(lake.root)
    rng = np.random.default_rng(0)
    contenders = {
        "the reference's way": lambda: [reference_sample(video, profile, rng) for video in videos],
        "ours, clips": lambda: [as_floats(read_clip(lake, f"{where}/{row['shard']}", row["key"]).frames) for row in rows],
        "ours, latents": lambda: [(store().clip(row["clip_id"]), store().text("push")) for row in rows],
    }
    samples = {name: len(videos) if "reference" in name else len(rows) for name in contenders}
    found = in_turns(contenders, 1 if quick else 5)
    rates = {name: samples[name] / taken.seconds for name, taken in found.items()}
    for name, rate in rates.items():
        result.row(f"samples of 93 x 432 x 768 loaded, {name}", rate, "samples/s")
    result.ratio("loader_vs_reference", rates["ours, latents"] / rates["the reference's way"])
    result.ratio("clips_vs_reference", rates["ours, clips"] / rates["the reference's way"])


def reference_sample(video: Path, profile: Profile, rng: np.random.Generator) -> np.ndarray:
    """[T, 3, H, W] float32 in -1..1: every frame of the file to a PIL image, a random window of them, each resized bilinearly."""
    piped = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(video), "-f", "image2pipe", "-pix_fmt", "rgb24", "-vcodec", "rawvideo", "-"], stdout=subprocess.PIPE, check=True
    ).stdout
    size = HEIGHT * WIDTH * 3
    images = [Image.fromarray(np.frombuffer(piped[start : start + size], np.uint8).reshape(HEIGHT, WIDTH, 3)) for start in range(0, len(piped), size)]
    clip = profile.clip
    first = int(rng.integers(0, len(images) - clip.frames + 1))
    resized = [np.asarray(image.resize((clip.width, clip.height), Image.Resampling.BILINEAR)) for image in images[first : first + clip.frames]]
    return as_floats(np.stack(resized))


def as_floats(frames: np.ndarray) -> np.ndarray:
    """[T, H, W, 3] uint8 to [T, 3, H, W] float32 in -1..1."""
    floats = frames.transpose(0, 3, 1, 2).astype(np.float32)
    floats *= np.float32(2 / 255)
    floats -= np.float32(1)
    return floats


def _latents(folder: Path, clip_ids: list[str]):
    """A function that gives a store with random latents in the real model's shapes; it checks its files' hashes at first use, as in a training job."""
    import torch

    from cosmos_ops.base_models.latent_store import LATENTS_SCHEMA, TEXT_SCHEMA, LatentStore, save_tensors, text_sha256
    from cosmos_ops.lake import Lake, Output, build_folder
    from cosmos_ops.tables import write_table

    torch.manual_seed(0)
    stored = save_tensors(folder, "a" * 64, {clip: torch.randn(LATENTS) for clip in clip_ids}, torch.bfloat16)
    text = save_tensors(folder, f"text/{text_sha256('push')}", {"text": torch.randn(TEXT)}, torch.bfloat16)

    def write(work: Path) -> Output:
        write_table(work / "latents.parquet", [{"clip_id": clip, "file": stored.file, "sha256": stored.sha256} for clip in clip_ids], LATENTS_SCHEMA)
        write_table(work / "text.parquet", [{"text_sha256": text_sha256("push"), "file": text.file, "sha256": text.sha256}], TEXT_SCHEMA)
        return Output("v1", len(clip_ids))

    manifest: Manifest = build_folder(folder / "version", "latents", "k", write)
    store = LatentStore(Lake(folder), manifest)
    return lambda: store
