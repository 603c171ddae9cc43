"""The larger sections of the report: scores, differences, training curves, videos, film strips. All text is escaped."""

import json
from html import escape
from typing import Any

from cosmos_ops.evaluation.charts import Bar, Line, difference_chart, line_chart
from cosmos_ops.evaluation.metrics import columns
from cosmos_ops.evaluation.report_clips import PER_KIND, Ranking, ShownClip
from cosmos_ops.lake import Manifest

BASE, INCUMBENT = "base", "incumbent"
_COLOURS = 6
_REFERENCES = {"real": "the real videos", "constant": "a guess without looking"}


def scores_section(board: dict[str, Any], names: list[str]) -> str:
    """The table of contenders by metrics."""
    metrics = list(board["scores"][BASE])
    head = "".join(f"<th>{escape(metric)} {arrow(metric)}<br>{escape(columns()[metric].unit)}</th>" for metric in metrics)
    rows = []
    for name in names:
        cells = "".join(_cell(metric, board["scores"][name].get(metric), board["paired"].get(name, {}).get(metric)) for metric in metrics)
        rows.append(f'<tr><th scope="row">{_swatch(colour(name, names))}{escape(name)}</th>{cells}</tr>')
    for reference, words in _REFERENCES.items():
        cells = "".join(_cell(metric, board["references"].get(metric, {}).get(reference), None, "") for metric in metrics)
        if any(reference in kinds for kinds in board["references"].values()):
            rows.append(f'<tr><th scope="row" class="soft">{words}</th>{cells}</tr>')
    table = f"<table><thead><tr><th>contender</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return (
        f'<h2 id="scoreboard">Scoreboard</h2><div class="card wide">{table}</div>'
        '<p class="soft">Mean with its 95 % interval; below it the paired difference against base, positive = better (for motion_ratio of −|ln ratio|). '
        "Green and red: the interval leaves out zero.</p>"
    )


def differences_section(board: dict[str, Any], names: list[str]) -> str:
    """One chart a metric of the paired differences against base, and, where another champion was scored, against the incumbent."""
    parts = [_differences(board["paired"], "base", names, board)]
    if INCUMBENT in names:
        parts.append(_differences(board["paired_incumbent"], "the incumbent", names, board))
    return "".join(parts)


def _differences(paired: dict[str, dict], opponent: str, names: list[str], board: dict[str, Any]) -> str:
    charts = []
    for metric in board["scores"][BASE]:
        entries = [(name, paired[name].get(metric)) for name in names if name in paired]
        bars = [Bar(name, colour(name, names), entry["diff"], entry["low"], entry["high"]) for name, entry in entries if entry is not None]
        unit = columns()[metric].unit
        if bars:
            charts.append(f'<div class="card">{difference_chart(f"{metric} ({unit})" if unit else metric, bars)}</div>')
    if not charts:
        return ""
    head = f'<h2 id="against-{opponent.split()[-1]}">Against {opponent}, paired</h2>'
    return f'{head}<div class="grid-charts">{"".join(charts)}</div><p class="soft">Right of zero is better; bars are 95 % intervals.</p>'


def breakdown_section(board: dict[str, Any], names: list[str]) -> str:
    """Per-sample scores by task and by camera, and how many samples a difference takes."""
    metrics = [
        metric
        for metric in board["scores"][BASE]
        if any(metric in entry["scores"][BASE] for groups in board["breakdown"].values() for entry in groups.values())
    ]
    head = "".join(f"<th>{escape(metric)} {arrow(metric)}</th>" for metric in metrics)
    parts = []
    for by, groups in board["breakdown"].items():
        rows = []
        for group, entry in groups.items():
            for place, name in enumerate(names):
                label = f'<td class="text" rowspan="{len(names)}">{escape(group)}<small>{entry["n"]} samples, {entry["clusters"]} episodes</small></td>'
                cells = "".join(_cell(metric, entry["scores"][name].get(metric), entry["paired"].get(name, {}).get(metric)) for metric in metrics)
                rows.append(f"<tr>{label if place == 0 else ''}<td>{_swatch(colour(name, names))}{escape(name)}</td>{cells}</tr>")
        table = f"<table><thead><tr><th>{by}</th><th>contender</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        parts.append(f'<h2 id="by-{by}">By {by}</h2><div class="card wide">{table}</div>')
    return "".join(parts) + _sizes(board, names)


