"""Scores of one contender's videos: every metric per sample first, features for the metrics of the whole set, then a summary."""

import concurrent.futures
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file

from cosmos_ops.base_models.latents import LatentStore
from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.evaluation.cross_view import CrossView
from cosmos_ops.evaluation.estimates import estimates, to_json
from cosmos_ops.evaluation.metrics import SampleMetric, ServedMetric, SetMetric, columns, conditioning_pixel_frames, resolve_metrics
from cosmos_ops.evaluation.networks.weights import weight_files, weights_hash
from cosmos_ops.evaluation.samples import Sample, read_samples, read_video, real_frames
from cosmos_ops.evaluation.served import Server, Task, Values
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, write_json
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.tables import content_hash, write_table

CODE_VERSION = "2"
REAL, CONSTANT = "real", "constant"

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
"""One row a sample and column of a per-sample metric; `value` is null where a sample has none."""

REFERENCES_SCHEMA = pa.schema(
    [("sample_key", pa.string()), ("episode_id", pa.string()), ("metric", pa.string()), ("reference", pa.string()), ("value", pa.float64())]
)
"""What stands beside a score: the same metric of the real video (`real`), or of a guess without looking (`constant`)."""

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


def score(
    lake: Lake,
    profile: Profile,
    generations: Manifest,
    evaluation_version: str,
    latents: Manifest,
    progress: Progress = silent,
    servers: Mapping[str, Server] = MappingProxyType({}),
) -> Manifest:
    """Score the stored videos (and stored latents) of a contender against the real clips.

    Writes `scores.parquet` (per sample), `references.parquet` (the same metrics of the real videos, where a metric has such a floor),
    `features.parquet` (for set-level metrics) and `summary.json` (means with 95 % intervals clustered by episode, and the metrics that are
    not available with the reason). `servers` are what `ServedMetric`s name: `inverse_dynamics`, `judge`. Raises `UserError` for metrics that
    are unknown or all unavailable, `WorkFailed` where a video is damaged or a value is not finite.
    """
    weights = profile.evaluation.weights
    chosen = resolve_metrics(profile.evaluation.metrics, weights)
    files = {name: weight_files(name, source) for name, source in weights.items()}
    if "cse" in files:
        servers = {**servers, "cross_view": CrossView(files["cse"])}
    served, absent = _present(chosen.served, servers)
    unavailable = chosen.unavailable | absent
    if not chosen.sample and not chosen.whole and not served and not chosen.pretrained:
        raise UserError(f"evaluation.metrics names nothing that can be measured here ({', '.join(unavailable) or 'it is empty'}); add psnr, for one")
    versions = {metric.name: metric.version for metric in (*chosen.sample, *chosen.whole)}
    versions |= {metric.name: f"{metric.version} {weights_hash(files[metric.name])}" for metric in chosen.pretrained}
    versions |= {metric.name: f"{metric.version} {served[metric.name].version}" for metric in chosen.served if metric.name in served}
    conditioning = generations.meta["conditioning_latent_frames"]
    # The folder of the store names the encoder and its precision; a later dataset version there has the same latents of these clips.
    key = digest([CODE_VERSION, generations.data_version, conditioning, evaluation_version, latents.path.parent.name, versions, unavailable])

    def write(folder: Path) -> Output:
        samples = read_samples(lake, evaluation_version)
        store = LatentStore(lake, latents)
        latent_frames = store.clip(samples[0].clip_id).shape[1]
        first = conditioning_pixel_frames(conditioning, profile.clip.frames, latent_frames)
        loaded = [metric.load(files[metric.name]) for metric in chosen.pretrained]
        by_sample = [*chosen.sample, *(metric for metric in loaded if isinstance(metric, SampleMetric))]
        whole = [*chosen.whole, *(metric for metric in loaded if isinstance(metric, SetMetric))]
        values, references = _score_samples(lake, profile.clip.frames, generations, samples, by_sample, first, progress)
        about: dict[str, Any] = (
            {"weights": {name: {"source": source, "sha256": weights_hash(files[name])} for name, source in weights.items()}} if weights else {}
        )
        for name in dict.fromkeys(metric.server for metric in chosen.served if metric.name in served):
            wanted = tuple(column.name for metric in chosen.served if metric.server == name and metric.name in served for column in metric.columns)
            task = Task(lake, samples, lambda sample: _generated(generations, sample, profile.clip.frames), first, wanted)
            found = servers[name].measure(task, progress)
            about[name] = found.about
            _merge(values, found.values)
            for kind, beside_it in found.references.items():
                _merge(references.setdefault(kind, {}), beside_it)
        rows = [_row(sample) | {"metric": name, "value": value} for sample in samples for name, value in _checked(values[sample.sample_key], sample)]
        beside = [
            {"sample_key": sample.sample_key, "episode_id": sample.episode_id, "metric": name, "reference": kind, "value": value}
            for kind, made in references.items()
            for sample in samples
            for name, value in _checked(made.get(sample.sample_key, {}), sample)
        ]
        features = _features(lake, profile.clip.frames, generations, samples, whole, store, conditioning, first)
        write_table(folder / "scores.parquet", rows, SCHEMA)
        write_table(folder / "references.parquet", beside, REFERENCES_SCHEMA)
        write_table(folder / "features.parquet", features, FEATURES_SCHEMA)
        summary = {name: to_json(estimate) for name, estimate in estimates(folder).items()}
        write_json(folder / "summary.json", {"scores": summary, "unavailable": unavailable, "served": about})
        means = {name: round(entry["mean"], 6) for name, entry in summary.items()}
        meta = {
            "evaluation_set": evaluation_version,
            "generations": generations.key,
            "means": means,
            "unavailable": unavailable,
            "served": sorted([*served, *(metric.name for metric in chosen.pretrained)]),
        }
        meta["about"] = about
        return Output(digest([content_hash(rows), content_hash(beside), content_hash(features), unavailable]), len(rows), meta)

    return build_folder(lake.scores(key), "scores", key, write)


