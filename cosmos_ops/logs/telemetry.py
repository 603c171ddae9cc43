"""Telemetry rows of one episode: from Parquet columns to arrays, and what their recorded clock says about the video."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosmos_ops.logs.base import Problem, RecordedClock
from cosmos_ops.logs.parquet import READ_ERRORS, check_size

DRIFT_TOLERANCE_S = 0.5
"""A recorded clock that ends further than this from the video's is worth a word, however long the episode."""
DRIFT_TOLERANCE_FRACTION, LEAST_DRIFT_S = 0.03, 0.15
"""And so is one that runs this much too fast or slow, once that amounts to more than a late row."""
MAX_DRIFT_FRACTION = 0.25
"""Drift over the episode's length above which the declared rate is wrong, so the video does not show real speed."""
STATE, ACTION = ("observation.state", "observation.states", "state", "states"), ("action", "actions")
"""What these columns are called: by LeRobot itself, and by others who write its format."""
MAX_GAP_S = 1.0
"""A longer pause between two rows is a cut in the video."""


class BrokenTelemetry(Exception):
    """Rows that cannot be read; the message says why in one line."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Telemetry as stored, in row order. `clock_s` is None where no timestamp was recorded."""

    state: np.ndarray
    action: np.ndarray
    clock_s: np.ndarray | None
    labels: dict[str, np.ndarray]
    """Other scalar columns that were asked for, where they exist."""
    places: np.ndarray
    """[T] int64: the rows' numbers in the file."""

    def __len__(self) -> int:
        return len(self.state)

    def select(self, rows: np.ndarray) -> "Rows":
        """The rows at these positions, in the order of `frame_index` where there is one."""
        if "frame_index" in self.labels:
            rows = rows[np.argsort(self.labels["frame_index"][rows], kind="stable")]
        clock_s = None if self.clock_s is None else self.clock_s[rows]
        return Rows(self.state[rows], self.action[rows], clock_s, {name: values[rows] for name, values in self.labels.items()}, self.places[rows])


def read_rows(path: Path, labels: tuple[str, ...]) -> Rows:
    """State, action, clock and the named label columns of a Parquet file. Raises `BrokenTelemetry`."""
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            state, action = columns_of(names, STATE), columns_of(names, ACTION)
            scalars = [name for name in ("timestamp", *labels) if name in names]
            wanted = list(dict.fromkeys([*state, *action, *scalars]))
            check_size(file, wanted)
            table = file.read(columns=wanted)
        clock = _scalar(table, "timestamp") if "timestamp" in scalars else None
        told = {name: _scalar(table, name) for name in labels if name in names}
        return Rows(_matrix(table, state, np.float32), _matrix(table, action, np.float32), clock, told, np.arange(table.num_rows))
    except READ_ERRORS as error:
        raise BrokenTelemetry(" ".join(str(error).split())[:200] or type(error).__name__) from None


def recorded_clock(clock_s: np.ndarray | None, fps: float) -> RecordedClock | None:
    """The clock recorded beside rows that are 1 / fps apart; None where there is none. Its rate is fitted to all rows (least squares)."""
    if clock_s is None or len(clock_s) < 2 or not np.isfinite(clock_s).all() or _too_coarse(clock_s, fps):
        return None
    rows_s = np.arange(len(clock_s)) / fps
    rate = float(np.polyfit(rows_s, clock_s - clock_s[0], 1)[0])
    return RecordedClock(float(clock_s[0]), float(clock_s[-1] - clock_s[0] - rows_s[-1]), float(np.diff(clock_s).max()), rate - 1)


def clock_problems(clock_s: np.ndarray | None, fps: float) -> list[Problem]:
    """What the recorded clock says of an episode whose row i describes frame i of a video at a constant `fps`.

    Jitter is normal and passes. Drift is shown; rows are aligned to frames one by one, so nothing shifts. A pause is fatal to what lies across it: the
    video has a cut there. A clock that runs backwards and a rate far from the declared one are fatal: the video then has the wrong speed.
    """
    if clock_s is None or len(clock_s) < 2:
        return []
    if _too_coarse(clock_s, fps):
        told = f"recorded timestamps near {clock_s[0]:.0f} s are kept too coarsely to tell rows apart; rows are aligned to frames one by one"
        return [Problem("coarse_clock", told, fatal=False)]
    steps = np.diff(clock_s)
    if not np.isfinite(clock_s).all() or (steps <= 0).any():
        return [Problem("broken_clock", "recorded timestamps are not finite or do not increase, so the order of the rows is not known")]
    span_s = (len(clock_s) - 1) / fps
    drift_s = float(clock_s[-1] - clock_s[0]) - span_s
    if steps.max() > max(MAX_GAP_S, 2.0 / fps):
        row = int(steps.argmax())
        message = f"recording paused for {steps[row]:.1f} s after row {row}, the video has a cut there"
        cuts = [i for i, step in enumerate(steps) if step > max(MAX_GAP_S, 2.0 / fps)]
        return [Problem("clock_gap", message if i == row else f"and for {steps[i]:.1f} s after row {i}", None, True, i / fps, (i + 1) / fps) for i in cuts]
    if abs(drift_s) <= min(DRIFT_TOLERANCE_S, max(LEAST_DRIFT_S, DRIFT_TOLERANCE_FRACTION * span_s)):
        return []
    message = f"recorded clock ends {abs(drift_s):.1f} s {'after' if drift_s > 0 else 'before'} the video's of {span_s + 1 / fps:.1f} s"
    if abs(drift_s) > MAX_DRIFT_FRACTION * span_s:
        return [Problem("clock_drift", f"{message}; the declared rate of {fps:g} frames a second is wrong")]
    return [Problem("clock_drift", f"{message}; rows are aligned to frames one by one", fatal=False)]


def _too_coarse(clock_s: np.ndarray, fps: float) -> bool:
    """Whether these are times of the day or the epoch that went through float32, which tells seconds of this century 128 apart."""
    short = clock_s.astype(np.float32)
    return bool(np.isfinite(short).all() and (short == clock_s).all() and (np.diff(clock_s) >= 0).all() and np.spacing(np.abs(short).max()) > 0.5 / fps)


def columns_of(names: Iterable[str], features: tuple[str, ...]) -> list[str]:
    """The column of the first feature that is there, or its parts (`action.arm`, `action.hand`) in name order."""
    names = list(names)
    for feature in features:
        found = [feature] if feature in names else sorted(name for name in names if name.startswith(feature + "."))
        if found:
            return found
    return []


def _matrix(table: pa.Table, names: list[str], dtype) -> np.ndarray:
    """[T, D] from columns of numbers or of equally long lists of numbers; nulls become NaN."""
    parts = [np.zeros((table.num_rows, 0), dtype)]
    for name in names:
        column = table[name].combine_chunks()
        width = 1
        while pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
            lengths = pc.unique(pc.list_value_length(column)).to_pylist()
            if len(lengths) > 1 or None in lengths:
                raise ValueError(f"column {name} has rows of different lengths")
            width *= lengths[0] if lengths else 1
            column = pc.list_flatten(column)
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        parts.append(values.astype(dtype).reshape(table.num_rows, width))
    return np.concatenate(parts, axis=1)


def _scalar(table: pa.Table, name: str) -> np.ndarray:
    values = _matrix(table, [name], np.float64)
    if values.shape[1] == 0:
        raise ValueError(f"column {name} holds empty lists")
    return values[:, 0]


def whole(value: float) -> int | None:
    """A stored index as an integer, None where it is none."""
    return int(value) if math.isfinite(value) and value == int(value) else None
