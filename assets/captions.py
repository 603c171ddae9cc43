"""captions: the text that conditions each clip."""

import dagster as dg

from assets.automation import WHEN_UPSTREAM_IS_SOUND
from assets.checks.tables import check_specs, check_table
from assets.clips import clips
from assets.materialize import expected_failures, progress_log, result
from assets.partitions import drops
from assets.resources import LakeResource, SecretResource


@dg.asset(
    partitions_def=drops,
    deps=[clips],
    group_name="data",
    kinds={"text"},
    owners=["team:robot-data"],
    automation_condition=WHEN_UPSTREAM_IS_SOUND,
    code_version="2",
    check_specs=check_specs("captions"),
)
def captions(context: dg.AssetExecutionContext, lake: LakeResource, caption_key: SecretResource) -> dg.MaterializeResult:
    """One caption a clip, with the captioner's name and version."""
    from cosmos_ops.captions.write import caption_drop

    profile = lake.profile
    with expected_failures():
        counter = _counter(context, profile)
        manifest = caption_drop(lake.lake, context.partition_key, profile, counter, caption_key.value or None, progress_log(context, "captions"))
        checks = check_table(lake.lake, context.partition_key, profile.data_fingerprint, "captions", manifest, "captions.parquet")
    return result(manifest, table="captions.parquet", check_results=checks)


def _counter(context: dg.AssetExecutionContext, profile):
    """What counts tokens; None, and a word on it, where the tokenizer is not on this machine: the data half must run without the model's files."""
    from cosmos_ops.base_models.token_count import token_counter
    from cosmos_ops.errors import UserError

    try:
        return token_counter(profile.base_model)
    except UserError as error:
        context.log.warning(f"tokens of captions are not counted: {error}")
        return None
