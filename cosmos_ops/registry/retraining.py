"""How much came in since the champion's dataset version, and whether that makes a retraining due."""

from dataclasses import dataclass

import pyarrow.parquet as pq

from cosmos_ops.heads import Heads
from cosmos_ops.lake import Lake, brought_file, read_manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.shards.exclusions import read_forgotten
from cosmos_ops.shards.validated import validated_drops

CHAMPION_DATASET = "champion_dataset"
"""Head that names the dataset version of today's champion."""


@dataclass(frozen=True)
class Retraining:
    """Whether new data make a retraining due."""

    due: bool
    new_episodes: int
    """Validated training episodes that the champion's dataset version lacks."""
    threshold: int
    """As many make it due."""
    champion_dataset_version: str | None
    """None without a champion: then every validated training episode is new."""
    reason: str
    """One line for people, always there."""


def decide_retraining(lake: Lake, profile: Profile, threshold: int) -> Retraining:
    """Count what is new in the lake's validated drops and hold it against `threshold` episodes."""
    count, version = new_training_episodes(lake, profile)
    due = count >= threshold
    since = f"since the champion's dataset version {version}" if version else "(there is no champion yet, so all of them are new)"
    reason = f"{count} new validated training episodes {since}, {threshold} make it due: {'due' if due else 'not due'}"
    return Retraining(due, count, threshold, version, reason)


def new_training_episodes(lake: Lake, profile: Profile) -> tuple[int, str | None]:
    """Validated training episodes that the champion's dataset version lacks, and that version (None without a champion)."""
    version = Heads(lake, profile.name).get(CHAMPION_DATASET)
    known = _train_episodes(lake.dataset(version) / "samples.parquet") if version else set()
    found: set[str] = set()
    for drop in validated_drops(lake, profile.data_fingerprint):
        manifest = read_manifest(lake.drop_stage(drop, "shards", profile.data_fingerprint))
        found |= _train_episodes(manifest.file("index.parquet"))
    return len(found - known - set(read_forgotten(lake))), version


def _train_episodes(table_path) -> set[str]:
    rows = pq.read_table(brought_file(table_path), columns=["episode_id", "split"]).to_pylist()
    return {row["episode_id"] for row in rows if row["split"] == "train"}
