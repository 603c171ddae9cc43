"""The training log: one JSON object a line in `log.jsonl`, and the picture made from it.

Lines: {"step", "loss", "learning_rate", "gradient_norm", "epoch", "seconds"} after every update,
{"step", "validation_loss", "by_sigma", "seconds"} after every validation, {"step", "warning"}. Step 0 is before the first update.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cosmos_ops.lake import atomic_write, write_text

LOG = "log.jsonl"
PICTURE = "loss.png"


class Journal:
    """Appends lines; on a resume, what was logged after the checkpoint is taken back first."""

    def __init__(self, folder: Path, step: int | None):
        """`step` is the checkpoint's; None starts a new log."""
        self._path = folder / LOG
        kept = [] if step is None else [row for row in read_log(folder) if row["step"] <= step]
        write_text(self._path, "".join(_line(row) for row in kept))
        self._stream = open(self._path, "a", buffering=1)

    def write(self, step: int, **values: Any) -> None:
        """Append one line."""
        self._stream.write(_line({"step": step, **values}))

    def close(self) -> None:
        self._stream.close()


class NoJournal:
    """Of processes that do not write."""

    def write(self, step: int, **values: Any) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last line cut short by a kill is left out."""
    path = folder / LOG
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def final_train_loss(rows: list[dict[str, Any]]) -> float:
    """Mean training loss of the last tenth of the updates; one update alone says little, its noise level decides most of it."""
    losses = [row["loss"] for row in rows if "loss" in row]
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def draw_losses(rows: list[dict[str, Any]], folder: Path, title: str) -> None:
    """Write `loss.png`: training loss (every update, and smoothed) and validation loss against the step."""
    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    train = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    steps, losses = zip(*train, strict=True)
    axes.plot(steps, losses, color="#9bb7d4", linewidth=0.6, label="training, each update")
    axes.plot(steps, _smoothed(losses, max(1, len(losses) // 50)), color="#1f4e8c", linewidth=1.6, label="training, smoothed")
    validation = [(row["step"], row["validation_loss"]) for row in rows if "validation_loss" in row]
    if validation:
        axes.plot(*zip(*validation, strict=True), color="#c0392b", marker="o", markersize=4, linewidth=1.4, label="validation, fixed noise")
    axes.set(xlabel="optimizer update", ylabel="squared velocity error", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with atomic_write(folder / PICTURE) as part:
        figure.savefig(part, format="png")


def _smoothed(values: tuple[float, ...], window: int) -> list[float]:
    """Mean over the last `window` values."""
    return [sum(values[max(0, end - window) : end]) / min(end, window) for end in range(1, len(values) + 1)]


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
