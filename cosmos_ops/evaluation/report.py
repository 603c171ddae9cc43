"""One report.html of a leaderboard: numbers, plots and synchronised videos in a single file that opens from disk, no network needed."""

import re
from html import escape
from pathlib import Path
from typing import Any

from cosmos_ops.evaluation.breakdown import worse_groups
from cosmos_ops.evaluation.estimates import Scores
from cosmos_ops.evaluation.metrics import columns
from cosmos_ops.evaluation.plot import shown_contenders
from cosmos_ops.evaluation.report_clips import choose, embed, rank
from cosmos_ops.evaluation.report_parts import differences_section, losses_section, strips_section, videos_section
from cosmos_ops.evaluation.report_tables import BASE, arrow, breakdown_section, colour, scores_section, swatch, table
from cosmos_ops.evaluation.samples import read_samples
from cosmos_ops.lake import Lake, Manifest, read_manifest, write_text
from cosmos_ops.profiles import Profile

PAGE = Path(__file__).parent / "page"
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The browser itself refuses to load anything from elsewhere."""
_COSTS = ("time for a video", "time for a second of video", "peak memory", "memory for a second of video", "device")
_NOT_SCORED = "Videos on this page are encoded again for viewing; scores come from the stored ones."


def write_report(
    path: Path,
    lake: Lake,
    profile: Profile,
    dataset_version: str,
    evaluation_version: str,
    scoreboard: dict[str, Any],
    tables: dict[str, Scores],
    generations: dict[str, Manifest],
    adapters: dict[str, Manifest],
) -> None:
    """Write the report of a scoreboard. `tables`, `generations` and `adapters` are by contender; base has no adapter."""
    names = shown_contenders(scoreboard)
    ranking = rank(tables, names, BASE)
    clips = embed(lake, read_samples(lake, evaluation_version), choose(ranking), tables, generations, names) if ranking else []
    body = [
        scores_section(scoreboard, names),
        videos_section(clips, ranking, names, len(tables[BASE].sample_keys)) if ranking else "",
        strips_section(clips, names),
        differences_section(scoreboard, names),
        breakdown_section(scoreboard, names),
        losses_section({name: adapters[name] for name in names if name in adapters}, names),
        _cost(scoreboard, names),
        _lineage(profile, dataset_version, evaluation_version, scoreboard, names, generations, adapters),
        _notes(scoreboard),
    ]
    sections = [
        _header(lake, profile, dataset_version, evaluation_version, scoreboard, generations),
        _verdicts(scoreboard, names),
        _contents("".join(body)),
        *body,
    ]
    head = [
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(f'Leaderboard, {profile.name}')}</title>",
        f"<style>{(PAGE / 'report.css').read_text()}</style>",
    ]
    script = f"<script>{(PAGE / 'report.js').read_text()}</script>"
    write_text(path, f'<!doctype html>\n<html lang="en"><head>{"".join(head)}</head><body><main>{"".join(sections)}</main>{script}</body></html>\n')


def _header(lake: Lake, profile: Profile, dataset_version: str, evaluation_version: str, board: dict[str, Any], generations: dict[str, Manifest]) -> str:
    """Where the numbers come from, in a line; the Lineage section has it whole."""
    dataset = read_manifest(lake.dataset(dataset_version))
    about = dataset.meta if dataset is not None else {}
    drops, episodes = about.get("drops", []), about.get("episodes_by_split", {})
    data = f"dataset {dataset_version[:8]}" + (f" of {_some(drops)}" if drops else "")
    if "train" in episodes:
        data += f" ({episodes['train']} training episodes)"
    base = f"base {profile.base_model.source} at {str(generations[BASE].meta['weights']['base_revision'])[:8]}"
    parts = [f"profile {profile.name}", base, data, f"evaluation set {evaluation_version[:8]}: {_samples(board)}"]
    return f'<h1>Leaderboard</h1><p class="soft">{escape(" · ".join(parts))}</p>'


def _some(drops: list[str], most: int = 3) -> str:
    return ", ".join(drops[:most]) + (f" and {len(drops) - most} more drops" if len(drops) > most else "")


def _verdicts(board: dict[str, Any], names: list[str]) -> str:
    lost = worse_groups(board)
    lines = "".join(f"<li>{_verdict(name, board['paired'][name], lost.get(name, []))}</li>" for name in names if name in board["paired"])
    return f'<ul class="verdicts">{lines}</ul>'


def _contents(body: str) -> str:
    """Links to the page's sections."""
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in re.findall(r'<h2 id="([^"]+)">([^<]+)</h2>', body))
    return f'<nav aria-label="sections">{links}</nav>'


