"""The dataset: shards, exclusions and splits of several drops under one version; and the evaluation set, its frozen held-out part."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, require_manifest
from cosmos_ops.logs.drops import load_drop
from cosmos_ops.profiles import Profile
from cosmos_ops.shards import exclusions
from cosmos_ops.shards.splits import SPLITS, TEST
from cosmos_ops.shards.write import INDEX
from cosmos_ops.shards.write import SCHEMA as INDEX_SCHEMA
from cosmos_ops.store.objects import in_parallel
from cosmos_ops.store.place import located
from cosmos_ops.tables import write_table

CODE_VERSION = "2"
SAMPLES, EXCLUSIONS = "samples.parquet", "exclusions.parquet"

SAMPLES_SCHEMA = INDEX_SCHEMA.append(pa.field("shard_path", pa.string(), nullable=False))
"""The shards' index rows that are kept; `shard_path` is relative to the lake's root."""

EVALUATION_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("drop", pa.string(), nullable=False),
        pa.field("episode_id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("window", pa.int32(), nullable=False),
        pa.field("task", pa.string()),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("sample_key", pa.string(), nullable=False),
        pa.field("shard_path", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("video_sha256", pa.string(), nullable=False),
    ]
)
"""One row a clip and seed. `prompt` is the caption of training, to the letter."""


def build_dataset(lake: Lake, drops: list[str], profile: Profile) -> Manifest:
    """Put the shards of these drops together under a version: a hash over exactly their shards, exclusions and splits.

    The version is the manifest's `data_version` and the folder's name; unchanged input gives the same version and writes nothing. Raises
    `UserError` for a drop without finished shards under this profile, `WorkFailed` when nothing is left to train on.
    """
    if not drops:
        raise UserError("a dataset needs at least one drop; ingest one first")
    ordered = exclusions.drop_order(lake, drops)
    if located(lake.drops) is not None:
        in_parallel(lambda drop: _index(lake, drop, profile), ordered)  # brought together, read one by one
    rows = [row for drop in ordered for row in _index_rows(lake, drop, profile)]
    kept, excluded = exclusions.exclude(rows, exclusions.read_forgotten(lake), profile.training.max_train_clips, profile.dataset.near_duplicate_bits)
    if not kept:
        first = f"{excluded[0]['reason']}: {excluded[0]['detail']}" if excluded else "their indexes are empty"
        raise WorkFailed(f"nothing is left of drops {', '.join(ordered)}: all {len(excluded)} clips are excluded ({first}); ingest other drops")
    version = dataset_version(rows, kept, excluded)

    def write(folder: Path) -> Output:
        write_table(folder / SAMPLES, kept, SAMPLES_SCHEMA)
        write_table(folder / EXCLUSIONS, excluded, exclusions.SCHEMA)
        return Output(version, len(kept), _meta(lake, ordered, profile, kept, excluded))

    # Where shards lie is not part of the version: a version whose shards moved is written again under its old name.
    key = digest([version, ordered, sorted({row["shard_path"] for row in rows}), CODE_VERSION])
    return build_folder(lake.dataset(version), "dataset", key, write)


def dataset_version(rows: list[dict], kept: list[dict], excluded: list[dict]) -> str:
    """16 hex digits over shards (by content), exclusions and splits; the order of drops and rows does not matter."""
    shards = sorted({row["shard_sha256"] for row in rows})
    left_out = sorted([row["shard_sha256"], row["clip_id"], row["reason"]] for row in excluded)
    return digest({"shards": shards, "exclusions": left_out, "splits": sorted([row["clip_id"], row["split"]] for row in kept)})


def read_samples(lake: Lake, version: str) -> pa.Table:
    """Samples of a dataset version, see `SAMPLES_SCHEMA`. Raises `UserError` where the lake lacks it."""
    manifest = require_manifest(lake.dataset(version), f"dataset version {version}", "build the dataset first")
    return pq.read_table(manifest.file(SAMPLES), schema=SAMPLES_SCHEMA)


def build_evaluation_set(lake: Lake, dataset_version: str, profile: Profile) -> Manifest:
    """Freeze at most `evaluation.max_clips` held-out clips of a dataset version, each with every seed of the profile.

    Clips are taken in turn from every test episode, within it from every camera, so that none of them dominates; which window comes
    first is decided by a hash. The version covers clips, pixels, prompts, rates and seeds: two dataset versions with the same held-out
    clips share it, so scores stay comparable. Raises `WorkFailed` when fewer than `evaluation.min_clips` are held out.
    """
    rows = read_samples(lake, dataset_version).to_pylist()
    settings = profile.evaluation
    clips = spread_clips([row for row in rows if row["split"] == TEST])[: settings.max_clips]
    if len(clips) < settings.min_clips:
        raise WorkFailed(
            f"dataset version {dataset_version} holds out {len(clips)} clips, evaluation.min_clips asks for {settings.min_clips}: too few to evaluate; "
            "ingest a drop with 5 or more usable episodes"
        )
    samples = [_evaluation_row(clip, seed) for clip in clips for seed in profile.generation.seeds]
    version = digest([[row[name] for name in ("sample_key", "video_sha256", "prompt", "fps")] for row in samples])

    def write(folder: Path) -> Output:
        write_table(folder / SAMPLES, samples, EVALUATION_SCHEMA)
        meta = {"clips": len(clips), "seeds": list(profile.generation.seeds), "episodes": len({clip["episode_id"] for clip in clips})}
        return Output(version, len(samples), meta | {"cameras": sorted({clip["camera"] for clip in clips}), "drops": sorted({clip["drop"] for clip in clips})})

    key = digest([version, sorted({row["shard_path"] for row in samples}), CODE_VERSION])
    return build_folder(lake.evaluation_set(version), "evaluation_set", key, write)


def spread_clips(clips: list[dict]) -> list[dict]:
    """All clips in an order whose every beginning is spread over episodes, then cameras; independent of the input's order."""
    turns = []
    for episode in _grouped(clips, "episode_id").values():
        cameras = _grouped(episode, "camera")
        for camera in cameras.values():
            camera.sort(key=lambda clip: digest(["window", clip["clip_id"]]))
        # The n-th clip of the k-th camera: first every camera's first clip, then every camera's second.
        in_turn = sorted((turn, name, clip["clip_id"], clip) for name, camera in cameras.items() for turn, clip in enumerate(camera))
        turns += [(turn, digest(["episode", clip["episode_id"]]), clip_id, clip) for turn, (_, _, clip_id, clip) in enumerate(in_turn)]
    return [clip for _, _, _, clip in sorted(turns, key=lambda item: item[:3])]


