"""shards: the clips as WebDataset tars, transcoded once, byte-for-byte reproducible."""

import dagster as dg

from assets.automation import WHEN_UPSTREAM_IS_SOUND
from assets.captions import captions
from assets.checks.tables import check_specs, check_table
from assets.materialize import expected_failures, progress_log, result
from assets.partitions import drops
from assets.resources import LakeResource, WorkersResource


@dg.asset(
    partitions_def=drops,
    deps=[captions],
    group_name="data",
    kinds={"webdataset", "video"},
    owners=["team:robot-data"],
    automation_condition=WHEN_UPSTREAM_IS_SOUND,
    code_version="2",
    check_specs=check_specs("shards"),
)
def shards(context: dg.AssetExecutionContext, lake: LakeResource, workers: WorkersResource) -> dg.MaterializeResult:
    """Each sample: mp4, json, caption, actions. The index names shard, offset and hash of every clip."""
    from cosmos_ops.shards.write import write_shards

    with expected_failures():
        manifest = write_shards(lake.lake, context.partition_key, lake.profile, progress_log(context, "shards"), workers.open())
        checks = check_table(lake.lake, context.partition_key, lake.profile.data_fingerprint, "shards", manifest, "index.parquet")
    splits = _train_episodes(manifest.file("index.parquet"))
    return result(manifest, metadata={"train_episodes": splits}, table="index.parquet", picture="filmstrip.png", check_results=checks)


def _train_episodes(index) -> int:
    """Episodes in the training split: what the retraining sensor counts."""
    import pyarrow.parquet as pq

    rows = pq.read_table(index, columns=["episode_id", "split"]).to_pylist()
    return len({row["episode_id"] for row in rows if row["split"] == "train"})
