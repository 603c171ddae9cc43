"""quality: which cameras of which episodes are good enough, and the quarantine of the rest."""

import dagster as dg

from assets.automation import WHEN_UPSTREAM_IS_SOUND
from assets.checks.tables import check_specs, check_table
from assets.episodes import episodes
from assets.materialize import expected_failures, progress_log, result
from assets.partitions import drops
from assets.resources import LakeResource, WorkersResource


@dg.asset(
    partitions_def=drops,
    deps=[episodes],
    group_name="data",
    kinds={"video", "parquet"},
    owners=["team:robot-data"],
    automation_condition=WHEN_UPSTREAM_IS_SOUND,
    code_version="1",
    check_specs=check_specs("quality"),
)
def quality(context: dg.AssetExecutionContext, lake: LakeResource, workers: WorkersResource) -> dg.MaterializeResult:
    """Pixels are looked at once, small. Rejected episodes and cameras go to the quarantine table, each with its reasons."""
    from cosmos_ops.quality.assess import assess_drop

    with expected_failures():
        manifest = assess_drop(lake.lake, context.partition_key, lake.profile, progress_log(context, "quality"), workers.open())
        checks = check_table(lake.lake, context.partition_key, lake.profile.data_fingerprint, "cameras", manifest, "cameras.parquet")
    return result(manifest, table="quarantine.parquet", picture="filmstrip.png", check_results=checks)
