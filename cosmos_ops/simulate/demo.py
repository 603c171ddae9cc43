"""The two drops that the demo runs on: one robot, two days, two log formats, a few planted faults."""

from dataclasses import dataclass
from pathlib import Path

from cosmos_ops.progress import Progress, silent
from cosmos_ops.simulate.drops import write_drop
from cosmos_ops.simulate.faults import Planted

_DROPS = (
    ("demo-monday", "lerobot-v2.1", 16, ("too_short", "frozen", "truncated_video", "missing_video")),
    ("demo-tuesday", "lerobot-v3.0", 15, ("too_short", "black", "frozen")),
)


@dataclass(frozen=True)
class DemoDrop:
    """A drop folder and what is known to be wrong in it."""

    name: str
    path: Path
    planted: tuple[Planted, ...]


def write_demo_drops(folder: Path, seed: int = 0, progress: Progress = silent) -> list[DemoDrop]:
    """Write both drops below `folder`, or leave them untouched where they are there already.

    Sized for the `nano` profile (17 frames at 8 fps, non-overlapping). An episode has 36 to 47 frames, so two windows a
    camera; two cameras; 12 episodes a drop are clean, one is too short to keep, the others lose one camera:

    | drop    | episodes | kept | clips                   | test episodes, clips | validation episodes |
    |---------|----------|------|-------------------------|----------------------|---------------------|
    | monday  | 16       | 15   | 12 x 2 x 2 + 3 x 2 = 54 | 2, 4 to 8            | 2                   |
    | tuesday | 15       | 14   | 12 x 2 x 2 + 2 x 2 = 52 | 2, 4 to 8            | 1                   |

    Of 106 clips at most 88 are for training, whichever episodes the split picks; with seed 0: 80 train, 10 validation, 16 test.
    """
    sizes = [episodes for _, _, episodes, _ in _DROPS]
    made = []
    for number, (name, fmt, episodes, faults) in enumerate(_DROPS):
        before = sum(sizes[:number])

        def report(done: int, total: int, note: str, before: int = before) -> None:
            progress(before + done, sum(sizes), note)

        # Each day has scenes of its own: seeds of different calls never meet.
        planted = write_drop(Path(folder) / name, seed * len(_DROPS) + number, episodes, fmt, faults, progress=report)
        made.append(DemoDrop(name, Path(folder) / name, planted))
    return made
