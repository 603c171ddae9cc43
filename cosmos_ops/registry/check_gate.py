"""Checks of the data that a promotion waits for: what failed, for the gate `no_failing_checks`."""

from cosmos_ops.lake import Lake, read_manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.shards.validated import STAGE_OF, TABLES, read_outcomes

SEVERITIES = ("error", "warning")


def failing_checks(lake: Lake, profile: Profile, dataset_version: str, severities: tuple[str, ...]) -> tuple[str, ...]:
    """One line for each failed check of these severities on the drops of a dataset version, as they stand in the lake now.

    A table that was made again since it was checked counts as failed: nobody looked at what it holds.
    """
    dataset = read_manifest(lake.dataset(dataset_version))
    lines = []
    for drop in dataset.meta.get("drops", ()) if dataset and severities else ():
        for table in TABLES:
            stage = STAGE_OF.get(table, table)
            manifest = read_manifest(lake.drop_stage(drop, stage, None if stage == "episodes" else profile.data_fingerprint))
            outcomes = manifest and read_outcomes(lake, drop, profile.data_fingerprint, table, manifest.data_version)
            if outcomes is None:
                lines.append(f"{table} of drop {drop} were not checked")
                continue
            lines += [f"{table} of drop {drop}: {found['message']}" for found in outcomes if not found["success"] and found["severity"] in severities]
    return tuple(lines)
