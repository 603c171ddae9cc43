"""Where Dagster's own limits lie, and how near a demand comes to them."""

from collections.abc import Mapping
from dataclasses import dataclass

from cosmos_ops.capacity.costs import Cost
from cosmos_ops.capacity.demand import Work

PARTITION_KEYS, PROVENANCE, SQLITE_BYTES = 100_000, 100, 10e9


@dataclass(frozen=True)
class Limit:
    """One limit: how much of it is used, and what follows beyond."""

    name: str
    used: float
    limit: float
    within: bool
    detail: str


def dagster_limits(work: Work, costs: Mapping[str, Cost]) -> list[Limit]:
    """Partition keys, provenance and the event log."""
    log_bytes = work.drops * costs["stored.dagster_data_run"].value + costs["stored.dagster_model_run"].value
    return [
        Limit(
            "partition keys", work.drops, PARTITION_KEYS, work.drops < PARTITION_KEYS,
            "a drop is a partition; past this Dagster's pages and sensors slow down: put more episodes into a drop",
        ),
        Limit(
            "upstream partitions with provenance", work.drops, PROVENANCE, work.drops < PROVENANCE,
            "past this Dagster records one arbitrary partition as a dataset's provenance; the dataset's manifest names every shard all the same",
        ),
        Limit(
            "event log, bytes", log_bytes, SQLITE_BYTES, log_bytes < SQLITE_BYTES,
            "measured a run; nothing is purged but ticks: past this, keep Dagster's storage in PostgreSQL",
        ),
    ]  # fmt: skip
