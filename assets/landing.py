"""landing: a drop as it was delivered, registered and unchanged since."""

import dagster as dg

from assets.materialize import expected_failures
from assets.partitions import drops
from assets.resources import LakeResource


@dg.asset(partitions_def=drops, group_name="data", kinds={"files"}, owners=["team:robot-data"], code_version="1")
def landing(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """One immutable delivery of teleoperation logs. Refused when a file changed after it was registered."""
    from cosmos_ops.logs.drops import check_unchanged, load_drop

    with expected_failures():
        drop = load_drop(lake.lake, context.partition_key)
        check_unchanged(lake.lake, drop)
    size_bytes = sum(entry[0] for entry in drop.files.values())
    return dg.MaterializeResult(
        data_version=dg.DataVersion(drop.fingerprint),
        metadata={
            "uri": dg.MetadataValue.path(str(drop.uri)),
            "format": f"{drop.format} {drop.format_version}",
            "robot": drop.robot or "unknown",
            "licence": drop.licence or "unknown",
            "files": len(drop.files),
            "megabytes": round(size_bytes / 1e6, 2),
        },
    )
