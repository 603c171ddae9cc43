"""What every contender has: generations on the evaluation set, and their scores. `base` and `incumbent`; recipes are in `recipes.py`."""

from collections.abc import Callable, Sequence

import dagster as dg

from assets.evaluation_set import evaluation_set
from assets.inverse_dynamics import inverse_dynamics
from assets.latents import latents
from assets.materialize import expected_failures, progress_log, result
from assets.resources import GpuResource, LakeResource, TrackingResource, WorkersResource
from assets.resources.gpu import POOL
from assets.resources.secret import SecretResource
from cosmos_ops.lake import Manifest, read_manifest, require_manifest

BASE = "base"
INCUMBENT = "incumbent"

# The adapter folder's manifest, None for the base model; `Absent` when there is no such contender now.
AdapterOf = Callable[[LakeResource, TrackingResource], Manifest | None]


class Absent(Exception):
    """There is no such contender in this run; the message says why."""


def latents_manifest(lake: LakeResource) -> Manifest:
    """The current latents of the profile."""
    folder = lake.heads.require("latents", "materialize `latents` first")
    return require_manifest(lake.lake.root / folder, "the latents", "materialize `latents` again")


def servers(lake: LakeResource, judge_key: str | None) -> dict:
    """What measures metrics that need more than the videos: the inverse dynamics model of the current dataset version, and the profile's judge."""
    from cosmos_ops.evaluation.inverse_dynamics import InverseDynamics
    from cosmos_ops.evaluation.judge import Judge

    key, found = lake.heads.get("inverse_dynamics"), {}
    reader = read_manifest(lake.lake.inverse_dynamics(key)) if key else None
    if reader is not None and reader.meta["dataset_version"] == lake.heads.get("dataset"):
        found["inverse_dynamics"] = InverseDynamics(reader)
    if lake.profile.evaluation.judge is not None:
        found["judge"] = Judge(lake.profile.evaluation.judge, judge_key)
    return found


def base_revision(lake: LakeResource) -> str:
    """Commit or content hash of the profile's base model."""
    from cosmos_ops.base_models import identify_world_model

    return identify_world_model(lake.profile.base_model, lake.lake.models()).revision


def build_contender(name: str, adapter_of: AdapterOf, deps: Sequence, group: str) -> list[dg.AssetsDefinition]:
    """`<name>/generations` and `<name>/scores`."""

    @dg.asset(
        key=[name, "generations"],
        deps=[*deps, latents, evaluation_set],
        group_name=group,
        kinds={"video", "torch"},
        owners=["team:world-models"],
        code_version="1",
        pool=POOL,
    )
    def generations(
        context: dg.AssetExecutionContext, lake: LakeResource, gpu: GpuResource, tracking: TrackingResource, workers: WorkersResource
    ) -> dg.MaterializeResult:
        """Videos of the evaluation set: the same prompts, first frames and seeds for every contender."""
        from cosmos_ops.evaluation.generate import generate

        with expected_failures():
            version = lake.heads.require("evaluation_set", "materialize `evaluation_set` first")
            try:
                adapter = adapter_of(lake, tracking)
            except Absent as reason:
                lake.heads.update({f"generations/{name}": None, f"scores/{name}": None})
                context.log.info(str(reason))
                return dg.MaterializeResult(data_version=dg.DataVersion("absent"), metadata={"absent": str(reason)})
            progress = progress_log(context, f"{name}: videos")
            encoded = latents_manifest(lake)
            manifest = generate(lake.lake, lake.profile, version, encoded, name, adapter, gpu.devices(), progress, workers.open())
            lake.heads.update({f"generations/{name}": manifest.path.name})
        return result(manifest, table="videos.parquet", picture="filmstrip.png")

    @dg.asset(key=[name, "scores"], deps=[generations, inverse_dynamics], group_name=group, kinds={"parquet"}, owners=["team:world-models"], code_version="1")
    def scores(context: dg.AssetExecutionContext, lake: LakeResource, judge_key: SecretResource) -> dg.MaterializeResult:
        """Scores per sample, then means with 95 % intervals clustered by episode."""
        from cosmos_ops.evaluation.score import score

        with expected_failures():
            key = lake.heads.get(f"generations/{name}")
            if key is None:
                lake.heads.update({f"scores/{name}": None})
                return dg.MaterializeResult(data_version=dg.DataVersion("absent"), metadata={"absent": f"{name} generated nothing in this run"})
            version = lake.heads.require("evaluation_set", "materialize `evaluation_set` first")
            made = require_manifest(lake.lake.generations(key), f"what {name} generated", f"materialize `{name}/generations` again")
            progress = progress_log(context, f"{name}: scores")
            manifest = score(lake.lake, lake.profile, made, version, latents_manifest(lake), progress, servers(lake, judge_key.value or None))
            lake.heads.update({f"scores/{name}": manifest.path.name})
        return result(manifest, table="scores.parquet")

    return [generations, scores]


def _base(lake: LakeResource, tracking: TrackingResource) -> None:
    return None


def _incumbent(lake: LakeResource, tracking: TrackingResource) -> Manifest:
    from cosmos_ops.registry.promote import adapter_folder, champion

    client = tracking.open()
    holder = champion(client, lake.profile, lake.lake)
    if holder is None:
        raise Absent("there is no champion yet, so no incumbent to beat")
    manifest = read_manifest(adapter_folder(lake.lake, client, lake.profile, "champion"))
    if manifest is None:
        raise Absent(f"champion version {holder['version']} has no adapter folder in this lake")
    made_for, now = manifest.meta["base"]["revision"], base_revision(lake)
    if made_for != now:
        raise Absent(f"champion version {holder['version']} was made for base revision {made_for}, not {now}: not comparable")
    return manifest


base_assets = build_contender(BASE, _base, [], "contenders")
incumbent_assets = build_contender(INCUMBENT, _incumbent, [], "contenders")
