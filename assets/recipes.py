"""The factory over recipe files: adding a recipe is adding a YAML, and it gets `<recipe>/adapter`, `<recipe>/generations` and `<recipe>/scores`."""

import dagster as dg

from assets.contenders import base_revision, build_contender, latents_manifest
from assets.dataset import dataset
from assets.latents import latents
from assets.materialize import expected_failures, picture_metadata, result
from assets.resources import GpuResource, LakeResource, TrackingResource, TrainingLauncher
from assets.resources.gpu import POOL
from cosmos_ops.lake import Manifest, require_manifest

# An interrupted trainer saves its state and asks to be started again; nothing else is retried.
_RETRY_INTERRUPTED = dg.RetryPolicy(max_retries=2, delay=5)


def adapter_key(recipe: str) -> dg.AssetKey:
    return dg.AssetKey([recipe, "adapter"])


def build_recipe(recipe: str) -> list[dg.AssetsDefinition]:
    """The three assets of one recipe."""

    @dg.asset(
        key=adapter_key(recipe), deps=[dataset, latents], group_name="recipes", kinds={"torch", "mlflow"}, owners=["team:world-models"], code_version="1",
        pool=POOL, retry_policy=_RETRY_INTERRUPTED,
    )  # fmt: skip
    def adapter(
        context: dg.AssetExecutionContext, lake: LakeResource, gpu: GpuResource, tracking: TrackingResource, launcher: TrainingLauncher
    ) -> dg.MaterializeResult:
        """Trained by `python -m cosmos_ops.training` in a process of its own; recorded as one MLflow run."""
        from cosmos_ops.errors import UserError, WorkFailed
        from cosmos_ops.registry.provenance import provenance
        from cosmos_ops.training.run import finished_adapter, prepare_training

        with expected_failures():
            version = lake.heads.require("dataset", "materialize `dataset` first")
            encoded = latents_manifest(lake)
            job = prepare_training(
                lake.lake, lake.profile, lake.recipe(recipe), version, encoded, base_revision(lake), gpu.device(), gpu.precision_name,
                gpu_memory_gb=gpu.memory_gb(),
            )  # fmt: skip
            manifest = finished_adapter(lake.lake, job.key)
            if manifest is None:
                launcher.run(context, job.command)
                manifest = finished_adapter(lake.lake, job.key)
                if manifest is None:
                    raise WorkFailed(f"training ended without writing {job.output}; see the step's stderr")
            lake.heads.update({f"adapters/{recipe}": job.key})
            by = provenance(context.run_id)
        metadata: dict = {}
        try:
            run_id, experiment_id = tracking.open().record_adapter(lake.lake, lake.profile, manifest, by)
            metadata |= {"mlflow/run_id": run_id, "mlflow_run": tracking.run_link(experiment_id, run_id)}
        except (UserError, WorkFailed) as error:
            # The adapter is in the lake: `leaderboard` records it when MLflow answers again.
            context.log.warning(f"not recorded in MLflow yet: {error}")
            metadata["mlflow"] = f"not recorded yet: {error}"
        loss = manifest.file("loss.png")
        if loss.is_file():
            metadata["loss"] = picture_metadata(loss)
        return result(manifest, metadata=metadata)

    def adapter_of(lake: LakeResource, tracking: TrackingResource) -> Manifest:
        key = lake.heads.require(f"adapters/{recipe}", f"materialize `{recipe}/adapter` first")
        return require_manifest(lake.lake.adapter(key), f"the adapter of {recipe}", f"materialize `{recipe}/adapter` again")

    return [adapter, *build_contender(recipe, adapter_of, [adapter], "recipes")]
