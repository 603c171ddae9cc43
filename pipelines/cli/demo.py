"""`demo`: the whole graph on built-in drops with the nano profile."""

from typing import Any

from cosmos_ops.lake import read_manifest
from pipelines.cli.data import ingest_drop
from pipelines.cli.model import run_model_half
from pipelines.cli.output import Output
from pipelines.environments import environment, prepare


def demo(arguments, output: Output) -> dict[str, Any]:
    """Ingest the built-in drops, adapt, evaluate, decide; a second time there is nothing to do."""
    env = environment(profile="nano")
    prepare(env)
    from cosmos_ops.simulate.demo import write_demo_drops

    output.note("demo: two drops of a simulated robot, the nano world model, one LoRA and one DoRA recipe")
    drops = write_demo_drops(env.home / "demo", progress=output.progress)
    summaries = [ingest_drop(env, drop.path, drop.name, output) for drop in drops]
    outcome = run_model_half(env, list(env.profile.recipes), output)
    dataset = read_manifest(env.lake.dataset(outcome["dataset_version"]))
    champion = outcome["champion"]
    output.say(f"champion: {champion['name']} version {champion['version']} ({champion['recipe']})" if champion else "champion: none")
    output.say("look around: open the report above in a browser; `make dev` shows runs, lineage, checks and MLflow")
    return {
        "lake": str(env.lake_root),
        "tracking_uri": env.tracking_uri,
        "report": outcome["report"],
        "dataset_version": outcome["dataset_version"],
        "evaluation_set": outcome["evaluation_set"],
        "drops": [drop.name for drop in drops],
        "episodes": sum(summary["episodes"] for summary in summaries),
        "quarantined": sum(len(summary["quarantined"]) for summary in summaries),
        "clips": dataset.rows,
        "unchanged": outcome["unchanged"],
        "scores": outcome["scores"],
        "paired": outcome["paired"],
        "champion": champion,
        "promoted": outcome["promoted"],
        "reason": outcome["reason"],
    }