def _present(metrics: list[ServedMetric], servers: Mapping[str, Server]) -> tuple[dict[str, Server], dict[str, str]]:
    """Metric -> what measures it, and metric -> why nothing does."""
    served, absent = {}, {}
    for metric in metrics:
        server = servers.get(metric.server)
        if server is None or server.absence is not None:
            absent[metric.name] = metric.reason if server is None else server.absence
        else:
            served[metric.name] = server
    return served, absent


def _score_samples(
    lake: Lake, frames: int, generations: Manifest, samples: list[Sample], metrics: list[SampleMetric], first: int, progress: Progress
) -> tuple[Values, dict[str, Values]]:
    """Values of every sample, and by reference those of the real videos."""
    by_clip = defaultdict(list)
    for sample in samples:
        by_clip[sample.clip_id].append(sample)
    values: Values = {sample.sample_key: {} for sample in samples}
    floors: Values = {}
    done = 0

    def work(of_clip: list[Sample]) -> tuple[Values, Values]:
        real = real_frames(lake, of_clip[0])
        prepared = [(metric, metric.reference(real, first)) for metric in metrics]
        floor = {name: value for metric, reference in prepared if metric.floor for name, value in metric.floor(reference).items()}
        measured = {}
        for sample in of_clip:
            generated = _generated(generations, sample, frames)
            if generated.shape != real.shape:
                raise WorkFailed(f"the video of {sample.sample_key} is {generated.shape}, the real clip {real.shape}; generate again with this profile")
            measured[sample.sample_key] = {name: value for metric, ref in prepared for name, value in metric.measure(ref, generated, first).items()}
        return measured, {key: floor for key in measured}

    # Decoding, filtering and flow leave the interpreter's lock, so threads are enough.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [pool.submit(work, of_clip) for of_clip in by_clip.values()] if metrics else []
        try:
            for future in concurrent.futures.as_completed(running):
                measured, floor = future.result()
                _merge(values, measured)
                _merge(floors, floor)
                done += len(measured)
                progress(done, len(samples), "scoring")
        except BaseException:
            for future in running:
                future.cancel()
            raise
    return values, {REAL: floors}


def _generated(generations: Manifest, sample: Sample, frames: int) -> np.ndarray:
    return read_video(generations.file(f"{sample.sample_key}.mp4"), frames)


def _merge(into: Values, more: Values) -> None:
    for key, columns_ in more.items():
        into.setdefault(key, {}).update(columns_)


def _checked(values: dict[str, float | None], sample: Sample) -> Iterator[tuple[str, float | None]]:
    for name, value in values.items():
        if value is not None:
            _check_finite(value, name, sample)
        elif not columns()[name].partial:
            raise WorkFailed(f"{name} of sample {sample.sample_key} was not measured; look at the contender's film strip")
        yield name, None if value is None else float(value)


def _features(
    lake: Lake, frames: int, generations: Manifest, samples: list[Sample], metrics: list[SetMetric], store: LatentStore, conditioning: int, first: int
) -> list[dict]:
    rows = []
    real: dict[tuple[str, str], np.ndarray] = {}
    for sample in samples if metrics else []:
        for metric in metrics:
            latents = metric.reads == "latents"
            given = conditioning if latents else first
            made = _latents(generations, sample) if latents else _generated(generations, sample, frames)
            known = metric.name, sample.clip_id  # seeds share the real clip
            if known not in real:
                real[known] = metric.features(store.clip(sample.clip_id).to(torch.float32).numpy() if latents else real_frames(lake, sample), given)
            pair = {"real": real[known], "generated": metric.features(made, given)}
            for vector in pair.values():
                _check_finite(vector, metric.name, sample)
            vectors = {side: vector.tolist() for side, vector in pair.items()}
            rows.append({"sample_key": sample.sample_key, "episode_id": sample.episode_id, "metric": metric.name, **vectors})
    return rows


def _latents(generations: Manifest, sample: Sample) -> np.ndarray:
    return load_file(generations.file(f"{sample.sample_key}.safetensors"))["latents"].to(torch.float32).numpy()


def _check_finite(value: np.ndarray | float, metric: str, sample: Sample) -> None:
    if not np.all(np.isfinite(value)):
        raise WorkFailed(f"{metric} of sample {sample.sample_key} is not finite: the video or its latents are broken; look at the contender's film strip")


def _row(sample: Sample) -> dict:
    names = ("sample_key", "clip_id", "episode_id", "drop", "camera", "task", "seed")
    return {name: getattr(sample, name) for name in names}
