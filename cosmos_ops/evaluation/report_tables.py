"""Tables of the report: scores, their breakdown by task and camera, and what so many samples can show. All text is escaped."""

from html import escape
from typing import Any

from cosmos_ops.evaluation.metrics import columns

BASE = "base"
_COLOURS = 6
_REFERENCES = {"real": "the real videos", "constant": "a guess without looking"}


def scores_section(board: dict[str, Any], names: list[str]) -> str:
    """The table of contenders by metrics."""
    metrics = list(board["scores"][BASE])
    rows = []
    for name in names:
        cells = "".join(_cell(metric, board["scores"][name].get(metric), board["paired"].get(name, {}).get(metric)) for metric in metrics)
        rows.append(f'<tr><th scope="row">{swatch(colour(name, names))}{escape(name)}</th>{cells}</tr>')
    for reference, words in _REFERENCES.items():
        cells = "".join(_cell(metric, board["references"].get(metric, {}).get(reference), None, "") for metric in metrics)
        if any(reference in kinds for kinds in board["references"].values()):
            rows.append(f'<tr><th scope="row" class="soft">{words}</th>{cells}</tr>')
    made = table(["contender", *(_heading(metric) for metric in metrics)], rows)
    return (
        f'<h2 id="scoreboard">Scoreboard</h2><div class="card wide">{made}</div>'
        '<p class="soft">Mean with its 95 % interval; below it the paired difference against base, positive = better (for motion_ratio of −|ln ratio|). '
        "Green and red: the interval leaves out zero.</p>"
    )


def breakdown_section(board: dict[str, Any], names: list[str]) -> str:
    """Per-sample scores by task and by camera, and how many samples a difference takes."""
    metrics = [
        metric
        for metric in board["scores"][BASE]
        if any(metric in entry["scores"][BASE] for groups in board["breakdown"].values() for entry in groups.values())
    ]
    parts = []
    for by, groups in board["breakdown"].items():
        rows = []
        for group, entry in groups.items():
            for place, name in enumerate(names):
                label = f'<td class="text group" rowspan="{len(names)}">{escape(group)}<small>{_size(entry)}</small></td>'
                cells = "".join(_brief(metric, entry["scores"][name].get(metric), entry["paired"].get(name, {}).get(metric)) for metric in metrics)
                rows.append(f'<tr>{label if place == 0 else ""}<th scope="row">{swatch(colour(name, names))}{escape(name)}</th>{cells}</tr>')
        made = table([by, "contender", *(_heading(metric) for metric in metrics)], rows)
        said = "Mean, and below it the paired difference against base with its 95 % interval, as above."
        parts.append(f'<h2 id="by-{by}">By {by}</h2><div class="card wide">{made}</div><p class="soft">{said}</p>')
    return "".join(parts) + _sizes(board, names)


def _sizes(board: dict[str, Any], names: list[str]) -> str:
    compared = [name for name in names if any(pair.get("visible_diff") is not None for pair in board["paired"].get(name, {}).values())]
    if not compared:
        return ""
    rows = []
    for metric in board["scores"][BASE]:
        pairs = {name: board["paired"][name].get(metric, {}) for name in compared}
        if all(pair.get("visible_diff") is None for pair in pairs.values()):
            continue
        unit = f" {escape(columns()[metric].unit)}"
        cells = [f'<td data-label="to show">{columns()[metric].notable:g}{unit}</td>']
        for name, pair in pairs.items():
            known = pair.get("visible_diff") is not None
            text = f"{_count(pair['samples_for_notable'], 'sample')}<small>{pair['n']} show {pair['visible_diff']:.2g}{unit}</small>" if known else "not known"
            cells.append(f'<td data-label="{escape(name)}">{text}</td>')
        rows.append(f'<tr><th scope="row">{_breakable(metric)}</th>{"".join(cells)}</tr>')
    made = table(["metric", "to show a difference of", *(f"{swatch(colour(name, names))}{escape(name)} takes" for name in compared)], rows)
    return f'<h2 id="sizes">What this many samples can show</h2><div class="card wide">{made}</div>'


def table(heads: list[str], rows: list[str]) -> str:
    """A table whose rows become blocks of labelled cells on a phone."""
    head = "".join(f"<th>{text}</th>" for text in heads)
    return f'<table class="stack"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def arrow(metric: str) -> str:
    """Which way is better, as a sign."""
    return {"higher": "↑", "lower": "↓", "one": "→\u00a01"}[columns()[metric].best]


def colour(name: str, names: list[str]) -> str:
    """CSS class of a contender's colour, the same everywhere on the page."""
    if name in ("real", BASE):
        return f"c-{name}"
    return f"c{[other for other in names if other != BASE].index(name) % _COLOURS}"


def swatch(css: str) -> str:
    """A dot in a contender's colour."""
    return f'<span class="swatch {css}"></span>'


def _heading(metric: str) -> str:
    unit = columns()[metric].unit
    return f"{_breakable(metric)} {arrow(metric)}" + (f"<br>{escape(unit)}" if unit else "")


def _label(metric: str) -> str:
    unit = columns()[metric].unit
    return _breakable(metric, "\u200b") + escape(f" {arrow(metric)}" + (f" {unit}" if unit else ""))


def _breakable(name: str, where: str = "<wbr>") -> str:
    """The name with places at which a line may end."""
    return escape(name).replace("_", f"_{where}")


def _size(entry: dict) -> str:
    episodes = "1 episode, too few for intervals" if entry["clusters"] == 1 else f"{entry['clusters']} episodes"
    return f"{_count(entry['n'], 'sample')}, {episodes}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _cell(metric: str, entry: dict | None, pair: dict | None, without: str = "not measured") -> str:
    if entry is None:
        return f'<td data-label="{_label(metric)}">{without}</td>'
    digits = columns()[metric].digits
    text = f"{entry['mean']:.{digits}f}<small>{_interval(entry, digits)}</small>"
    if pair is not None:
        text += _difference(pair, "interval withheld")
        if pair.get("win_rate") is not None:
            text += f"<small>better on {pair['win_rate']:.0%}</small>"
    return f'<td data-label="{_label(metric)}">{text}</td>'


def _brief(metric: str, entry: dict | None, pair: dict | None) -> str:
    """A cell without the mean's own interval."""
    if entry is None:
        return f'<td data-label="{_label(metric)}">not measured</td>'
    text = f"{entry['mean']:.{columns()[metric].digits}f}"
    if pair is not None:
        text += _difference(pair, "")
    return f'<td data-label="{_label(metric)}">{text}</td>'


def _difference(pair: dict, withheld: str) -> str:
    kind = "" if pair["low"] is None else "good" if pair["low"] > 0 else "bad" if pair["high"] < 0 else ""
    interval = withheld if pair["low"] is None else f"[{pair['low']:.3g}, {pair['high']:.3g}]"
    return f'<small class="{kind}">{pair["diff"]:+.3g}</small>' + (f'<small class="{kind}">{interval}</small>' if interval else "")


def _interval(entry: dict, digits: int) -> str:
    return "interval withheld" if entry["low"] is None else f"[{entry['low']:.{digits}f}, {entry['high']:.{digits}f}]"