def _sizes(board: dict[str, Any], names: list[str]) -> str:
    rows = []
    for name in names:
        for metric, pair in board["paired"].get(name, {}).items():
            if pair.get("visible_diff") is not None:
                cells = f"<td>{pair['visible_diff']:.3g}</td><td>{pair['notable_diff']:g}</td><td>{pair['samples_for_notable']}</td><td>{pair['n']}</td>"
                rows.append(f'<tr><th scope="row">{_swatch(colour(name, names))}{escape(name)}</th><td>{escape(metric)}</td>{cells}</tr>')
    if not rows:
        return ""
    head = "<th>against base</th><th>metric</th><th>this set shows</th><th>to show</th><th>takes samples</th><th>there are</th>"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<h2 id="sizes">What this many samples can show</h2><div class="card wide">{table}</div>'


def losses_section(adapters: dict[str, Manifest], names: list[str]) -> str:
    """One chart a contender of its training and validation loss, all over one range."""
    curves = {}
    for name, adapter in adapters.items():
        rows = _read_log(adapter)
        train = [(row["step"], row["loss"]) for row in rows if "loss" in row]
        validation = [(row["step"], row["validation_loss"]) for row in rows if "validation_loss" in row]
        if train:
            curves[name] = [Line("training, smoothed", colour(name, names), _smoothed(train), faint=True)]
            curves[name] += [Line("validation", colour(name, names), validation, dots=True)] if validation else []
    if not curves:
        return ""
    heights = [value for lines in curves.values() for line in lines for _, value in line.points]
    space = 0.05 * (max(heights) - min(heights))
    reach = (min(heights) - space, max(heights) + space)
    charts = "".join(f'<div class="card">{line_chart(name, lines, "update", reach)}</div>' for name, lines in curves.items())
    return f'<h2 id="losses">Loss curves</h2><div class="grid-charts">{charts}</div><p class="soft">Squared velocity error; validation with fixed noise.</p>'


def videos_section(clips: list[ShownClip], ranking: Ranking, names: list[str], total: int) -> str:
    """Cards of synchronised videos under one play button, sorted by the page's script."""
    others = [name for name in names if name != BASE] or [BASE]
    metrics = "".join(
        f'<option value="{escape(metric)}" data-digits="{columns()[metric].digits}"{_selected(metric == ranking.metric)}>{escape(metric)}</option>'
        for metric in clips[0].values[BASE]
    )
    contenders = "".join(f"<option{_selected(name == ranking.contender)}>{escape(name)}</option>" for name in others)
    orders = "".join(f'<option value="{order}">{order}</option>' for order in ("best", "typical", "worst"))
    controls = [
        '<button class="play" id="play" type="button">▶ Play all</button>',
        '<input id="seek" type="range" min="0" max="1" step="0.001" value="0" aria-label="position in the videos">',
        '<label>speed <select id="speed"><option value="0.25">¼</option><option value="0.5">½</option><option value="1" selected>1</option></select></label>',
        f'<label>first <select id="order">{orders}</select></label>',
        f'<label>by <select id="metric">{metrics}</select></label>',
        f'<label>of <select id="contender">{contenders}</select></label>',
    ]
    which = "All samples are here."
    if len(clips) < total:
        whose = ranking.contender if ranking.contender == BASE else f"{ranking.contender} against base"
        which = f"{len(clips)} of {total} samples are here: the {PER_KIND} best, {PER_KIND} typical and {PER_KIND} worst by {ranking.metric} of {whose}."
    cards = "".join(_card(clip, names) for clip in clips)
    return f'<h2 id="videos">Side by side</h2><p class="soft">{escape(which)}</p><div class="controls">{"".join(controls)}</div><div id="clips">{cards}</div>'


