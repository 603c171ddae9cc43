"""The promotion gate: what a contender must show on the scoreboard, declared in gates.yaml, and the decision with its reason."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.settings import build, read_yaml

GATES = Path(__file__).with_name("gates.yaml")
OPPONENTS = {"base": "paired", "incumbent": "paired_incumbent"}
"""Opponent -> the scoreboard's key of paired differences against it."""


@dataclass(frozen=True)
class Gates:
    """Conditions for promotion. Metric names are the scoreboard's."""

    against: tuple[str, ...]
    """Opponents of the paired gates: `base`, and `incumbent` where there is one."""
    must_beat: tuple[str, ...]
    """Metrics whose paired improvement must have its whole 95 % interval above zero."""
    must_not_lose: dict[str, float] = field(default_factory=dict)
    """Metric -> how far its paired difference may fall below zero, in the scoreboard's unit."""
    floors: dict[str, float] = field(default_factory=dict)
    """Metric -> smallest mean of the contender's own."""
    no_failing_checks: tuple[str, ...] = ("error",)
    """Severities of data checks none of which may have failed on the drops trained on: `error`, `warning`."""


@dataclass(frozen=True)
class Check:
    """One condition, for one contender, against one opponent (None: its own mean)."""

    contender: str
    metric: str
    against: str | None
    passed: bool
    detail: str
    """What was measured and, when it failed, why: `psnr +0.12 [-0.05, 0.3] includes 0`."""


@dataclass(frozen=True)
class Decision:
    """What the gate says of a scoreboard."""

    winner: str | None
    """The contender that becomes champion; None when none may."""
    promoted: bool
    reason: str
    """One line for people, always there."""
    best: str | None
    """Best new contender whether or not it passed; None when every contender is the incumbent itself."""
    checks: tuple[Check, ...]

    def passed(self, contender: str) -> bool:
        """True when the contender was checked and every check passed."""
        own = [check for check in self.checks if check.contender == contender]
        return bool(own) and all(check.passed for check in own)


def load_gates(path: Path = GATES) -> Gates:
    """Read gates strictly. Raises `UserError` naming what is wrong."""
    gates = build(Gates, read_yaml(path), str(path))
    unknown = [name for name in gates.against if name not in OPPONENTS]
    checks = (
        (not unknown, f"against names {', '.join(unknown)}; known are {', '.join(OPPONENTS)}"),
        ("base" in gates.against, "against must name base: without it a first champion would pass unseen"),
        (len(gates.must_beat) > 0, "must_beat names no metric; a gate that asks nothing promotes everything"),
        (set(gates.no_failing_checks) <= {"error", "warning"}, "no_failing_checks holds severities: error, warning"),
        (all(math.isfinite(value) for value in (gates.must_not_lose | gates.floors).values()), "limits must be finite numbers"),
        (all(value >= 0 for value in gates.must_not_lose.values()), "must_not_lose holds allowed losses, which are 0 or more"),
    )
    for fine, message in checks:
        if not fine:
            raise UserError(f"{path}: {message}")
    return gates


def decide(scoreboard: dict[str, Any], gates: Gates, recipes: list[str], incumbent: bool, failing: tuple[str, ...] = ()) -> Decision:
    """Which of the contenders `recipes` may become champion.

    scoreboard: `scores` {contender: {metric: {mean, low, high, n}}}, `paired` {contender: {metric: {diff, low, high, n}}} against
    base and, where an incumbent was scored, `paired_incumbent` of the same shape; positive differences are improvements. An
    interval that was withheld (null) passes no paired gate. `failing` holds a line for each failed check on the data, with which nobody
    passes. Among contenders that pass, the one with the best mean rank over the `must_beat` metrics (paired against base) wins; ties go
    to the first of `recipes`.
    """
    against = [name for name in gates.against if name != "incumbent" or (incumbent and "paired_incumbent" in scoreboard)]
    new = [name for name in recipes if "incumbent" not in against or not _is_incumbent(scoreboard, gates, name)]
    checks = tuple(check for name in new for check in _checks(scoreboard, gates, name, against, failing))
    ranked = _ranked(scoreboard, gates, new)
    failed = {check.contender for check in checks if not check.passed}
    winner = next((name for name in ranked if name not in failed), None)
    return Decision(winner, winner is not None, _reason(winner, new, recipes, checks, against), ranked[0] if ranked else None, checks)


