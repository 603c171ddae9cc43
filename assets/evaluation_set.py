"""evaluation_set: the frozen list of held-out clips every contender is scored on."""

import dagster as dg

from assets.dataset import dataset
from assets.materialize import expected_failures, result
from assets.resources import LakeResource


@dg.asset(deps=[dataset], group_name="dataset", kinds={"parquet"}, owners=["team:world-models"], code_version="1")
def evaluation_set(lake: LakeResource) -> dg.MaterializeResult:
    """Held-out clips with prompts and seeds; its hash is stored with every score."""
    from cosmos_ops.shards.dataset import build_evaluation_set

    with expected_failures():
        version = lake.heads.require("dataset", "materialize `dataset` first")
        manifest = build_evaluation_set(lake.lake, version, lake.profile)
        lake.heads.set(evaluation_set=manifest.data_version)
    return result(manifest, table="samples.parquet")
