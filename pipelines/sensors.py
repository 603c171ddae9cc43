"""New drops in the landing folder become partitions; enough new episodes become a retraining."""

import json
from pathlib import Path

import dagster as dg

from assets.partitions import drops
from cosmos_ops.errors import UserError
from pipelines.environments import Environment, environment
from pipelines.jobs import DATA_HALF, adapt_job, ingest_job

NEW_EPISODES = 20
"""Validated training episodes since the champion's dataset version that start a retraining."""


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A complete drop in the lake's landing folder is registered and ingested",
)
def new_drops(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """A drop, a folder or one file, is complete when it did not change between two looks, or when the folder holds a file named `_SUCCESS`."""
    from cosmos_ops.logs.drops import load_drop, register_drop, slug

    lake = environment().lake
    seen: dict[str, list] = json.loads(context.cursor) if context.cursor else {}
    known = set(lake.drop_names())
    looked, requests, refused = {}, [], []
    for source in sorted(path for path in lake.landing.glob("*") if not path.name.startswith(".")):
        looked[source.name] = state = _state(source)
        complete = (source / "_SUCCESS").is_file() or seen.get(source.name) == state
        if not complete:
            continue
        try:
            if slug(source.name) in known:
                # A look costs the size and time of each file; content is read only where those differ.
                refused += _changed(lake, source) if seen.get(source.name) != state else []
                continue
            drop, _ = register_drop(lake, source)
        except UserError as error:
            refused.append(str(error))
            continue
        requests.append(drop.name)
    # A drop that the command line registered but never finished, or whose request got lost, is asked for again: run keys make it once.
    registered = context.instance.get_dynamic_partitions(drops.name)
    missing = [name for name in requests if name not in registered]
    known = {name for name in known if name in registered or _is_here(lake, name)}
    runs = [
        dg.RunRequest(run_key=f"{name}:{load_drop(lake, name).fingerprint}", partition_key=name, tags={"cosmos/drop": name})
        for name in sorted({*requests, *(name for name in known if name not in registered)})
    ]
    missing += [name for name in known if name not in registered and name not in missing]
    for line in refused:
        context.log.warning(line)
    cursor = json.dumps(looked, sort_keys=True)
    if not runs:
        context.update_cursor(cursor)
        return dg.SkipReason("; ".join(refused) or f"no new complete drop in {lake.landing}")
    return dg.SensorResult(run_requests=runs, dynamic_partitions_requests=[drops.build_add_request(missing)] if missing else [], cursor=cursor)


@dg.sensor(
    job=adapt_job,
    minimum_interval_seconds=60,
    description=f"Retrain when {NEW_EPISODES} or more validated training episodes came in since the champion's dataset version",
)
def new_episodes(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    decision = retraining(environment())
    if not decision.due:
        return dg.SkipReason(decision.reason)
    # The same data are asked for once, also when the champion stays: they remain new to it.
    key = f"{decision.champion_dataset_version}:{decision.new_episodes}"
    return dg.RunRequest(run_key=key, tags={"cosmos/reason": f"{decision.new_episodes} new training episodes"})


data_half = dg.AutomationConditionSensorDefinition(
    "data_half",
    target=DATA_HALF,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Makes what is new or missing after a stage whose blocking checks passed, also in an earlier run. The `ingest` job does without it",
)


def retraining(env: Environment):
    """Whether a retraining is due in this environment's lake: a `cosmos_ops.registry.retraining.Retraining`."""
    from cosmos_ops.registry.retraining import decide_retraining

    return decide_retraining(env.lake, env.profile, NEW_EPISODES)


def _is_here(lake, name: str) -> bool:
    """False for a drop of another machine whose log is not on this one: its stages come with the lake, here nothing could be made of it."""
    from cosmos_ops.logs.drops import load_drop
    from cosmos_ops.store.place import located

    if located(lake.drops) is None:
        return True
    drop = load_drop(lake, name)
    return drop.copied or Path(drop.uri).exists()


def _changed(lake, source) -> list[str]:
    """What is said of a source whose drop is in the lake: nothing, or that it changed since."""
    from cosmos_ops.logs.drops import register_drop

    try:
        register_drop(lake, source)
    except UserError as error:
        return [str(error)]
    return []


def _state(source) -> list:
    """Number, total size and newest change of a source's files: what must stand still before a drop counts as complete."""
    stats = [path.stat() for path in (source.rglob("*") if source.is_dir() else [source]) if path.is_file()]
    return [len(stats), sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)]
