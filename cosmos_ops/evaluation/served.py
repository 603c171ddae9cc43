"""What measures metrics that need more than two videos: a model trained on the dataset, or an endpoint elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from cosmos_ops.evaluation.samples import Sample
from cosmos_ops.lake import Lake
from cosmos_ops.progress import Progress

Values = dict[str, dict[str, float | None]]
"""Sample key -> column -> value, None where a sample has none."""


@dataclass(frozen=True)
class Task:
    """The videos to measure."""

    lake: Lake
    samples: list[Sample]
    read: Callable[[Sample], np.ndarray]
    """A sample's generated video, uint8 [T, H, W, 3]."""
    first: int
    """Index of the first frame that was generated."""
    columns: tuple[str, ...]
    """What is asked for; a server may know more."""


@dataclass(frozen=True)
class Served:
    """What came back."""

    values: Values
    references: dict[str, Values] = field(default_factory=dict)
    """`real` or `constant` -> what that would score."""
    about: dict[str, Any] = field(default_factory=dict)
    """Kept with the scores: replies that could not be read, what it cost."""


class Server(Protocol):
    """Something that measures `ServedMetric`s."""

    version: str
    """Hash of everything that decides its values; part of the scores' key."""
    absence: str | None
    """Why it measures nothing here; None where it does."""

    def measure(self, task: Task, progress: Progress) -> Served: ...
