"""captions: the text that conditions each clip."""

import dagster as dg

from assets.checks.tables import check_specs, check_table
from assets.clips import clips
from assets.materialize import expected_failures, result
from assets.partitions import drops
from assets.resources import LakeResource


@dg.asset(
    partitions_def=drops, deps=[clips], group_name="data", kinds={"text"}, owners=["team:robot-data"], code_version="1", check_specs=check_specs("captions")
)
def captions(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """One caption a clip, with the captioner's name and version."""
    from cosmos_ops.captions.write import caption_drop

    with expected_failures():
        manifest = caption_drop(lake.lake, context.partition_key, lake.profile)
        checks = check_table(lake.lake, context.partition_key, lake.profile.data_fingerprint, "captions", manifest, "captions.parquet")
    return result(manifest, table="captions.parquet", check_results=checks)
