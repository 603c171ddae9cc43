"""Rows, ratios and taking turns."""

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Result:
    """What a benchmark found."""

    rows: list[dict] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)

    def row(self, name: str, value: float, unit: str) -> None:
        self.rows.append({"name": name, "value": round(value, 5), "unit": unit})
        print(f"  {name}: {value:.4g} {unit}", file=sys.stderr, flush=True)

    def ratio(self, name: str, value: float) -> None:
        self.ratios[name] = round(value, 4)

    def print(self) -> None:
        """A table on stdout."""
        width = max([len(row["name"]) for row in self.rows] + [len(name) for name in self.ratios], default=0)
        for row in self.rows:
            print(f"{row['name']:<{width}}  {row['value']:>12.5g} {row['unit']}")
        for name, value in self.ratios.items():
            print(f"{name:<{width}}  {value:>12.3f}")


@dataclass(frozen=True)
class Taken:
    """What a contender took: medians over the rounds."""

    seconds: float
    processor_s: float
    """Of this process and the children it waited for: what is left of a comparison on a machine that others use."""


def in_turns(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, Taken]:
    """A round runs every contender once, so that what else the machine does falls on all of them."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            started, used = time.perf_counter(), sum(os.times()[:4])
            contender()
            taken[name].append((time.perf_counter() - started, sum(os.times()[:4]) - used))
    return {name: Taken(*(statistics.median(column) for column in zip(*found, strict=True))) for name, found in taken.items()}
