"""`demo`: two drops of one robot arrive one after the other; the nano world model is adapted to the first, then, when asked, to both."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Manifest, require_manifest
from cosmos_ops.postgres import without_password
from cosmos_ops.shards.validated import validated_drops
from pipelines.cli.data import drop_summary, ingest_drop
from pipelines.cli.model import last_decision, latest_outcome, run_model_half
from pipelines.cli.output import Output
from pipelines.environments import Environment, environment, prepare

if TYPE_CHECKING:
    from cosmos_ops.simulate.demo import DemoDrop


def demo(arguments, output: Output) -> dict[str, Any]:
    """The built-in drops with the nano profile; a second time there is nothing to do."""
    env = environment(profile="nano")
    prepare(env)
    from cosmos_ops.simulate.demo import demo_drops

    output.note("demo: two drops of one simulated robot, the nano world model, one LoRA and one DoRA recipe")
    return play(env, demo_drops(), arguments.retrain, output)


def play(env: Environment, story: list["DemoDrop"], retrain: bool, output: Output) -> dict[str, Any]:
    """Adapt to the first drop of the story, let the others arrive, say whether a retraining is due and, if `retrain`, carry it out.

    Where a call was killed the next one continues, and none adapts to more than the first drop unasked: a later drop is let in
    only after the decision on the first, so a lake that knows one is past that point.
    """
    first, *later = story
    _refuse_other_content(env, story)
    arrived = [drop.name for drop in later if drop.name in env.lake.drop_names()]
    if arrived and last_decision(env) is None:
        raise UserError(f"drop {arrived[0]} is in the lake before anything was decided on {first.name}; give the demo a home of its own (COSMOS_HOME)")
    recipes = list(env.profile.recipes)
    ingested = [ingest_drop(env, first.path, first.name, output)]
    outcomes = [] if arrived else [run_model_half(env, recipes, output)]
    for drop in later:
        if drop.name not in arrived:
            output.say(f"\nanother day: drop {drop.name} arrives")
        ingested.append(ingest_drop(env, drop.path, drop.name, output))
    retraining = _retraining(env)
    output.say(f"\nretraining: {retraining['reason']}{', and carried out already' if retraining['carried_out'] else ''}")
    if retrain and not retraining["carried_out"]:
        outcomes.append(run_model_half(env, recipes, output))
        retraining["carried_out"] = True
    outcome = outcomes[-1] if outcomes else latest_outcome(env, output)
    unchanged = all(done["unchanged"] for done in (*ingested, *outcomes))
    _say_end(outcome, retraining, unchanged, output)
    return _told(env, outcome, retraining, unchanged)


def _refuse_other_content(env: Environment, story: list["DemoDrop"]) -> None:
    """A lake of an earlier version's demo has other drops under the same names: say so in the demo's own terms."""
    from cosmos_ops.logs.drops import load_drop
    from cosmos_ops.logs.fingerprint import fingerprint, scan

    for drop in story:
        if drop.name in env.lake.drop_names() and load_drop(env.lake, drop.name).fingerprint != fingerprint(scan(drop.path)):
            told = f"the lake's drop {drop.name} is not the one that this version brings"
            raise UserError(f"{told}; set COSMOS_HOME to a new folder, or remove {env.home} (`make clean` in a clone), and run the demo again")


def _retraining(env: Environment) -> dict[str, Any]:
    """What the sensor decides, and whether the last decision on promotion was made on all that is in the lake."""
    from pipelines.sensors import retraining

    decided = _dataset(env, last_decision(env)[1].meta["dataset_version"])
    present = validated_drops(env.lake, env.profile.data_fingerprint)
    return {**asdict(retraining(env)), "carried_out": set(present) <= set(decided.meta["drops"])}


def _dataset(env: Environment, version: str) -> Manifest:
    return require_manifest(env.lake.dataset(version), f"dataset version {version}", "run `cosmos-ops run`")


def _say_end(outcome: dict[str, Any], retraining: dict[str, Any], unchanged: bool, output: Output) -> None:
    champion = outcome["champion"]
    output.say(f"champion: {champion['name']} version {champion['version']} ({champion['recipe']})" if champion else "champion: none")
    if not retraining["carried_out"]:
        output.say("next: `cosmos-ops demo --retrain` carries the retraining out, on all that is in the lake now")
    output.say("look around: `make dev` shows runs, lineage, checks and MLflow; the report holds scoreboard, loss curves, side-by-side videos and film strips")
    if unchanged:
        output.say("nothing was left to do")
    output.say(f"report: {outcome['report']}")


def _told(env: Environment, outcome: dict[str, Any], retraining: dict[str, Any], unchanged: bool) -> dict[str, Any]:
    names = validated_drops(env.lake, env.profile.data_fingerprint)
    summaries = [drop_summary(env.lake, env.profile, name) for name in names]
    kept = ("report", "dataset_version", "evaluation_set", "scores", "paired", "champion", "promoted", "reason")
    return {
        "lake": env.lake_url or str(env.lake_root),
        "tracking_uri": without_password(env.tracking_uri),
        "drops": names,
        "episodes": sum(summary["episodes"] for summary in summaries),
        "quarantined": sum(len(summary["quarantined"]) for summary in summaries),
        "clips": _dataset(env, outcome["dataset_version"]).rows,
        "unchanged": unchanged,
        **{name: outcome[name] for name in kept},
        "paired_incumbent": outcome.get("paired_incumbent", {}),
        "retraining": retraining,
    }
