"""champion: the gate's decision carried out in the MLflow model registry."""

from collections.abc import Sequence

import dagster as dg

from assets.contenders import BASE, INCUMBENT
from assets.leaderboard import current_contenders
from assets.materialize import expected_failures, result
from assets.resources import LakeResource, NoticesResource, TrackingResource


def build_champion_asset(recipes: Sequence[str], leaderboard: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The last asset of the graph."""

    @dg.asset(deps=[leaderboard], group_name="promotion", kinds={"mlflow"}, owners=["team:world-models"], code_version="1")
    def champion(context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource, notices: NoticesResource) -> dg.MaterializeResult:
        """New adapters are registered; the best becomes challenger, and champion when the gate says so. Otherwise the champion stays."""
        from cosmos_ops.registry.decision import decide_and_apply
        from cosmos_ops.registry.names import model_name
        from cosmos_ops.registry.provenance import provenance

        with expected_failures():
            dataset_version = lake.heads.require("dataset", "materialize `dataset` first")
            evaluation_version = lake.heads.require("evaluation_set", "materialize `evaluation_set` first")
            board = lake.heads.require("leaderboard", "materialize `leaderboard` first")
            present = current_contenders(lake, recipes, dataset_version, evaluation_version)
            adapters = {name: entry["adapter"] for name, entry in present.items() if name not in (BASE, INCUMBENT)}
            client, by, gates = tracking.open(), provenance(context.run_id), lake.gates()
            folder = lake.lake.leaderboard(board)
            manifest, decision, holder = decide_and_apply(lake.lake, client, lake.profile, folder, adapters, INCUMBENT in present, by, gates)
            lake.heads.set(decision=manifest.path.name)
            model = model_name(lake.profile, lake.lake)
            metadata = {"promoted": decision["promoted"], "reason": decision["reason"], "promotion_notice": notices.tell_moves(client, model)}
        if not decision["promoted"] and not manifest.unchanged:
            facts = {"name": model, "best": decision["best"], "champion": holder, "dagster_run_id": context.run_id}
            metadata["alert"] = notices.raise_alert("challenger_rejected", f"{model}: the champion stays; {decision['reason']}", facts)
        context.log.info(f"{'promoted' if decision['promoted'] else 'not promoted'}: {decision['reason']}")
        if holder:
            metadata["champion"] = f"{holder['name']} version {holder['version']} ({holder['recipe']})"
            metadata["mlflow_run"] = tracking.run_link(holder.get("experiment_id", ""), holder["run_id"])
        return result(manifest, metadata=metadata)

    return champion
