"""How much came in since the champion's dataset version: what the retraining sensor asks."""

import pyarrow.parquet as pq

from cosmos_ops.heads import Heads
from cosmos_ops.lake import Lake, read_manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.shards.validated import validated_drops

CHAMPION_DATASET = "champion_dataset"
"""Head that names the dataset version of today's champion."""


def new_training_episodes(lake: Lake, profile: Profile) -> tuple[int, str | None]:
    """Validated training episodes that the champion's dataset version lacks, and that version (None without a champion)."""
    version = Heads(lake, profile.name).get(CHAMPION_DATASET)
    known = _train_episodes(lake.dataset(version) / "samples.parquet") if version else set()
    found: set[str] = set()
    for drop in validated_drops(lake, profile.data_fingerprint):
        manifest = read_manifest(lake.drop_stage(drop, "shards", profile.data_fingerprint))
        found |= _train_episodes(manifest.file("index.parquet"))
    return len(found - known), version


def _train_episodes(table_path) -> set[str]:
    rows = pq.read_table(table_path, columns=["episode_id", "split"]).to_pylist()
    return {row["episode_id"] for row in rows if row["split"] == "train"}
