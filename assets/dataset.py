"""dataset: the shards of every validated drop as one version."""

import dagster as dg

from assets.materialize import expected_failures, result, table_metadata
from assets.resources import LakeResource
from assets.shards import shards


@dg.asset(deps=[shards], group_name="dataset", kinds={"parquet"}, owners=["team:robot-data"], code_version="2")
def dataset(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Manifest of shards, exclusions and splits; its data version is a hash over exactly those."""
    from cosmos_ops.errors import WorkFailed
    from cosmos_ops.shards.dataset import build_dataset
    from cosmos_ops.shards.validated import validated_drops

    with expected_failures():
        fingerprint = lake.profile.data_fingerprint
        names = validated_drops(lake.lake, fingerprint)
        left_out = [name for name in lake.lake.drop_names() if name not in names]
        if left_out:
            context.log.warning(f"not validated for this profile and left out: {', '.join(left_out)}; materialize their shards, or see their checks")
        if not names:
            raise WorkFailed("no validated drop is in the lake; run `cosmos-ops ingest PATH` first")
        manifest = build_dataset(lake.lake, names, lake.profile)
        lake.heads.set(dataset=manifest.data_version)
    excluded = table_metadata(manifest.file("exclusions.parquet"))["preview"]
    return result(manifest, metadata={"left_out_drops": left_out or "none", "excluded_clips": excluded}, table="samples.parquet")
