"""Scores of one contender's videos: every metric per sample first, features for the metrics of the whole set, then a summary."""

import concurrent.futures
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file

from cosmos_ops.base_models.latents import LatentStore
from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.evaluation.estimates import estimates, to_json
from cosmos_ops.evaluation.metrics import SampleMetric, SetMetric, conditioning_pixel_frames, resolve_metrics
from cosmos_ops.evaluation.samples import Sample, read_samples, read_video, real_frames
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, write_json
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.tables import content_hash, write_table

CODE_VERSION = "1"

SCHEMA = pa.schema(
    [
        ("sample_key", pa.string()),
        ("clip_id", pa.string()),
        ("episode_id", pa.string()),
        ("drop", pa.string()),
        ("camera", pa.string()),
        ("task", pa.string()),
        ("seed", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)
"""One row a sample and column of a per-sample metric."""

FEATURES_SCHEMA = pa.schema(
    [
        ("sample_key", pa.string()),
        ("episode_id", pa.string()),
        ("metric", pa.string()),
        ("real", pa.list_(pa.float64())),
        ("generated", pa.list_(pa.float64())),
    ]
)
"""One row a sample and set-level metric; all vectors of a metric are of one length."""


def score(lake: Lake, profile: Profile, generations: Manifest, evaluation_version: str, latents: Manifest, progress: Progress = silent) -> Manifest:
    """Score the stored videos (and stored latents) of a contender against the real clips.

    Writes `scores.parquet` (per sample), `features.parquet` (for set-level metrics) and `summary.json` (means with 95 % intervals
    clustered by episode, and the metrics that are not available with the reason). Raises `UserError` for metrics that are unknown or
    all unavailable, `WorkFailed` where a video is damaged or a value is not finite.
    """
    sample_metrics, set_metrics, unavailable = resolve_metrics(profile.evaluation.metrics)
    if not sample_metrics and not set_metrics:
        raise UserError(f"evaluation.metrics names nothing that can be measured here ({', '.join(unavailable) or 'it is empty'}); add psnr, for one")
    versions = {metric.name: metric.version for metric in (*sample_metrics, *set_metrics)}
    conditioning = generations.meta["conditioning_latent_frames"]
    # The folder of the store names the encoder and its precision; a later dataset version there has the same latents of these clips.
    key = digest([CODE_VERSION, generations.data_version, conditioning, evaluation_version, latents.path.parent.name, versions, sorted(unavailable)])

    def write(folder: Path) -> Output:
        samples = read_samples(lake, evaluation_version)
        store = LatentStore(lake, latents)
        latent_frames = store.clip(samples[0].clip_id).shape[1]
        first = conditioning_pixel_frames(conditioning, profile.clip.frames, latent_frames)
        rows = _score_samples(lake, profile.clip.frames, generations, samples, sample_metrics, first, progress)
        features = _features(generations, samples, set_metrics, store, conditioning)
        write_table(folder / "scores.parquet", rows, SCHEMA)
        write_table(folder / "features.parquet", features, FEATURES_SCHEMA)
        summary = {name: to_json(estimate) for name, estimate in estimates(folder).items()}
        write_json(folder / "summary.json", {"scores": summary, "unavailable": unavailable})
        means = {name: round(entry["mean"], 6) for name, entry in summary.items()}
        meta = {"evaluation_set": evaluation_version, "generations": generations.key, "means": means, "unavailable": unavailable}
        return Output(digest([content_hash(rows), content_hash(features), unavailable]), len(rows), meta)

    return build_folder(lake.scores(key), "scores", key, write)


def _score_samples(
    lake: Lake, frames: int, generations: Manifest, samples: list[Sample], metrics: list[SampleMetric], first: int, progress: Progress
) -> list[dict]:
    by_clip = defaultdict(list)
    for sample in samples:
        by_clip[sample.clip_id].append(sample)
    values: dict[str, dict[str, float]] = {}

    def work(of_clip: list[Sample]) -> dict[str, dict[str, float]]:
        real = real_frames(lake, of_clip[0])
        prepared = [metric.reference(real, first) for metric in metrics]
        measured = {}
        for sample in of_clip:
            generated = read_video(generations.file(f"{sample.sample_key}.mp4"), frames)
            if generated.shape != real.shape:
                raise WorkFailed(f"the video of {sample.sample_key} is {generated.shape}, the real clip {real.shape}; generate again with this profile")
            measured[sample.sample_key] = {
                name: value for metric, reference in zip(metrics, prepared, strict=True) for name, value in metric.measure(reference, generated, first).items()
            }
        return measured

    # Decoding, filtering and flow leave the interpreter's lock, so threads are enough.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [pool.submit(work, of_clip) for of_clip in by_clip.values()]
        try:
            for future in concurrent.futures.as_completed(running):
                values |= future.result()
                progress(len(values), len(samples), "scoring")
        except BaseException:
            for future in running:
                future.cancel()
            raise
    rows = []
    for sample in samples:
        for name, value in values[sample.sample_key].items():
            _check_finite(value, name, sample)
            rows.append(_row(sample) | {"metric": name, "value": float(value)})
    return rows


def _features(generations: Manifest, samples: list[Sample], metrics: list[SetMetric], store: LatentStore, first: int) -> list[dict]:
    rows = []
    for sample in samples if metrics else []:
        made = load_file(generations.file(f"{sample.sample_key}.safetensors"))["latents"].to(torch.float32).numpy()
        real = store.clip(sample.clip_id).to(torch.float32).numpy()
        for metric in metrics:
            pair = {"real": metric.features(real, first), "generated": metric.features(made, first)}
            for vector in pair.values():
                _check_finite(vector, metric.name, sample)
            vectors = {side: vector.tolist() for side, vector in pair.items()}
            rows.append({"sample_key": sample.sample_key, "episode_id": sample.episode_id, "metric": metric.name, **vectors})
    return rows


def _check_finite(value: np.ndarray | float, metric: str, sample: Sample) -> None:
    if not np.all(np.isfinite(value)):
        raise WorkFailed(f"{metric} of sample {sample.sample_key} is not finite: the video or its latents are broken; look at the contender's film strip")


def _row(sample: Sample) -> dict:
    names = ("sample_key", "clip_id", "episode_id", "drop", "camera", "task", "seed")
    return {name: getattr(sample, name) for name in names}