def _grouped(rows: list[dict], column: str) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


def _index(lake: Lake, drop: str, profile: Profile) -> Path:
    folder = lake.drop_stage(drop, "shards", profile.data_fingerprint)
    manifest = require_manifest(folder, f"drop {drop}: its shards under profile {profile.name}", "ingest the drop under this profile, or leave it out")
    return manifest.file(INDEX)


def _index_rows(lake: Lake, drop: str, profile: Profile) -> list[dict]:
    path = _index(lake, drop, profile)
    where = path.parent.relative_to(lake.root)
    rows = pq.read_table(path, schema=INDEX_SCHEMA).to_pylist()
    return [{**row, "shard_path": (where / row["shard"]).as_posix()} for row in rows]


def _evaluation_row(clip: dict, seed: int) -> dict:
    row = {name: clip[name] for name in EVALUATION_SCHEMA.names if name in clip}
    return row | {"prompt": clip["caption"], "seed": seed, "sample_key": f"{clip['clip_id']}-{seed}"}


def _meta(lake: Lake, ordered: list[str], profile: Profile, kept: list[dict], excluded: list[dict]) -> dict:
    registered = {name: load_drop(lake, name) for name in ordered}
    by_split = {split: [row for row in kept if row["split"] == split] for split in SPLITS}
    reasons = [row["reason"] for row in excluded]
    return {
        "clips_by_split": {split: len(rows) for split, rows in by_split.items()},
        "episodes_by_split": {split: len({row["episode_id"] for row in rows}) for split, rows in by_split.items()},
        "drops": ordered,
        "captioners": sorted({row["captioner"] for row in kept}),
        "licences": {name: drop.licence for name, drop in registered.items()},
        "robots": {name: drop.robot for name, drop in registered.items()},
        "excluded": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "data_fingerprint": profile.data_fingerprint,
    }
