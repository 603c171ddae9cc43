"""clips: the plan of windows to cut; no pixel is written."""

import dagster as dg

from assets.automation import WHEN_UPSTREAM_IS_SOUND
from assets.checks.tables import check_specs, check_table
from assets.materialize import expected_failures, result
from assets.partitions import drops
from assets.quality import quality
from assets.resources import LakeResource


@dg.asset(
    partitions_def=drops,
    deps=[quality],
    group_name="data",
    kinds={"parquet"},
    owners=["team:robot-data"],
    automation_condition=WHEN_UPSTREAM_IS_SOUND,
    code_version="1",
    check_specs=check_specs("clips"),
)
def clips(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Windows of the profile's length, frames chosen by timestamp, with their split."""
    from cosmos_ops.shards.plan import plan_clips

    with expected_failures():
        manifest = plan_clips(lake.lake, context.partition_key, lake.profile)
        checks = check_table(lake.lake, context.partition_key, lake.profile.data_fingerprint, "clips", manifest, "clips.parquet")
    return result(manifest, table="clips.parquet", check_results=checks)
