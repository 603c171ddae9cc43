"""The scoreboard in a terminal."""

from typing import Any

from cosmos_ops.lake import Manifest
from pipelines.cli.output import Output


def print_board(manifest: Manifest, dataset_version: str | None, evaluation_set: str | None, output: Output) -> dict[str, Any]:
    """Print scores with intervals and paired differences against base; return the JSON keys of DESIGN's `demo`."""
    from cosmos_ops.evaluation.leaderboard import read_scoreboard

    scoreboard = read_scoreboard(manifest)
    scores, paired = scoreboard["scores"], scoreboard["paired"]
    metrics = list(next(iter(scores.values())))
    output.say("\nscores: mean [95 % interval], n samples")
    output.table(["contender", *metrics], [[name, *(_interval(values.get(metric), "mean") for metric in metrics)] for name, values in scores.items()])
    output.say("\npaired difference against base, positive = better")
    output.table(["contender", *metrics], [[name, *(_interval(values.get(metric), "diff") for metric in metrics)] for name, values in paired.items()])
    report = manifest.file("report.html")
    output.say(f"\nreport: {report}")
    return {"dataset_version": dataset_version, "evaluation_set": evaluation_set, "report": str(report), **scoreboard}


def _interval(value: dict | None, centre: str) -> str:
    if value is None or value.get(centre) is None:
        return "-"
    if value.get("low") is None:
        return f"{value[centre]:.4g} [withheld] {value['n']}"
    return f"{value[centre]:.4g} [{value['low']:.4g}, {value['high']:.4g}] {value['n']}"
