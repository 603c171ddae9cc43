"""The check every data-half asset carries: the table's suite, errors block, warnings show."""

import dataclasses
from pathlib import Path
from typing import Any

import dagster as dg

from assets.checks.data_docs import docs_folder, latest_page, read_history, verdict, write_docs
from cosmos_ops.lake import Lake, Manifest
from cosmos_ops.shards.validated import passed, read_outcomes, write_outcomes

BLOCKING = "expectations"
ADVICE = "advice"
_ROWS_SHOWN, _HISTORY_SHOWN = 5, 10


def check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The two checks of a table: one that blocks what comes after, one that only shows."""
    return [
        dg.AssetCheckSpec(BLOCKING, asset=asset, blocking=True, description="Great Expectations suite of the table; a failed error stops the drop here"),
        dg.AssetCheckSpec(ADVICE, asset=asset, description="Great Expectations warnings: worth a look, nothing is stopped"),
    ]


def check_table(lake: Lake, drop: str, fingerprint: str, table: str, manifest: Manifest, file: str) -> list[dg.AssetCheckResult]:
    """Run a table's suite and write its Data Docs, or read the stored outcomes where this version was checked already."""
    outcomes = read_outcomes(lake, drop, fingerprint, table, manifest.data_version)
    docs = docs_folder(lake, drop, fingerprint)
    if outcomes is None or latest_page(docs, table, manifest.data_version) is None:
        import pandas as pd

        from assets.checks.expectations import validate_table

        validation = validate_table(table, pd.read_parquet(manifest.file(file)))
        outcomes = [dataclasses.asdict(outcome) for outcome in validation.outcomes]
        write_docs(docs, drop, table, manifest.data_version, validation)
        write_outcomes(lake, drop, fingerprint, table, manifest.data_version, outcomes)
    errors = [outcome for outcome in outcomes if outcome["severity"] == "error"]
    warnings = [outcome for outcome in outcomes if outcome["severity"] != "error"]
    history = _history(docs, table, manifest.data_version)
    return [
        dg.AssetCheckResult(
            check_name=BLOCKING, passed=passed(outcomes), severity=dg.AssetCheckSeverity.ERROR, metadata=_shown(errors) | history, description=_line(errors)
        ),
        dg.AssetCheckResult(
            check_name=ADVICE,
            passed=all(outcome["success"] for outcome in warnings),
            severity=dg.AssetCheckSeverity.WARN,
            metadata=_shown(warnings) | history,
            description=_line(warnings),
        ),
    ]


def _history(docs: Path, table: str, data_version: str) -> dict[str, Any]:
    """How earlier versions of the table fared, and where the pages are."""
    entries, page = read_history(docs, table), latest_page(docs, table, data_version)
    rows = [f"| {entry['checked_at']} | {verdict(entry)} | {entry['rows']} | {entry['data_version'][:12]} |" for entry in reversed(entries[-_HISTORY_SHOWN:])]
    return {
        "rows": entries[-1]["rows"],
        "history": dg.MetadataValue.md("| checked | outcome | rows | version |\n| --- | --- | --- | --- |\n" + "\n".join(rows)),
        "data_docs": dg.MetadataValue.url(page.absolute().as_uri()),
        "data_docs_path": dg.MetadataValue.path(str(page)),
    }


def _line(outcomes: list[dict[str, Any]]) -> str:
    failed = [outcome for outcome in outcomes if not outcome["success"]]
    if not failed:
        return f"{len(outcomes)} expectations hold"
    first = failed[0]
    return f"{len(failed)} of {len(outcomes)} expectations failed; {first['message']}; {first['remedy']}"


def _shown(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "expectations": dg.MetadataValue.md("| expectation | outcome | rows | what to do |\n| --- | --- | --- | --- |\n" + "\n".join(map(_row, outcomes))),
        "failed": sum(not outcome["success"] for outcome in outcomes),
    }


def _row(outcome: dict[str, Any]) -> str:
    rows = ", ".join(outcome["failing_rows"][:_ROWS_SHOWN])
    return f"| {outcome['expectation']} | ok | | |" if outcome["success"] else f"| {outcome['expectation']} | failed | {rows} | {outcome['remedy']} |"
