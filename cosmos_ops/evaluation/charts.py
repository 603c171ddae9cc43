"""Charts of the report as inline SVG: small, sharp on every screen, and readable without a network."""

import html
import math
from dataclasses import dataclass

WIDTH, MARGIN_LEFT, MARGIN_RIGHT = 360, 84, 14


@dataclass(frozen=True)
class Bar:
    """One contender's paired difference; `low` and `high` are None where the interval is withheld."""

    label: str
    colour: str
    """CSS class."""
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Line:
    """One curve. `points` are (x, y); `dots` marks each of them."""

    label: str
    colour: str
    points: list[tuple[float, float]]
    dots: bool = False
    faint: bool = False


def difference_chart(title: str, bars: list[Bar]) -> str:
    """Points with intervals around a zero line, one row a contender."""
    row, top = 26, 34
    height = top + row * len(bars) + 24
    ends = [0.0] + [end for bar in bars for end in (bar.value, bar.low, bar.high) if end is not None]
    low, high = _padded(min(ends), max(ends))
    x = _scale(low, high, MARGIN_LEFT, WIDTH - MARGIN_RIGHT)
    bottom = top + row * len(bars)
    parts = [_title(title)]
    for tick in ticks(low, high, 4):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top - 8}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" text-anchor="middle" x="{x(tick):.1f}" y="{bottom + 15}">{tick:.4g}</text>')
    parts.append(f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{top - 8}" y2="{bottom}"/>')
    for place, bar in enumerate(bars):
        y = top + row * place + row / 2 - 4
        parts.append(f'<text class="label" text-anchor="end" x="{MARGIN_LEFT - 8}" y="{y + 4:.1f}">{html.escape(_short(bar.label))}</text>')
        if bar.low is not None and bar.high is not None:
            parts.append(f'<line class="whisker {bar.colour}" x1="{x(bar.low):.1f}" x2="{x(bar.high):.1f}" y1="{y}" y2="{y}"/>')
        known = "dot" if bar.low is not None else "dot hollow"
        parts.append(f'<circle class="{known} {bar.colour}" cx="{x(bar.value):.1f}" cy="{y}" r="5"><title>{_described(bar)}</title></circle>')
    return _svg(title, height, parts)


def line_chart(title: str, lines: list[Line], x_label: str, y_range: tuple[float, float]) -> str:
    """Curves over a common axis; the caller gives the range of y so that charts can be compared."""
    top, height, left = 34, 220, 44
    bottom = height - 34
    xs = [point[0] for line in lines for point in line.points] or [0.0, 1.0]
    x = _scale(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, left, WIDTH - MARGIN_RIGHT)
    y = _scale(y_range[0], y_range[1] if y_range[1] > y_range[0] else y_range[0] + 1, bottom, top)
    parts = [_title(title)]
    for tick in ticks(*y_range, 4):
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - MARGIN_RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{left - 6}" y="{y(tick) + 4:.1f}">{tick:.3g}</text>')
    for tick in ticks(min(xs), max(xs), 4):
        parts.append(f'<text class="tick" text-anchor="middle" x="{x(tick):.1f}" y="{bottom + 15}">{tick:.6g}</text>')
    parts.append(f'<text class="tick" text-anchor="end" x="{WIDTH - MARGIN_RIGHT}" y="{height - 4}">{html.escape(x_label)}</text>')
    for line in lines:
        path = " ".join(f"{x(a):.1f},{y(min(max(b, y_range[0]), y_range[1])):.1f}" for a, b in line.points)
        parts.append(f'<polyline class="curve {line.colour}{" faint" if line.faint else ""}" points="{path}"/>')
        if line.dots:
            parts += [f'<circle class="dot {line.colour}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="3"><title>{a:g}: {b:.4g}</title></circle>' for a, b in line.points]
    at = left
    for line in lines:
        parts.append(f'<line class="curve {line.colour}{" faint" if line.faint else ""}" x1="{at}" x2="{at + 16}" y1="{height - 8}" y2="{height - 8}"/>')
        parts.append(f'<text class="tick" x="{at + 20}" y="{height - 4}">{html.escape(line.label)}</text>')
        at += 30 + 6 * len(line.label)
    return _svg(title, height, parts)


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers between low and high, about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [0.0 if place == 0 else place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _scale(low: float, high: float, start: float, stop: float):
    return lambda value: start + (value - low) / (high - low) * (stop - start)


def _padded(low: float, high: float) -> tuple[float, float]:
    space = 0.08 * (high - low) if high > low else 1.0
    return low - space, high + space


def _title(text: str) -> str:
    return f'<text class="title" x="4" y="16">{html.escape(text)}</text>'


def _short(label: str) -> str:
    return label if len(label) <= 12 else f"{label[:11]}…"


def _described(bar: Bar) -> str:
    interval = "interval withheld" if bar.low is None else f"[{bar.low:.4g}, {bar.high:.4g}]"
    return html.escape(f"{bar.label}: {bar.value:+.4g} {interval}")


def _svg(title: str, height: float, parts: list[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
