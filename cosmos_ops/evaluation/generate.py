"""Videos of the evaluation set from one contender: same prompts, first frames and seeds for all.

Only what is needed is loaded: the conditioning latents are the first latent frames of the clip's cached latents (the VAE is causal,
so they depend on no later pixel) and text comes from the cache too; the VAE decodes, the text encoder stays away. A folder is named
by the weights, not by the contender: base is generated once for every recipe, and an incumbent that is a recipe's adapter is reused.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.base_models import identify_world_model
from cosmos_ops.errors import WorkFailed
from cosmos_ops.evaluation.samples import STRIP_FRAMES, Sample, read_samples, read_video, real_frames, spread
from cosmos_ops.evaluation.sampling import VIDEO_CRF, VIDEO_GOP, VIDEO_PRESET, device_name, latents_name, note_name, video_name
from cosmos_ops.evaluation.sharing import Work, sample_all
from cosmos_ops.hashing import digest, file_sha256
from cosmos_ops.lake import Lake, Manifest, Output, read_manifest, resume_folder
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.shards.splits import TEST
from cosmos_ops.tables import write_table
from cosmos_ops.video.filmstrip import filmstrip_png
from cosmos_ops.workers import LOCAL, Workers

CODE_VERSION = "2"

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
    lake: Lake,
    profile: Profile,
    evaluation_version: str,
    latents: Manifest,
    contender: str,
    adapter: Manifest | None,
    device: str | Sequence[str],
    progress: Progress = silent,
    workers: Workers = LOCAL,
) -> Manifest:
    """Generate every sample of an evaluation set with the base model, or with an adapter on it.

    Writes `<sample key>.mp4` (H.264, the clip's own fps), `<sample key>.safetensors` (`latents` float32 [C, t, h, w], as sampled),
    `videos.parquet` and `filmstrip.png`. Continues after an interruption with the samples that are not whole. Several devices (of one kind)
    share the batches, a process each, and so do workers elsewhere, which must see the lake at its path; the videos are those of one device.
    `contender` only names the work in progress notes. Raises `WorkFailed` for an adapter of another base model or one that saw an episode of the
    evaluation set, and for a video that the guardrail refuses.
    """
    base_revision = identify_world_model(profile.base_model, lake.models()).revision
    if adapter is not None and adapter.meta["base"]["revision"] != base_revision:
        theirs = adapter.meta["base"]["revision"]
        raise WorkFailed(f"the adapter of {contender} was made for base revision {theirs}, the profile's is {base_revision}; train it again")
    devices = (device,) if isinstance(device, str) else tuple(device)
    precision = "float32" if devices[0].startswith("cpu") else profile.base_model.dtype
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
        "device": device_name(devices[0]),
    }

    def write(folder: Path) -> Output:
        samples = read_samples(lake, evaluation_version)
        if adapter is not None:
            _refuse_seen_episodes(lake, adapter, samples, contender)
        missing = [sample for sample in samples if not _is_whole(folder, sample)]
        measured: dict[str, Any] = {}
        if missing:
            work = Work(lake, profile, latents, adapter, folder)
            measured = sample_all(work, devices, missing, len(samples), contender, progress, workers)
        rows = [_row(folder, sample, profile) for sample in samples]
        write_table(folder / "videos.parquet", rows, SCHEMA)
        strips = []
        for sample in spread(samples, FILMSTRIP_SAMPLES):
            strips.append((f"real, {sample.camera}: {sample.prompt}", spread(list(real_frames(lake, sample)), STRIP_FRAMES)))
            strips.append((f"generated, seed {sample.seed}", spread(list(read_video(folder / video_name(sample), profile.clip.frames)), STRIP_FRAMES)))
        filmstrip_png(strips, folder / "filmstrip.png")
        seconds = float(np.mean([row["seconds"] for row in rows]))
        shown = float(np.mean([row["frames"] / row["fps"] for row in rows]))
        cost = {"seconds_per_video": seconds, "compute_s_per_video_s": seconds / shown}
        # How long it took is no part of what came out.
        content = [[row["sample_key"], row["file_sha256"], row["latents_sha256"]] for row in rows]
        return Output(digest(content), len(rows), about | cost | measured)

    return resume_folder(lake.generations(key), "generations", key, write)


def _refuse_seen_episodes(lake: Lake, adapter: Manifest, samples: list[Sample], contender: str) -> None:
    """Scores on episodes that an adapter was trained or chosen on say nothing."""
    dataset = read_manifest(lake.dataset(adapter.meta["dataset_version"]))
    if dataset is None:
        return  # an incumbent whose dataset is no longer in this lake
    rows = pq.read_table(dataset.file("samples.parquet"), columns=["episode_id", "split"]).to_pylist()
    seen = sorted({row["episode_id"] for row in rows if row["split"] != TEST} & {sample.episode_id for sample in samples})
    if seen:
        raise WorkFailed(
            f"{contender} was trained on {len(seen)} of the evaluation set's episodes ({', '.join(seen[:3])}{', ...' if len(seen) > 3 else ''}); "
            "build the evaluation set of its own dataset version, or train again"
        )


def _is_whole(folder: Path, sample: Sample) -> bool:
    try:
        files = json.loads((folder / note_name(sample)).read_text())["files"]
        return all(file_sha256(folder / name) == files[name] for name in (video_name(sample), latents_name(sample)))
    except (OSError, ValueError, LookupError, TypeError):
        return False  # a part is missing, cut short or of an earlier version: made again


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
        "seconds": json.loads((folder / note_name(sample)).read_text())["seconds"],
        "file": video_name(sample),
        "file_sha256": file_sha256(folder / video_name(sample)),
        "latents_file": latents_name(sample),
        "latents_sha256": file_sha256(folder / latents_name(sample)),
    }
