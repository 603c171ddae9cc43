"""Every contender on one evaluation set: scores with intervals, paired differences, cost; as tables, a plot and a report."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.evaluation.breakdown import SCHEMA as BREAKDOWN_SCHEMA
from cosmos_ops.evaluation.breakdown import breakdown, breakdown_rows
from cosmos_ops.evaluation.estimates import FIELDS, Scores, cells, estimates, known_mean, paired, read_scores, to_json, wins
from cosmos_ops.evaluation.metrics import PretrainedMetric, ServedMetric, all_metrics, columns
from cosmos_ops.evaluation.plot import draw_paired
from cosmos_ops.evaluation.report import write_report
from cosmos_ops.evaluation.statistics import CONFIDENCE, FEW_CLUSTERS, MIN_CLUSTERS, POWER, RESAMPLES, Estimate, samples_needed, visible_difference
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, write_json
from cosmos_ops.profiles import Profile
from cosmos_ops.tables import content_hash, write_table

CODE_VERSION = "2"
BASE, INCUMBENT = "base", "incumbent"

SCHEMA = pa.schema(
    [
        ("contender", pa.string()),
        ("metric", pa.string()),
        ("best", pa.string()),
        *FIELDS,
        ("win_rate", pa.float64()),
        ("win_low", pa.float64()),
        ("win_high", pa.float64()),
        ("visible_diff", pa.float64()),
        ("notable_diff", pa.float64()),
        ("samples_for_notable", pa.int64()),
    ]
)
"""One row a contender and metric. `win*` is the share of samples on which a contender beats base, `visible_diff` the difference this set would show,
`samples_for_notable` how many samples a difference of `notable_diff` takes; all null for base itself."""

COST_SCHEMA = pa.schema(
    [
        ("contender", pa.string()),
        ("videos", pa.int64()),
        ("seconds_per_video", pa.float64()),
        ("compute_s_per_video_s", pa.float64()),
        ("peak_memory_bytes", pa.int64()),
        ("memory_bytes_per_video_s", pa.float64()),
        ("device", pa.string()),
        ("precision", pa.string()),
        ("steps", pa.int64()),
    ]
)
"""One row a contender: what its videos took, by video and by second of video. Memory is the accelerator's, or the process's on a CPU."""


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

    Writes `scoreboard.json`, `leaderboard.parquet`, `breakdown.parquet`, `cost.parquet`, `leaderboard.png` and a
    self-contained `report.html`. Raises `WorkFailed` where base is missing or contenders were scored on different samples.
    """
    if BASE not in scores:
        raise WorkFailed("the base model was not scored, so there is nothing to compare with; evaluate base first")
    names = [BASE, *(name for name in scores if name not in (BASE, INCUMBENT)), *(name for name in scores if name == INCUMBENT)]
    inputs = {name: [scores[name].data_version, generations[name].data_version, getattr(adapters.get(name), "data_version", None)] for name in names}
    key = digest([CODE_VERSION, dataset_version, evaluation_version, profile.name, list(inputs.items())])

    def write(folder: Path) -> Output:
        tables = {name: read_scores(scores[name].whole()) for name in names}
        scoreboard = _scoreboard(tables, scores, generations)
        rows = _rows(scoreboard)
        write_json(folder / "scoreboard.json", scoreboard)
        write_table(folder / "leaderboard.parquet", rows, SCHEMA)
        write_table(folder / "breakdown.parquet", breakdown_rows(scoreboard["breakdown"]), BREAKDOWN_SCHEMA)
        write_table(folder / "cost.parquet", [_cost_row(name, cost) for name, cost in scoreboard["cost"].items()], COST_SCHEMA)
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
    {contender: {metric: {diff, low, high, n, clusters, win_rate, win_low, win_high, visible_diff, notable_diff, samples_for_notable}}}, positive =
    better; `references` {metric: {real or constant: {mean, low, high, n, clusters}}}; `breakdown` (see `breakdown.breakdown`); `same_as`, `cost`,
    `unavailable`, `notes`.
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
    # A metric that some samples have no value of is measured on as many as have; how many is no sign of other samples.
    scores = {name: {metric: entry for metric, entry in entries.items() if not _partial(metric)} for name, entries in scores.items()}
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


def _partial(metric: str) -> bool:
    return metric in columns() and columns()[metric].partial


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
    board["references"] = _references(base)
    board["breakdown"] = breakdown(tables, BASE)
    board["unavailable"] = _unavailable(scores)
    board["judge"] = {name: about for name, manifest in scores.items() if (about := manifest.meta.get("about", {}).get("judge"))}
    board["notes"] = _notes(board, base)
    return board


