"""Data Docs: Great Expectations' own page of every validation of a drop's tables, and one that lists them all, as plain HTML in the lake.

The pages load nothing from elsewhere and run no script, so they read the same without a network, and text that a log or a model wrote stays text.
One site a drop: what a validation costs does not depend on how many drops there are.
"""

import datetime
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assets.checks.expectations import CheckOutcome, Validation
from cosmos_ops.lake import Lake, locked
from cosmos_ops.shards.validated import TABLES
from cosmos_ops.store.notes import brought, read_pointer, update_pointer, write_page

_HISTORY, _INDEX = "history.json", "index.html"
_STYLE = Path(__file__).with_name("docs.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_FOREIGN = re.compile(r"<script\b.*?</script>|<footer\b.*?</footer>|<link\b[^>]*>|<img\b[^>]*>|<title></title>", re.DOTALL)


def docs_folder(lake: Lake, drop: str, fingerprint: str) -> Path:
    """Where a drop's Data Docs lie."""
    return lake.drop(drop) / "checks" / fingerprint / "data_docs"


def write_docs(folder: Path, drop: str, table: str, data_version: str, validation: Validation) -> dict[str, Any]:
    """Add a validation to a drop's Data Docs: its page, the suite's page and the list; returns its entry in the history."""
    moment = datetime.datetime.now(datetime.UTC)
    failed = [outcome for outcome in validation.outcomes if not outcome.success]
    entry = {
        "table": table,
        "checked_at": moment.isoformat(timespec="seconds"),
        "data_version": data_version,
        "rows": validation.rows,
        "expectations": len(validation.outcomes),
        "errors": sum(outcome.severity == "error" for outcome in failed),
        "warnings": sum(outcome.severity != "error" for outcome in failed),
        "page": f"validations/{table}/{moment:%Y%m%dT%H%M%S.%f}Z-{data_version[:12]}.html",
    }
    write_page(folder / entry["page"], _validation_page(drop, entry, validation, failed))
    write_page(folder / "expectations" / f"{table}.html", _suite_page(validation))
    with locked(folder):
        entries = update_pointer(folder / _HISTORY, lambda stored: [*(stored or []), entry], unreadable=[])
        write_page(folder / _INDEX, _index(drop, entries))
    return entry


def read_history(folder: Path, table: str | None = None) -> list[dict[str, Any]]:
    """Every validation so far, the latest last; those of one table where it is named. A history that cannot be read is none."""
    try:
        entries = json.loads(read_pointer(folder / _HISTORY) or "[]")
    except (OSError, ValueError):
        return []
    return [entry for entry in entries if table in (None, entry["table"])]


def latest_page(folder: Path, table: str, data_version: str) -> Path | None:
    """The page of the latest validation of this version of a table, None where there is none."""
    pages = [folder / entry["page"] for entry in read_history(folder, table) if entry["data_version"] == data_version]
    return pages[-1] if pages and brought(pages[-1]).is_file() else None


def verdict(entry: dict[str, Any]) -> str:
    """One of `passed`, `warnings` and `stopped`, with how many expectations failed."""
    if entry["errors"]:
        return f"stopped: {entry['errors']} errors, {entry['warnings']} warnings"
    return f"{entry['warnings']} warnings" if entry["warnings"] else "passed"


def _validation_page(drop: str, entry: dict[str, Any], validation: Validation, failed: Sequence[CheckOutcome]) -> str:
    from great_expectations.render.renderer import ValidationResultsPageRenderer

    result = validation.result
    result.meta["run_id"] = {"run_name": drop, "run_time": entry["checked_at"]}
    rows = [[outcome.expectation, outcome.severity, outcome.message, ", ".join(outcome.failing_rows), outcome.remedy] for outcome in failed]
    told = _table(("expectation", "severity", "what is wrong", "rows", "what to do"), rows) if rows else "<p class='held'>All expectations hold.</p>"
    facts = f"drop {drop}, table {entry['table']}, {entry['rows']} rows, version {entry['data_version'][:12]}, checked {entry['checked_at']}"
    return _own(_render(ValidationResultsPageRenderer(), result), f"<h1>{html.escape(facts)}</h1>{told}", up=2)


def _suite_page(validation: Validation) -> str:
    from great_expectations.render.renderer import ExpectationSuitePageRenderer

    return _own(_render(ExpectationSuitePageRenderer(), validation.suite), "", up=1)


def _render(renderer: Any, subject: Any) -> str:
    from great_expectations.render.view import DefaultJinjaPageView

    return DefaultJinjaPageView().render(renderer.render(subject), show_how_to_buttons=False)


def _own(page: str, top: str, up: int) -> str:
    """The library's page without what it would load and run; links lead `up` folders to the list."""
    page = _FOREIGN.sub("", page)
    page = re.sub(r'href="(?:\.\./)+(index\.html|expectations/)', lambda found: f'href="{"../" * up}{found[1]}', page)
    page = re.sub(r'(<a href="[./]*index\.html">)\s*(</a>)', r"\1All validations of the drop\2", page)
    page = page.replace("</head>", f"{_head()}</head>", 1)
    return page.replace('<div class="container-fluid', f'{top}<div class="container-fluid', 1)


def _index(drop: str, entries: list[dict[str, Any]]) -> str:
    parts = []
    for table in TABLES:
        rows = []
        for entry in reversed([entry for entry in entries if entry["table"] == table]):
            kind = "stopped" if entry["errors"] else "shown" if entry["warnings"] else "held"
            link = f'<a href="{html.escape(entry["page"])}">{html.escape(entry["checked_at"])}</a>'
            rows.append([link, f'<span class="{kind}">{html.escape(verdict(entry))}</span>', str(entry["rows"]), html.escape(entry["data_version"][:12])])
        if rows:
            parts.append(f'<h2>{table} <small><a href="expectations/{table}.html">expectations</a></small></h2>')
            parts.append(_table(("checked", "outcome", "rows", "version"), rows, escaped=True))
    title = html.escape(f"Data Docs of drop {drop}")
    page = f'<!DOCTYPE html><html lang="en"><head><meta charset="UTF-8"><title>{title}</title>{_head()}</head>'
    return f"{page}<body><h1>{title}</h1>{''.join(parts)}</body></html>\n"


def _head() -> str:
    return f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE.read_text()}</style>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], escaped: bool = False) -> str:
    cells = [[cell if escaped else html.escape(cell) for cell in row] for row in rows]
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
    return f"<table><thead><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr></thead><tbody>{body}</tbody></table>"