def _samples(board: dict[str, Any]) -> str:
    first = next(iter(board["scores"][BASE].values()))
    return f"{first['n']} videos of {first['clusters']} held-out episodes"


def _verdict(name: str, paired: dict[str, dict], lost: list[str]) -> str:
    better = [metric for metric, entry in paired.items() if entry["low"] is not None and entry["low"] > 0]
    worse = [metric for metric, entry in paired.items() if entry["high"] is not None and entry["high"] < 0]
    undecided = [metric for metric in paired if metric not in better and metric not in worse]
    parts = []
    if better:
        parts.append(f'<span class="good">better than base</span> on {", ".join(better)}')
    if worse:
        parts.append(f'<span class="bad">worse than base</span> on {", ".join(worse)}')
    if undecided:
        parts.append(f"undecided on {', '.join(undecided)}")
    if lost:
        parts.append(f'<span class="bad">part by part, worse on</span> {escape("; ".join(lost))}')
    return f"<strong>{escape(name)}</strong><ul>{''.join(f'<li>{part}</li>' for part in parts)}</ul>"


def _lineage(
    profile: Profile,
    dataset_version: str,
    evaluation_version: str,
    board: dict[str, Any],
    names: list[str],
    generations: dict[str, Manifest],
    adapters: dict[str, Manifest],
) -> str:
    spec, clip, generation = profile.base_model, profile.clip, profile.generation
    given = f"first {generation.conditioning_latent_frames} latent frame{'s' if generation.conditioning_latent_frames > 1 else ''} given"
    facts = {
        "dataset version": _code(dataset_version),
        "evaluation set": _code(evaluation_version),
        "samples": _samples(board),
        "base model": escape(f"{spec.source} ({spec.licence})"),
        "base revision": _code(str(generations[BASE].meta["weights"]["base_revision"])),
        "clip": escape(f"{clip.frames} frames, {clip.height} × {clip.width} px"),
        "generation": escape(f"{generation.steps} steps, guidance {generation.guidance:g}, {given}"),
        "guardrail": escape(spec.guardrail),
    }
    for name in names:
        if name in adapters:
            facts[f"adapter {name}"] = f"{_code(adapters[name].key)}, weights {_code(adapters[name].data_version)}"
    for again, kept in board["same_as"].items():
        facts[again] = f"the same weights as {escape(kept)}"
    entries = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    return f'<h2 id="lineage">Lineage</h2><dl class="facts card">{entries}</dl>'


def _cost(board: dict[str, Any], names: list[str]) -> str:
    rows = []
    for name in names:
        cost = board["cost"][name]
        memory = cost["peak_memory_bytes"]
        cells = (
            f"{cost['seconds_per_video']:.2f} s",
            f"{cost['compute_s_per_video_s']:.2f} s",
            "not measured" if memory is None else f"{memory / 2**30:.2f} GiB",
            "not measured" if cost["memory_bytes_per_video_s"] is None else f"{cost['memory_bytes_per_video_s'] / 2**30:.2f} GiB",
            f"{cost['device']}, {cost['precision']}, {cost['steps']} steps",
        )
        shown = "".join(f'<td data-label="{head}">{escape(cell)}</td>' for head, cell in zip(_COSTS, cells, strict=True))
        rows.append(f'<tr><th scope="row">{swatch(colour(name, names))}{escape(name)}</th>{shown}</tr>')
    return f'<h2 id="cost">Cost of generation</h2><div class="card wide">{table(["contender", *_COSTS], rows)}</div>'


def _notes(board: dict[str, Any]) -> str:
    meanings = [(f"{metric} {arrow(metric)}", columns()[metric].meaning) for metric in board["scores"][BASE]]
    meanings += [(name, f"not available: {reason}") for name, reason in board["unavailable"].items()]
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td class="text">{escape(text)}</td></tr>' for name, text in meanings)
    notes = "".join(f"<li>{escape(note)}</li>" for note in (*board["notes"], _NOT_SCORED))
    return (
        f'<h2 id="meaning">What the numbers are</h2><div class="card wide"><table class="stack"><tbody>{rows}</tbody></table></div>'
        f'<h2 id="notes">Notes</h2><div class="card"><ul class="notes">{notes}</ul></div>'
    )


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
