"""episodes: the index of a drop; telemetry and metadata are read, no pixel is decoded."""

import dagster as dg

from assets.automation import WHEN_UPSTREAM_IS_SOUND
from assets.checks.tables import check_specs, check_table
from assets.landing import landing
from assets.materialize import expected_failures, result
from assets.partitions import drops
from assets.resources import LakeResource


@dg.asset(
    partitions_def=drops,
    deps=[landing],
    group_name="data",
    kinds={"parquet"},
    owners=["team:robot-data"],
    automation_condition=WHEN_UPSTREAM_IS_SOUND,
    code_version="1",
    check_specs=check_specs("episodes"),
)
def episodes(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Every demonstration found in the drop: id, length, cameras, state and action sizes, task, and what is wrong with it."""
    from cosmos_ops.logs.index import index_drop

    with expected_failures():
        manifest = index_drop(lake.lake, context.partition_key)
        checks = check_table(lake.lake, context.partition_key, lake.profile.data_fingerprint, "episodes", manifest, "episodes.parquet")
    return result(manifest, table="episodes.parquet", check_results=checks)
