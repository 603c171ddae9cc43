"""latents: the dataset after the frozen VAE and text encoder."""

import dagster as dg

from assets.dataset import dataset
from assets.materialize import expected_failures, progress_log, result
from assets.resources import GpuResource, LakeResource, WorkersResource
from assets.resources.gpu import POOL


@dg.asset(deps=[dataset], group_name="dataset", kinds={"torch"}, owners=["team:world-models"], code_version="1", pool=POOL)
def latents(context: dg.AssetExecutionContext, lake: LakeResource, gpu: GpuResource, workers: WorkersResource) -> dg.MaterializeResult:
    """Content-addressed: only clips and captions that were never encoded before are."""
    from cosmos_ops.base_models.latents import encode_latents

    with expected_failures():
        version = lake.heads.require("dataset", "materialize `dataset` first")
        manifest = encode_latents(lake.lake, version, lake.profile, gpu.device(), progress_log(context, "latents"), workers.open())
        lake.heads.set(latents=str(manifest.path.relative_to(lake.lake.root)))
    return result(manifest, table="latents.parquet")