def _checks(scoreboard: dict, gates: Gates, contender: str, against: list[str], failing: tuple[str, ...]) -> list[Check]:
    checks = [Check(contender, "data checks", None, False, f"was trained on data with failed checks ({'; '.join(failing)})")] if failing else []
    for opponent in against:
        paired = scoreboard.get(OPPONENTS[opponent], {}).get(contender) or {}
        for metric in gates.must_beat:
            passed, detail = _beats(metric, paired.get(metric))
            checks.append(Check(contender, metric, opponent, passed, detail))
        for metric, margin in gates.must_not_lose.items():
            passed, detail = _keeps(metric, paired.get(metric), margin)
            checks.append(Check(contender, metric, opponent, passed, detail))
    scores = scoreboard.get("scores", {}).get(contender) or {}
    for metric, floor in gates.floors.items():
        mean = _number(scores.get(metric), "mean")
        passed = mean is not None and mean >= floor
        measured = f"{metric} was not measured" if mean is None else f"{metric} {mean:.3g}"
        checks.append(Check(contender, metric, None, passed, measured if passed else f"{measured}, at least {floor:g} is needed"))
    return checks


def _beats(metric: str, entry: dict | None) -> tuple[bool, str]:
    diff, low, high = (_number(entry, name) for name in ("diff", "low", "high"))
    if diff is None:
        return False, f"{metric} was not compared"
    if low is None or high is None:
        return False, f"{metric} {diff:+.3g} has no interval (n={entry.get('n')} is too few)"
    detail = f"{metric} {diff:+.3g} [{low:.3g}, {high:.3g}]"
    if low > 0:
        return True, detail
    return False, f"{detail} is worse" if high < 0 else f"{detail} includes 0"


def _keeps(metric: str, entry: dict | None, margin: float) -> tuple[bool, str]:
    # The estimate is judged, not its interval: on small evaluation sets no interval is narrow enough to show that nothing is lost.
    diff = _number(entry, "diff")
    if diff is None:
        return False, f"{metric} was not compared"
    if _number(entry, "low") is None:
        return False, f"{metric} {diff:+.3g} has no interval (n={entry.get('n')} is too few)"
    return (True, f"{metric} {diff:+.3g}") if diff >= -margin else (False, f"{metric} {diff:+.3g} loses more than {margin:g}")


def _number(entry: dict | None, name: str) -> float | None:
    value = entry.get(name) if entry else None
    return float(value) if value is not None and math.isfinite(value) else None


def _is_incumbent(scoreboard: dict, gates: Gates, contender: str) -> bool:
    """True for the incumbent under its recipe's name: the same videos, so every paired difference is exactly zero."""
    paired = scoreboard["paired_incumbent"].get(contender) or {}
    return all(_number(paired.get(metric), "diff") == 0 for metric in gates.must_beat)


def _ranked(scoreboard: dict, gates: Gates, contenders: list[str]) -> list[str]:
    paired = scoreboard.get("paired", {})

    def diff(contender: str, metric: str) -> float:
        number = _number((paired.get(contender) or {}).get(metric), "diff")
        return -math.inf if number is None else number

    def total_rank(contender: str) -> int:
        return sum(sum(diff(other, metric) > diff(contender, metric) for other in contenders) for metric in gates.must_beat)

    return sorted(contenders, key=total_rank)


def _reason(winner: str | None, new: list[str], recipes: list[str], checks: tuple[Check, ...], against: list[str]) -> str:
    opponents = " and ".join("the incumbent" if name == "incumbent" else name for name in against)
    if winner is not None:
        shown = [check.detail for check in checks if check.contender == winner and check.against == against[-1]]
        return f"{winner} beats {opponents}: {', '.join(shown)}" + (" (against the incumbent)" if "incumbent" in against else "")
    if not recipes:
        return "no contender but base was scored"
    same = [f"{name} is the incumbent itself" for name in recipes if name not in new]
    if not new:
        return f"nothing new to promote: {'; '.join(same)}"
    lines = []
    for name in new:
        first = next(check for check in checks if check.contender == name and not check.passed)
        lines.append(f"{name} {first.detail}" + (f" against {first.against}" if first.against == "incumbent" else ""))
    lost_to = {check.against for check in checks if not check.passed}
    whom = "the incumbent" if lost_to == {"incumbent"} else "base" if against == ["base"] and lost_to <= {"base"} else None
    head = f"no contender beat {whom}" if whom else "no contender passed every gate"
    return f"{head}: {'; '.join(lines + same)}"
