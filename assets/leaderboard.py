"""leaderboard: every contender on the same evaluation set, with intervals and paired differences."""

from collections.abc import Sequence

import dagster as dg

from assets.contenders import BASE, INCUMBENT, base_revision
from assets.materialize import expected_failures, result
from assets.resources import LakeResource, TrackingResource
from cosmos_ops.lake import Lake, Manifest, read_manifest

SOUND = "comparable"
GATE = "gate"


def build_leaderboard_asset(recipes: Sequence[str]) -> dg.AssetsDefinition:
    """One leaderboard over base, incumbent and the given recipes."""
    contenders = [BASE, INCUMBENT, *recipes]

    @dg.asset(
        deps=[dg.AssetKey([name, "scores"]) for name in contenders], group_name="promotion",
        kinds={"parquet", "mlflow"}, owners=["team:world-models"], code_version="1",
        check_specs=[
            dg.AssetCheckSpec(SOUND, asset="leaderboard", blocking=True, description="base and a recipe are scored on the same samples, every score finite"),
            dg.AssetCheckSpec(GATE, asset="leaderboard", description="would a recipe be promoted by cosmos_ops/registry/gates.yaml, and why (not)"),
        ],
    )  # fmt: skip
    def leaderboard(context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource) -> dg.MaterializeResult:
        """Contenders whose scores belong to the current dataset version and evaluation set."""
        from cosmos_ops.evaluation.leaderboard import build_leaderboard, read_scoreboard, soundness
        from cosmos_ops.registry.decision import failing_checks_of
        from cosmos_ops.registry.gates import decide
        from cosmos_ops.registry.provenance import provenance

        with expected_failures():
            dataset_version = lake.heads.require("dataset", "materialize `dataset` first")
            evaluation_version = lake.heads.require("evaluation_set", "materialize `evaluation_set` first")
            present = current_contenders(lake, recipes, dataset_version, evaluation_version)
            manifest = build_leaderboard(
                lake.lake, lake.profile, dataset_version, evaluation_version,
                scores={name: entry["scores"] for name, entry in present.items()},
                generations={name: entry["generations"] for name, entry in present.items()},
                adapters={name: entry["adapter"] for name, entry in present.items() if entry["adapter"] is not None},
            )  # fmt: skip
            lake.heads.set(leaderboard=manifest.path.name)
            scoreboard = read_scoreboard(manifest)
            client, gates = tracking.open(), lake.gates()
            recipes_present = {name: entry["adapter"] for name, entry in present.items() if name not in (BASE, INCUMBENT)}
            for adapter in recipes_present.values():
                # Where MLflow did not answer after the training, it is told now.
                client.record_adapter(lake.lake, lake.profile, adapter, provenance(context.run_id))
            for name, entry in present.items():
                client.record_scores(lake.lake, lake.profile, name, entry["adapter"], scoreboard, manifest, base_revision(lake))
            recorded = client.leaderboard_run(lake.lake, lake.profile, manifest)
            problems = soundness(scoreboard)
            failing = failing_checks_of(lake.lake, lake.profile, recipes_present, gates)
            decision = decide(scoreboard, gates, list(recipes_present), INCUMBENT in present, failing)
        checks = [
            dg.AssetCheckResult(
                check_name=SOUND, passed=not problems, severity=dg.AssetCheckSeverity.ERROR, description="; ".join(problems) or "scored on the same samples"
            ),
            dg.AssetCheckResult(
                check_name=GATE,
                passed=decision.promoted,
                severity=dg.AssetCheckSeverity.WARN,
                description=decision.reason,
                metadata={"conditions": _conditions(decision.checks), "best": decision.best or "none", "winner": decision.winner or "none"},
            ),
        ]
        report = manifest.file("report.html")
        metadata = {
            # A browser opens no file from a page that came over http, so the copy in MLflow comes first.
            "report_in_mlflow": tracking.run_link(recorded.info.experiment_id, recorded.info.run_id, "artifacts/report.html"),
            "mlflow_run": tracking.run_link(recorded.info.experiment_id, recorded.info.run_id),
            "report": dg.MetadataValue.url(report.absolute().as_uri()),
            "report_path": dg.MetadataValue.path(str(report)),
            "contenders": ", ".join(present),
        }
        return result(manifest, metadata=metadata, table="leaderboard.parquet", picture="leaderboard.png", check_results=checks)

    return leaderboard


def _conditions(checks) -> dg.MetadataValue:
    rows = [f"| {check.contender} | {check.metric} | {check.against or '-'} | {'yes' if check.passed else 'NO'} | {check.detail} |" for check in checks]
    return dg.MetadataValue.md("\n".join(["| contender | metric | against | passed | measured |", "| --- | --- | --- | --- | --- |", *rows]))


def current_contenders(lake: LakeResource, recipes: Sequence[str], dataset_version: str, evaluation_version: str) -> dict[str, dict[str, Manifest | None]]:
    """Contenders with scores for this evaluation set; an adapter of another dataset version does not count, the incumbent excepted."""
    heads, store = lake.heads.read(), lake.lake
    present = {}
    for name in [BASE, INCUMBENT, *recipes]:
        scores = _folder(store, store.scores, heads.get(f"scores/{name}"))
        generations = _folder(store, store.generations, heads.get(f"generations/{name}"))
        if scores is None or generations is None or scores.meta["evaluation_set"] != evaluation_version:
            continue
        adapter = None
        if name != BASE:
            adapter = _folder(store, store.adapter, generations.meta["adapter_key"])
            if adapter is None or (name != INCUMBENT and adapter.meta["dataset_version"] != dataset_version):
                continue
        present[name] = {"scores": scores, "generations": generations, "adapter": adapter}
    return present


def _folder(store: Lake, place, key: str | None) -> Manifest | None:
    return read_manifest(place(key)) if key else None
