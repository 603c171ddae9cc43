"""The scoreboard in a terminal."""

from typing import Any

from cosmos_ops.lake import Manifest
from pipelines.cli.output import Output


def print_board(manifest: Manifest, output: Output) -> dict[str, Any]:
    """Print a leaderboard's scores with intervals and its paired differences; return them as JSON."""
    from cosmos_ops.evaluation.leaderboard import read_scoreboard

    scoreboard = read_scoreboard(manifest)
    scores = scoreboard["scores"]
    metrics = list(next(iter(scores.values())))
    output.say("\nscores: mean [95 % interval], n samples")
    output.table(["contender", *metrics], [[name, *(_interval(values.get(metric), "mean") for metric in metrics)] for name, values in scores.items()])
    for key, opponent in (("paired", "base"), ("paired_incumbent", "the incumbent")):
        rows = [[name, *(_interval(values.get(metric), "diff") for metric in metrics)] for name, values in scoreboard.get(key, {}).items()]
        if rows:
            output.say(f"\npaired difference against {opponent}, positive = better")
            output.table(["contender", *metrics], rows)
    report = manifest.file("report.html")
    output.say(f"\nreport: {report}")
    return {"dataset_version": manifest.meta["dataset_version"], "evaluation_set": manifest.meta["evaluation_set"], "report": str(report), **scoreboard}


def _interval(value: dict | None, centre: str) -> str:
    if value is None or value.get(centre) is None:
        return "-"
    if value.get("low") is None:
        return f"{value[centre]:.4g} [withheld] {value['n']}"
    return f"{value[centre]:.4g} [{value['low']:.4g}, {value['high']:.4g}] {value['n']}"