def strips_section(clips: list[ShownClip], names: list[str]) -> str:
    """Film strips of the samples that have one: a row a source, a column a moment."""
    strips = []
    for clip in clips:
        if clip.strip is not None:
            rows = [_strip_row(source, colour(source, names), pictures) for source, pictures in clip.strip.frames.items()]
            times = "".join(f"<span>{time_s:.1f} s</span>" for time_s in clip.strip.times_s)
            rows.append(f'<div class="row times"><span></span><div class="frames">{times}</div></div>')
            caption = escape(f"{clip.kind}: {clip.sample.prompt} ({clip.sample.camera})")
            strips.append(f'<figure class="strip card"><figcaption>{caption}</figcaption>{"".join(rows)}</figure>')
    return f'<h2 id="strips">Film strips</h2>{"".join(strips)}' if strips else ""


def _strip_row(source: str, css: str, pictures: list[str]) -> str:
    frames = "".join(f'<img src="{picture}" alt="">' for picture in pictures)
    name = escape(source)
    return f'<div class="row"><span>{_swatch(css)}{name}</span><div class="frames" role="img" aria-label="film strip, {name}">{frames}</div></div>'


def arrow(metric: str) -> str:
    """Which way is better, as a sign."""
    return {"higher": "↑", "lower": "↓", "one": "→ 1"}[columns()[metric].best]


def colour(name: str, names: list[str]) -> str:
    """CSS class of a contender's colour, the same everywhere on the page."""
    if name in ("real", BASE):
        return f"c-{name}"
    return f"c{[other for other in names if other != BASE].index(name) % _COLOURS}"


def _cell(metric: str, entry: dict | None, pair: dict | None, without: str = "not measured") -> str:
    if entry is None:
        return f"<td>{without}</td>"
    digits = columns()[metric].digits
    text = f"{entry['mean']:.{digits}f}<small>{_interval(entry, digits)}</small>"
    if pair is not None:
        kind = "" if pair["low"] is None else "good" if pair["low"] > 0 else "bad" if pair["high"] < 0 else ""
        text += f'<small class="{kind}">{pair["diff"]:+.3g} {_paired_interval(pair)}</small>'
        if pair.get("win_rate") is not None:
            text += f"<small>better on {pair['win_rate']:.0%}</small>"
    return f"<td>{text}</td>"


def _interval(entry: dict, digits: int) -> str:
    return "interval withheld" if entry["low"] is None else f"[{entry['low']:.{digits}f}, {entry['high']:.{digits}f}]"


def _paired_interval(entry: dict) -> str:
    return "interval withheld" if entry["low"] is None else f"[{entry['low']:.3g}, {entry['high']:.3g}]"


def _card(clip: ShownClip, names: list[str]) -> str:
    figures = []
    for source, uri in clip.videos.items():
        name = escape(source)
        caption = f'<span>{_swatch(colour(source, names))}{name}</span><span class="soft" data-source="{name}"></span>'
        figures.append(f'<figure><video src="{uri}" muted playsinline preload="auto" aria-label="{name}"></video><figcaption>{caption}</figcaption></figure>')
    sample = clip.sample
    where = escape(f"{sample.drop}, episode {sample.index}, {sample.camera}, seed {sample.seed}")
    data = f'data-kind="{clip.kind}" data-values="{escape(json.dumps(clip.values))}" data-goodness="{escape(json.dumps(clip.goodness))}"'
    head = f'<header><h3>{escape(sample.prompt)}</h3><span class="rank"></span><span class="soft">{where}</span></header>'
    return f'<article class="clip card" {data}>{head}<div class="videos">{"".join(figures)}</div></article>'


def _read_log(adapter: Manifest) -> list[dict]:
    path = adapter.file("log.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _smoothed(points: list[tuple[float, float]], shown: int = 60) -> list[tuple[float, float]]:
    """Means of about `shown` equal stretches: single updates say little, their noise levels differ."""
    size = max(1, len(points) // shown)
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    return [(stretch[-1][0], sum(value for _, value in stretch) / len(stretch)) for stretch in stretches]


def _swatch(css: str) -> str:
    return f'<span class="swatch {css}"></span>'


def _selected(yes: bool) -> str:
    return " selected" if yes else ""
