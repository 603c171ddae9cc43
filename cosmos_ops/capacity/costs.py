"""What one unit of work costs: measured here (`costs.json`, written by `tests/benchmarks/capacity.py --write`) or published elsewhere (`published.yaml`)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.lake import write_json
from cosmos_ops.settings import build, read_yaml

FOLDER = Path(__file__).parent
MEASURED, PUBLISHED = FOLDER / "costs.json", FOLDER / "published.yaml"


@dataclass(frozen=True)
class Cost:
    """One measured cost."""

    value: float
    unit: str
    machine: str
    """Where it was measured: processor, number of cores, memory."""
    date: str
    """ISO."""
    script: str


@dataclass(frozen=True)
class Published:
    """One published fact."""

    value: float
    unit: str
    source: str


def read_costs(path: Path = MEASURED) -> dict[str, Cost]:
    """Name -> measured cost. Raises `UserError` for a file that is not there or not whole."""
    try:
        stored = json.loads(path.read_text())["costs"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no measured costs ({error}); make them with `python tests/benchmarks/capacity.py --write`") from None
    return {name: build(Cost, values, f"{path}: {name}") for name, values in stored.items()}


def write_costs(costs: dict[str, Cost], checks: list[dict[str, Any]], path: Path = MEASURED) -> None:
    """Keep measured costs, and beside them how well they foretold whole runs."""
    write_json(path, {"costs": {name: asdict(cost) for name, cost in costs.items()}, "checks": checks})


def read_published(path: Path = PUBLISHED) -> tuple[dict[str, Published], dict[str, float]]:
    """Published facts by name, and the dense bfloat16 peak of GPU kinds in TFLOP/s."""
    values = read_yaml(path)
    peaks = values.pop("peak_bf16_tflop_s")
    return {name: build(Published, fact, f"{path}: {name}") for name, fact in values.items()}, {kind: float(peak) for kind, peak in peaks.items()}
