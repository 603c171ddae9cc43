"""Pictures of the report: differences, training curves, videos, film strips. All text is escaped."""

import json
from html import escape
from typing import Any

from cosmos_ops.evaluation.charts import Bar, Line, difference_chart, line_chart
from cosmos_ops.evaluation.metrics import columns
from cosmos_ops.evaluation.report_clips import PER_KIND, Ranking, ShownClip
from cosmos_ops.evaluation.report_tables import BASE, colour, swatch
from cosmos_ops.lake import Manifest

INCUMBENT = "incumbent"


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
        unit = "−|ln ratio|" if columns()[metric].best == "one" else columns()[metric].unit
        if bars:
            charts.append(f'<div class="card">{difference_chart(f"{metric} ({unit})" if unit else metric, bars)}</div>')
    if not charts:
        return ""
    head = f'<h2 id="against-{opponent.split()[-1]}">Against {opponent}, paired</h2>'
    return f'{head}<div class="grid-charts">{"".join(charts)}</div><p class="soft">Right of zero is better; bars are 95 % intervals.</p>'


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
    metrics = "".join(_metric_option(metric, metric == ranking.metric) for metric in clips[0].values[BASE])
    contenders = "".join(f"<option{_selected(name == ranking.contender)}>{escape(name)}</option>" for name in others)
    orders = "".join(f'<option value="{order}">{order}</option>' for order in ("best", "typical", "worst"))
    playing = [
        '<button class="play" id="play" type="button">▶ Play all</button>',
        '<input id="seek" type="range" min="0" max="1" step="0.001" value="0" aria-label="position in the videos">',
        '<label>speed <select id="speed"><option value="0.25">¼</option><option value="0.5">½</option><option value="1" selected>1</option></select></label>',
    ]
    sorting = [
        f'<label>first <select id="order">{orders}</select></label>',
        f'<label>by <select id="metric">{metrics}</select></label>',
        f'<label>of <select id="contender">{contenders}</select></label>',
    ]
    which = "All samples are here."
    if len(clips) < total:
        whose = ranking.contender if ranking.contender == BASE else f"{ranking.contender} against base"
        which = f"{len(clips)} of {total} samples are here: the {PER_KIND} best, {PER_KIND} typical and {PER_KIND} worst by {ranking.metric} of {whose}."
    cards = "".join(_card(clip, names) for clip in clips)
    bars = f'<div class="sorting">{"".join(sorting)}</div><div class="controls">{"".join(playing)}</div>'
    return f'<h2 id="videos">Side by side</h2><p class="soft">{escape(which)}</p>{bars}<div id="clips">{cards}</div>'


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
    return f'<div class="row"><span>{swatch(css)}{name}</span><div class="frames" role="img" aria-label="film strip, {name}">{frames}</div></div>'


def _card(clip: ShownClip, names: list[str]) -> str:
    figures = []
    for source, uri in clip.videos.items():
        name = escape(source)
        caption = f'<span>{swatch(colour(source, names))}{name}</span><span class="soft" data-source="{name}"></span>'
        figures.append(f'<figure><video src="{uri}" muted playsinline preload="auto" aria-label="{name}"></video><figcaption>{caption}</figcaption></figure>')
    sample = clip.sample
    where = escape(f"{sample.drop}, episode {sample.index}, {sample.camera}, seed {sample.seed}")
    data = f'data-kind="{clip.kind}" data-values="{escape(json.dumps(clip.values))}" data-goodness="{escape(json.dumps(clip.goodness))}"'
    head = f'<header><h3>{escape(sample.prompt)}</h3><span class="rank"></span><span class="soft">{where}</span></header>'
    return f'<article class="clip card" {data}>{head}<div class="videos">{"".join(figures)}</div></article>'


def _metric_option(metric: str, chosen: bool) -> str:
    column = columns()[metric]
    data = f'data-digits="{column.digits}" data-unit="{escape(column.unit)}"'
    return f'<option value="{escape(metric)}" {data}{_selected(chosen)}>{escape(metric)}</option>'


def _read_log(adapter: Manifest) -> list[dict]:
    path = adapter.file("log.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _smoothed(points: list[tuple[float, float]], shown: int = 60) -> list[tuple[float, float]]:
    """Means of about `shown` equal stretches: single updates say little, their noise levels differ."""
    size = max(1, len(points) // shown)
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    return [(stretch[-1][0], sum(value for _, value in stretch) / len(stretch)) for stretch in stretches]


def _selected(yes: bool) -> str:
    return " selected" if yes else ""
