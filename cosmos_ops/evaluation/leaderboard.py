"""Every contender on one evaluation set: scores with intervals, paired differences, cost; as tables, a plot and a report."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.evaluation.estimates import Scores, estimates, paired, read_scores, to_json
from cosmos_ops.evaluation.metrics import UnavailableMetric, all_metrics, columns
from cosmos_ops.evaluation.plot import draw_paired
from cosmos_ops.evaluation.report import write_report
from cosmos_ops.evaluation.statistics import CONFIDENCE, FEW_CLUSTERS, MIN_CLUSTERS, RESAMPLES
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, write_json
from cosmos_ops.profiles import Profile
from cosmos_ops.tables import content_hash, write_table

CODE_VERSION = "1"
BASE, INCUMBENT = "base", "incumbent"

SCHEMA = pa.schema(
    [
        ("contender", pa.string()),
        ("metric", pa.string()),
        ("best", pa.string()),
        ("mean", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("clusters", pa.int64()),
        ("diff", pa.float64()),
        ("diff_low", pa.float64()),
        ("diff_high", pa.float64()),
    ]
)
"""One row a contender and metric. `diff*` is the paired improvement over base, positive = better, null for base itself."""


def build_leaderboard(
    lake: Lake,
    profile: Profile,
    dataset_version: str,
    evaluation_version: str,
    scores: dict[str, Manifest],
    generations: dict[str, Manifest],
    adapters: dict[str, Manifest],
) -> Manifest:
    """Compare contenders (by name; `base` must be among them) that were scored on one evaluation set.

    Writes `scoreboard.json`, `leaderboard.parquet`, `leaderboard.png` and a self-contained `report.html`. Raises `WorkFailed` where
    base is missing or contenders were scored on different samples.
    """
    if BASE not in scores:
        raise WorkFailed("the base model was not scored, so there is nothing to compare with; evaluate base first")
    names = [BASE, *(name for name in scores if name not in (BASE, INCUMBENT)), *(name for name in scores if name == INCUMBENT)]
    inputs = {name: [scores[name].data_version, generations[name].data_version, getattr(adapters.get(name), "data_version", None)] for name in names}
    key = digest([CODE_VERSION, dataset_version, evaluation_version, profile.name, list(inputs.items())])

    def write(folder: Path) -> Output:
        tables = {name: read_scores(scores[name].path) for name in names}
        scoreboard = _scoreboard(tables, scores, generations)
        rows = _rows(scoreboard)
        write_json(folder / "scoreboard.json", scoreboard)
        write_table(folder / "leaderboard.parquet", rows, SCHEMA)
        draw_paired(scoreboard, folder / "leaderboard.png")
        write_report(folder / "report.html", lake, profile, dataset_version, evaluation_version, scoreboard, tables, generations, adapters)
        meta = {
            "evaluation_set": evaluation_version,
            "dataset_version": dataset_version,
            "contenders": names,
            "samples": len(tables[BASE].sample_keys),
            "episodes": len(set(tables[BASE].episodes)),
            "notes": scoreboard["notes"],
        }
        return Output(content_hash(rows), len(rows), meta)

    return build_folder(lake.leaderboard(key), "leaderboard", key, write)


def read_scoreboard(leaderboard: Manifest) -> dict[str, Any]:
    """`scores` {contender: {metric: {mean, low, high, n, clusters}}}; `paired` and, with an incumbent, `paired_incumbent`
    {contender: {metric: {diff, low, high, n, clusters}}}, positive = better; `same_as`, `cost`, `unavailable`, `notes`.
    """
    try:
        return json.loads(leaderboard.file("scoreboard.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{leaderboard.file('scoreboard.json')} is not readable ({error}); remove {leaderboard.path}, it is made again") from None


def soundness(scoreboard: dict[str, Any]) -> list[str]:
    """What makes a scoreboard unfit to decide on, one line each; empty when base and another contender are comparable."""
    scores = scoreboard["scores"]
    problems = []
    if BASE not in scores:
        problems.append("base was not scored")
    if not set(scores) - {BASE, INCUMBENT}:
        problems.append("no recipe was scored")
    counts = {(entry["n"], entry["clusters"]) for entries in scores.values() for entry in entries.values()}
    if len(counts) > 1:
        problems.append("contenders were scored on different numbers of samples")
    measured = [set(entries) for entries in scores.values()]
    if any(names != measured[0] for names in measured):
        problems.append("contenders were scored with different metrics")
    for contender, entries in scores.items():
        bad = [metric for metric, entry in entries.items() if not math.isfinite(entry["mean"])]
        if bad:
            problems.append(f"{contender}: {', '.join(bad)} not finite")
    return problems


def _scoreboard(tables: dict[str, Scores], scores: dict[str, Manifest], generations: dict[str, Manifest]) -> dict[str, Any]:
    base = tables[BASE]
    board: dict[str, Any] = {
        "scores": {name: {metric: to_json(value) for metric, value in estimates(table).items()} for name, table in tables.items()},
        "paired": {name: _paired(base, table) for name, table in tables.items() if name != BASE},
    }
    if INCUMBENT in tables:
        board["paired_incumbent"] = {name: _paired(tables[INCUMBENT], table) for name, table in tables.items() if name not in (BASE, INCUMBENT)}
    board["same_as"] = _same_weights({name: generations[name] for name in tables})
    board["cost"] = {name: _cost(generations[name]) for name in tables}
    board["unavailable"] = {metric.name: metric.reason for metric in all_metrics().values() if isinstance(metric, UnavailableMetric)}
    board["notes"] = _notes(board, base)
    return board


def _paired(base: Scores, contender: Scores) -> dict[str, dict]:
    return {metric: to_json(value, "diff") for metric, value in paired(base, contender).items()}


def _same_weights(generations: dict[str, Manifest]) -> dict[str, str]:
    """Contender -> earlier contender with the very same videos."""
    first: dict[str, str] = {}
    same = {}
    for name, manifest in generations.items():
        known = first.setdefault(manifest.data_version, name)
        if known != name:
            # The recipe's name says more than `incumbent`.
            again, kept = (known, name) if known == INCUMBENT else (name, known)
            same[again] = kept
    return same


def _cost(generations: Manifest) -> dict[str, Any]:
    names = ("seconds_per_video", "compute_s_per_video_s", "peak_memory_bytes", "device", "precision", "steps", "guidance", "guardrail", "weights")
    return {name: generations.meta.get(name) for name in names}


def _notes(board: dict[str, Any], base: Scores) -> list[str]:
    n, clusters = len(base.sample_keys), len(set(base.episodes))
    notes = [
        f"{n} samples of {clusters} held-out episodes. Intervals are {CONFIDENCE:.0%} bootstrap: {RESAMPLES} resamples of whole episodes, fixed seed.",
        "Differences are paired by sample and turned so that positive is better; for motion_ratio, best at 1, they are differences of -|ln ratio|.",
    ]
    if clusters < MIN_CLUSTERS:
        notes.append(f"All intervals are withheld: they need at least {MIN_CLUSTERS} episodes, there is {clusters}.")
    elif clusters < FEW_CLUSTERS:
        notes.append(f"{clusters} episodes are few: below {FEW_CLUSTERS} such intervals are narrower than they should be.")
    for metric in board["scores"][BASE]:
        least = next((m.min_samples for m in all_metrics().values() if getattr(m, "min_samples", 0) and m.columns[0].name == metric), 0)
        if least:
            held = f" With n = {n} its interval is withheld." if n < least else ""
            notes.append(f"{metric} is one number for the whole set, biased upwards at small n: compare it at equal n. Least n for an interval: {least}.{held}")
    for again, kept in board["same_as"].items():
        notes.append(f"{again} has the same weights as {kept} and is shown once, as {kept}.")
    return notes


def _rows(board: dict[str, Any]) -> list[dict]:
    rows = []
    for contender, entries in board["scores"].items():
        for metric, entry in entries.items():
            pair = board["paired"].get(contender, {}).get(metric, {})
            rows.append(
                {
                    "contender": contender,
                    "metric": metric,
                    "best": columns()[metric].best,
                    **{name: entry[name] for name in ("mean", "low", "high", "n", "clusters")},
                    "diff": pair.get("diff"),
                    "diff_low": pair.get("low"),
                    "diff_high": pair.get("high"),
                }
            )
    return rows
