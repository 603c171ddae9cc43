"""Scores by task and by camera: a mean over all samples can hide a task that an adapter breaks."""

from typing import Any

import numpy as np
import pyarrow as pa

from cosmos_ops.evaluation.estimates import FIELDS, GROUPINGS, Scores, cells, estimates, paired, subset, to_json

SCHEMA = pa.schema(
    [
        ("by", pa.string()),
        ("group", pa.string()),
        ("contender", pa.string()),
        ("metric", pa.string()),
        *FIELDS,
    ]
)
"""One row a group, contender and per-sample metric."""


def breakdown(tables: dict[str, Scores], base: str) -> dict[str, dict[str, dict[str, Any]]]:
    """{`task` or `camera`: {group: {`n`, `clusters`, `scores` {contender: {metric: ...}}, `paired` {contender: {metric: ...}}}}}; entries as on a board."""
    made: dict[str, dict[str, dict[str, Any]]] = {}
    for by in GROUPINGS:
        labels = np.array(tables[base].groups[by])
        made[by] = {group: _group({name: subset(table, labels == group) for name, table in tables.items()}, base) for group in sorted(set(labels.tolist()))}
    return made


def worse_groups(board: dict[str, Any]) -> dict[str, list[str]]:
    """Contender -> where its paired interval against base lies below zero: lines such as `psnr of task 'open the drawer'`."""
    found: dict[str, list[str]] = {}
    for by, groups in board["breakdown"].items():
        for group, entry in groups.items() if len(groups) > 1 else ():
            for contender, metrics in entry["paired"].items():
                lost = [metric for metric, pair in metrics.items() if pair["high"] is not None and pair["high"] < 0]
                if lost:
                    found.setdefault(contender, []).append(f"{', '.join(lost)} of {by} {group!r}")
    return found


def breakdown_rows(made: dict[str, dict[str, dict[str, Any]]]) -> list[dict]:
    """Rows of `SCHEMA`."""
    return [
        {
            "by": by,
            "group": group,
            "contender": contender,
            "metric": metric,
            **cells(score, entry["paired"].get(contender, {}).get(metric, {})),
        }
        for by, groups in made.items()
        for group, entry in groups.items()
        for contender, scores in entry["scores"].items()
        for metric, score in scores.items()
    ]


def _group(tables: dict[str, Scores], base: str) -> dict[str, Any]:
    return {
        "n": len(tables[base].sample_keys),
        "clusters": len(set(tables[base].episodes)),
        "scores": {name: {metric: to_json(value) for metric, value in estimates(table).items()} for name, table in tables.items()},
        "paired": {
            name: {metric: to_json(value, "diff") for metric, value in paired(tables[base], table).items()} for name, table in tables.items() if name != base
        },
    }
