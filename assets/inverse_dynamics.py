"""inverse_dynamics: a model that reads actions off video, trained on the dataset's own telemetry; what `action_consistency` is measured with."""

import dagster as dg

from assets.dataset import dataset
from assets.materialize import expected_failures, progress_log, result
from assets.resources import LakeResource

SKILL = "reads_actions"


@dg.asset(
    deps=[dataset], group_name="dataset", kinds={"torch"}, owners=["team:world-models"], code_version="1",
    check_specs=[dg.AssetCheckSpec(SKILL, asset="inverse_dynamics", description="actions of validation clips are read better than by guessing their mean")],
)  # fmt: skip
def inverse_dynamics(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Trained on the CPU in seconds; of no use where there is no telemetry or nothing can be read, and then action consistency is not available."""
    from cosmos_ops.evaluation.inverse_dynamics import train_inverse_dynamics

    with expected_failures():
        version = lake.heads.require("dataset", "materialize `dataset` first")
        manifest = train_inverse_dynamics(lake.lake, version, progress=progress_log(context, "inverse dynamics"))
        lake.heads.update({"inverse_dynamics": manifest.path.name})
    skill, absence = manifest.meta["skill"], manifest.meta["absence"]
    read = f"{len(manifest.meta['read'])} of {len(manifest.meta['channel_skill'])} action channels are read"
    check = dg.AssetCheckResult(
        check_name=SKILL, passed=absence is None, severity=dg.AssetCheckSeverity.WARN,
        description=absence or f"{read}, {skill:.0%} of their variance on validation clips",
        metadata={"skill": skill if skill is not None else 0.0},
    )  # fmt: skip
    return result(manifest, check_results=[check])
