"""The drops that the demo runs on: one robot, two days, two log formats, a few planted faults. They come with the package, made by the simulator."""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from cosmos_ops.errors import UserError
from cosmos_ops.progress import Progress, silent
from cosmos_ops.simulate.drops import MARKER, write_drop
from cosmos_ops.simulate.faults import Planted

ROBOT, HEIGHT_PX, WIDTH_PX, CRF, SEED = "aloha", 96, 160, 25, 0
DROPS = (
    ("demo-monday", "lerobot-v2.1", 42, ("too_short", "frozen", "truncated_video", "missing_video")),
    ("demo-tuesday", "lerobot-v3.0", 28, ("too_short", "black", "frozen")),
)
"""Name, log format, episodes and faults, in order of arrival. The second brings enough training episodes to make a retraining due."""
SHIPPED = Path(__file__).with_name("demo_drops")
LIMIT_BYTES = 6_000_000
"""Both drops together: they are part of every clone."""


@dataclass(frozen=True)
class DemoDrop:
    """A drop folder and what is known to be wrong in it."""

    name: str
    path: Path
    planted: tuple[Planted, ...]


def demo_drops(folder: Path = SHIPPED) -> list[DemoDrop]:
    """The drops in `folder`, in order of arrival; nothing is written. Raises `UserError` where one is missing or damaged."""
    return [DemoDrop(name, Path(folder) / name, _planted(Path(folder) / name)) for name, *_ in DROPS]


def write_demo_drops(folder: Path, progress: Progress = silent) -> list[DemoDrop]:
    """Make the drops below `folder` with the simulator, or leave them untouched where they are there already."""
    total, before = sum(episodes for _, _, episodes, _ in DROPS), 0
    for number, (name, fmt, episodes, faults) in enumerate(DROPS):

        def report(done: int, _: int, note: str, before: int = before) -> None:
            progress(before + done, total, note)

        # Each day has scenes of its own: a seed of its own.
        seed = SEED * len(DROPS) + number
        write_drop(Path(folder) / name, seed, episodes, fmt, faults, robot=ROBOT, height_px=HEIGHT_PX, width_px=WIDTH_PX, crf=CRF, progress=report)
        before += episodes
    return demo_drops(folder)


def _planted(path: Path) -> tuple[Planted, ...]:
    try:
        return tuple(Planted(**item) for item in json.loads((path / MARKER).read_text())["planted"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = f"restore it, or make both again: python -m cosmos_ops.simulate.demo {path.parent}"
        raise UserError(f"the demo's drop {path} is missing or damaged ({error}); {remedy}") from None


def main() -> int:
    """`python -m cosmos_ops.simulate.demo OUT`."""
    parser = argparse.ArgumentParser(prog="python -m cosmos_ops.simulate.demo", description="Make the demo's drops with the simulator")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write them below")
    try:
        made = write_demo_drops(parser.parse_args().out, lambda done, total, note: print(f"{done}/{total} {note}", file=sys.stderr))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    sizes = {drop.name: sum(file.stat().st_size for file in drop.path.rglob("*") if file.is_file()) for drop in made}
    for drop in made:
        faults = ", ".join(f"{item.fault} in episode {item.episode_index}" for item in drop.planted)
        print(f"{drop.path}: {sizes[drop.name] / 1e6:.2f} MB, {faults}")
    if sum(sizes.values()) > LIMIT_BYTES:
        print(f"together {sum(sizes.values()) / 1e6:.2f} MB: too large to ship, the limit is {LIMIT_BYTES / 1e6:g} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
