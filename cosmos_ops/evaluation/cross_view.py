"""Cross-view Sampson error: whether the videos of an episode's cameras show one scene; what measures `cse`."""

from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np

from cosmos_ops.evaluation.metrics.sampson import inlier_errors
from cosmos_ops.evaluation.networks.matching import Matcher
from cosmos_ops.evaluation.networks.weights import weights_hash
from cosmos_ops.evaluation.samples import Sample, real_frames
from cosmos_ops.evaluation.served import Served, Task, Values
from cosmos_ops.progress import Progress

COLUMN, REAL = "cse", "real"


class CrossView:
    """Compares the samples of one window and seed seen by several cameras; see `served.Server`.

    For each two of them matches of the generated frames are pooled and one F is estimated for all. A sample's value is the mean over the pairs it is in;
    it has none where its window has no other camera, or the cameras have too little in common. `real` is the same of the real videos.
    """

    def __init__(self, files: list[Path]):
        self.version = weights_hash(files)
        self.absence: str | None = None
        self._files = files

    def measure(self, task: Task, progress: Progress) -> Served:
        match = Matcher(self._files)
        groups: dict[tuple, list[Sample]] = defaultdict(list)
        for sample in task.samples:
            groups[sample.episode_id, sample.window, sample.seed].append(sample)
        values: dict[str, list[float]] = {sample.sample_key: [] for sample in task.samples}
        floors: dict[str, list[float]] = {sample.sample_key: [] for sample in task.samples}
        known: dict[tuple[str, str], float | None] = {}
        for done, group in enumerate(groups.values()):
            progress(done, len(groups), "comparing cameras")
            for one, other in combinations(group, 2):
                _add(values, one, other, _error(match, task.read, one, other, task.first))
                clips = one.clip_id, other.clip_id
                if clips not in known:
                    known[clips] = _error(match, lambda sample: real_frames(task.lake, sample), one, other, task.first)
                _add(floors, one, other, known[clips])
        return Served(_means(values), {REAL: _means(floors)})


def _error(match: Matcher, read: Callable[[Sample], np.ndarray], one: Sample, other: Sample, first: int) -> float | None:
    videos = [read(sample)[first:] for sample in (one, other)]
    points = [match(left, right) for left, right in zip(*videos, strict=False)]
    found = inlier_errors(*(np.concatenate([pair[side] for pair in points]) for side in (0, 1)))
    return None if found is None else float(found.mean())


def _add(values: dict[str, list[float]], one: Sample, other: Sample, error: float | None) -> None:
    for sample in (one, other):
        values[sample.sample_key] += [] if error is None else [error]


def _means(values: dict[str, list[float]]) -> Values:
    return {key: {COLUMN: float(np.mean(found)) if found else None} for key, found in values.items()}
