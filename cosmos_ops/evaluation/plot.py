"""The leaderboard as a picture: paired improvement over base with its interval, one panel a metric."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cosmos_ops.evaluation.metrics import columns
from cosmos_ops.lake import atomic_write

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of contenders in their order, told apart by colour-blind readers too (Okabe and Ito)."""


def shown_contenders(scoreboard: dict[str, Any]) -> list[str]:
    """Contenders of a scoreboard in order, without those that are another under a second name."""
    return [name for name in scoreboard["scores"] if name not in scoreboard["same_as"]]


def draw_paired(scoreboard: dict[str, Any], path: Path) -> None:
    """Write the plot as PNG. A contender whose interval is withheld is drawn hollow and without whiskers."""
    names = [name for name in shown_contenders(scoreboard) if name in scoreboard["paired"]]
    metrics = list(next(iter(scoreboard["scores"].values())))
    figure = Figure(figsize=(2.6 * max(1, len(metrics)), 1.3 + 0.38 * max(1, len(names))), dpi=110, layout="constrained")
    panels = figure.subplots(1, max(1, len(metrics)), squeeze=False, sharey=True)[0]
    for panel, metric in zip(panels, metrics, strict=False):
        for place, name in enumerate(names):
            entry = scoreboard["paired"][name].get(metric)
            if entry is None:
                continue
            colour, known = PALETTE[place % len(PALETTE)], entry["low"] is not None
            if known:
                panel.plot([entry["low"], entry["high"]], [place, place], color=colour, linewidth=2)
            panel.plot([entry["diff"]], [place], marker="o", color=colour, markerfacecolor=colour if known else "white", markersize=6)
        panel.axvline(0, color="#888888", linewidth=1)
        unit = columns()[metric].unit
        panel.set_title(f"{metric} ({unit})" if unit else metric, fontsize=9)
        panel.tick_params(labelsize=8)
        panel.locator_params(axis="x", nbins=4)
        panel.grid(axis="x", alpha=0.25)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(max(1, len(names)) - 0.5, -0.5)
    figure.supxlabel("paired difference against base, right is better; bars are 95 % intervals", fontsize=8)
    with atomic_write(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})
