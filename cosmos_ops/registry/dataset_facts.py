"""What a dataset version in the lake says of its data: drops, licences, captioners, episodes by split."""

from dataclasses import dataclass

import pyarrow.parquet as pq

from cosmos_ops.lake import Lake, Manifest, require_manifest
from cosmos_ops.registry.names import drop_facts

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DatasetFacts:
    """Read from `datasets/<version>/samples.parquet` and the drops' registrations."""

    version: str
    clips: int
    drops: tuple[str, ...]
    data_licences: dict[str, str]
    """Drop -> licence as registered; `unknown` where the log names none."""
    captioner: str
    """Name of the captioner; several are joined with `, `."""
    episodes: dict[str, tuple[str, ...]]
    """Split -> sorted episode ids."""


def dataset_manifest(lake: Lake, version: str) -> Manifest:
    """Manifest of a dataset version; `UserError` where this lake lacks it."""
    return require_manifest(lake.dataset(version), f"dataset version {version}", "use the lake that it was made in")


def read_dataset_facts(lake: Lake, version: str) -> DatasetFacts:
    """Facts of a dataset version. Raises `UserError` where this lake lacks it."""
    manifest = dataset_manifest(lake, version)
    table = pq.read_table(manifest.file("samples.parquet"), columns=["drop", "episode_id", "split", "captioner"])
    pairs = set(zip(table["split"].to_pylist(), table["episode_id"].to_pylist(), strict=True))
    drops = tuple(sorted(set(table["drop"].to_pylist())))
    return DatasetFacts(
        version=version,
        clips=table.num_rows,
        drops=drops,
        data_licences={name: drop_facts(lake, name).get("licence") or "unknown" for name in drops},
        captioner=", ".join(sorted(set(table["captioner"].to_pylist()))),
        episodes={split: tuple(sorted(episode for name, episode in pairs if name == split)) for split in SPLITS},
    )