def _paired(base: Scores, contender: Scores) -> dict[str, dict]:
    made, compared = {}, paired(base, contender)
    won = wins(base, contender)
    for metric, estimate in compared.items():
        win, notable = won.get(metric), columns()[metric].notable
        made[metric] = to_json(estimate, "diff") | {
            **{name: None if win is None else value for name, value in zip(("win_rate", "win_low", "win_high"), _ends(win), strict=True)},
            "visible_diff": visible_difference(estimate),
            "notable_diff": notable,
            "samples_for_notable": samples_needed(estimate, notable),
        }
    return made


def _ends(estimate: Estimate | None) -> tuple:
    return (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)


def _references(base: Scores) -> dict[str, dict[str, dict]]:
    """What the real videos, or a guess, score; the same for every contender."""
    made: dict[str, dict[str, dict]] = {}
    for metric, kinds in base.references.items():
        for reference, values in kinds.items():
            if (estimate := known_mean(values, base.episodes)) is not None:
                made.setdefault(metric, {})[reference] = to_json(estimate)
    return made


def _unavailable(scores: dict[str, Manifest]) -> dict[str, str]:
    """Metrics that no weights or service are here for, and those that were asked for and could not be measured, with the reason."""
    declared = {metric.name: metric.reason for metric in all_metrics().values() if isinstance(metric, PretrainedMetric | ServedMetric)}
    measured = {name for manifest in scores.values() for name in manifest.meta.get("served", ())}
    tried = {name: reason for manifest in scores.values() for name, reason in manifest.meta["unavailable"].items()}
    return {name: reason for name, reason in (declared | tried).items() if name not in measured}


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
    names = ("seconds_per_video", "compute_s_per_video_s", "peak_memory_bytes", "memory_bytes_per_video_s", "batch")
    about = ("device", "precision", "steps", "guidance", "guardrail", "weights")
    return {"videos": generations.rows, **{name: generations.meta.get(name) for name in (*names, *about)}}


def _cost_row(contender: str, cost: dict[str, Any]) -> dict[str, Any]:
    return {"contender": contender, **{name: cost[name] for name in COST_SCHEMA.names if name != "contender"}}


def _notes(board: dict[str, Any], base: Scores) -> list[str]:
    n, clusters = len(base.sample_keys), len(set(base.episodes))
    notes = [
        f"{n} samples of {clusters} held-out episodes. Intervals are {CONFIDENCE:.0%} bootstrap: {RESAMPLES} resamples of whole episodes, fixed seed.",
        "Differences are paired by sample and turned so that positive is better; for motion_ratio, best at 1, they are differences of -|ln ratio|.",
    ]
    notes.append(f"How many samples a difference takes: for a chance of {POWER:.0%} that its interval leaves out zero, with as many an episode as here.")
    if clusters < MIN_CLUSTERS:
        notes.append(f"All intervals are withheld: they need at least {MIN_CLUSTERS} episodes, there is {clusters}.")
    elif clusters < FEW_CLUSTERS:
        notes.append(f"{clusters} episodes are few: below {FEW_CLUSTERS} such intervals are narrower than they should be.")
    for metric in board["scores"][BASE]:
        least = next((m.min_samples for m in all_metrics().values() if getattr(m, "min_samples", 0) and m.columns[0].name == metric), 0)
        if least:
            held = f" With n = {n} its interval is withheld." if n < least else ""
            notes.append(f"{metric} is one number for the whole set, biased upwards at small n: compare it at equal n. Least n for an interval: {least}.{held}")
    for metric, entry in board["scores"][BASE].items():
        if columns()[metric].partial and entry["n"] < n:
            notes.append(f"{metric} could be measured on {entry['n']} of the {n} samples of base.")
    for name, about in board["judge"].items():
        paid = "" if about["dollars"] is None else f", {about['dollars']:.2f} dollars"
        tokens = about["prompt_tokens"] + about["answer_tokens"]
        unread = f"{about['unparsable']} of {about['replies']} replies could not be read and are not scored"
        notes.append(f"Judge {about['model']} on {name}: {unread}; {about['requests']} requests, {tokens} tokens{paid}.")
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
                    **cells(entry, pair),
                    **{name: pair.get(name) for name in ("win_rate", "win_low", "win_high", "visible_diff", "notable_diff", "samples_for_notable")},
                }
            )
    return rows
