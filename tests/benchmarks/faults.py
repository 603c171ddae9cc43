"""Precision and recall of the quality stage against faults that the simulator planted.

A drop holds one episode of each fault that its format allows, the rest is clean. Of every seed the episodes are simulated once and written several
times with other faults on them (`--plans`), in small pictures: what is judged is judged small. A fault counts as found where the verdicts name it on
the episode and camera that it was planted on, whether it rejects, costs a stretch or is corrected; it counts as a false alarm where its code is named
on anything else. Consequences are not alarms: an episode without a good camera is `no_usable_camera` too.

    python tests/benchmarks/faults.py [--seeds 507,508] [--robots tabletop,aloha] [--formats lerobot-v2.1] [--episodes 24] [--plans 2] [--height 160]
                                      [--quick] [--json]

Robots other than the tabletop are filmed with OpenGL and take minutes a drop; their episodes, like all, are simulated once a seed and kept in memory.
"""

import argparse
import dataclasses
import functools
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cosmos_ops.logs import open_log
from cosmos_ops.profiles import Profile, load_profile
from cosmos_ops.quality.verdicts import EpisodeVerdict, judge
from cosmos_ops.simulate.drops import FORMATS, write_requested
from cosmos_ops.simulate.faults import Planted, plan_faults
from cosmos_ops.simulate.file_faults import UNREAL_CAMERA
from cosmos_ops.simulate.request import drop_request
from cosmos_ops.simulate.robots import simulator

FOUND_BY = {
    "truncated_video": ("unreadable",),
    "truncated_file": ("damaged_log", "unreadable_file", "message_count", "unreadable", "missing_video"),
    "gap": ("clock_gap",),
    "duplicate": ("duplicate_episode",),
    "near_duplicate": ("near_duplicate",),
    "wrong_metadata": ("frame_count", "odd_rate", "missing_video", "frame_rate"),
}
"""Fault -> codes that name it, where they are not its own name."""
_COLUMNS = ("planted", "found", "false", "precision", "recall")
FORMAT_DEFAULTS = tuple(FORMATS)
_FAULTS = sorted({fault for faults in FORMATS.values() for fault in faults})
_SIDE_EFFECTS = {"truncated_file": {"clock_gap", "trimmed", "too_short", "clock_drift", "not_finite", "stale_telemetry"}, "gap": {"missing_frames"}}
"""What a broken file does besides to the part that is left."""


@dataclass
class Score:
    """Counts of one fault."""

    planted: int = 0
    found: int = 0
    false: int = 0
    missed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def recall(self) -> float:
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.false) if self.found + self.false else 1.0


@dataclass
class Scores:
    faults: dict[str, Score] = field(default_factory=dict)
    clean: int = 0
    clean_accepted: int = 0

    def of(self, fault: str) -> Score:
        return self.faults.setdefault(fault, Score())


def codes_of(fault: str) -> tuple[str, ...]:
    return FOUND_BY.get(fault, (fault,))


def measure(
    seeds: Sequence[int],
    robots: Sequence[str] = ("tabletop",),
    formats: Sequence[str] = FORMAT_DEFAULTS,
    episodes: int = 24,
    plans: int = 1,
    profile: Profile | None = None,
    height_px: int = 96,
) -> Scores:
    """Simulate, spoil, judge, compare. `plans` drops of each format are written of a seed's episodes."""
    profile, scores = profile or load_profile("nano"), Scores()
    for robot in robots:
        for seed in seeds:
            record = functools.cache(simulator(robot).record)  # the episodes of one seed are held in memory
            for fmt in formats:
                for plan in range(plans):
                    request = drop_request(seed, episodes, fmt, False, robot, height_px=height_px)
                    planted = plan_faults(FORMATS[fmt], episodes, request.cameras, 1000 * plan + seed, fmt)
                    with tempfile.TemporaryDirectory() as folder:
                        root = Path(folder) / "drop"
                        write_requested(root, dataclasses.replace(request, planted=planted), record=record)
                        reader = open_log(root)
                        verdicts = judge(reader, reader.episodes(), profile)
                    compare(scores, verdicts, planted, f"{robot} {fmt} seed {seed} plan {plan}")
                    so_far = {fault: (score.found, score.planted, score.false) for fault, score in sorted(scores.faults.items())}
                    print(f"{robot} {fmt} seed {seed} plan {plan}: (found, planted, false) so far {so_far}", file=sys.stderr, flush=True)
    return scores


def compare(scores: Scores, verdicts: Sequence[EpisodeVerdict], planted: Sequence[Planted], where: str) -> None:
    """Count what was found, missed and named wrongly in one drop."""
    truth = {item.episode_index: item for item in planted}
    for verdict in verdicts:
        item = truth.get(verdict.episode.index)
        named = {(None, problem.code) for problem in verdict.problems} | {(one.name, problem.code) for one in verdict.cameras for problem in one.problems}
        right = {(camera, code) for camera, code in named if item is not None and _explains(item, camera, code)}
        if item is None:
            scores.clean += 1
            scores.clean_accepted += verdict.accepted and all(camera.accepted for camera in verdict.cameras)
        else:
            score = scores.of(item.fault)
            score.planted += 1
            found = any(code in codes_of(item.fault) for _, code in right)
            score.found += found
            if not found:
                score.missed.append(f"{where} episode {item.episode_index} {item.camera or ''}: {sorted(named, key=str)}")
        for camera, code in sorted(named - right, key=str):
            for fault in (fault for fault in _FAULTS if code in codes_of(fault)):
                if fault != (item.fault if item else None) or code not in _SIDE_EFFECTS.get(fault, ()):
                    scores.of(fault).false += 1
                    scores.of(fault).wrong.append(f"{where} episode {verdict.episode.index} {camera or ''}: {code} on {item.fault if item else 'clean'}")
    gone = truth.keys() - {verdict.episode.index for verdict in verdicts}
    assert not gone, f"{where}: episodes {sorted(gone)} are lost"


def _explains(item: Planted, camera: str | None, code: str) -> bool:
    """Whether this fault is why that code is named on that camera."""
    if code in _SIDE_EFFECTS.get(item.fault, ()):
        return True
    if code not in codes_of(item.fault):
        return False
    if item.fault == "wrong_metadata" and code == "missing_video":
        return camera == UNREAL_CAMERA
    return item.camera is None or camera == item.camera


def table(scores: Scores) -> list[tuple[str, int, int, int, float, float]]:
    """(fault, planted, found, false alarms, precision, recall), by fault."""
    rows = sorted(scores.faults.items())
    return [(fault, score.planted, score.found, score.false, score.precision, score.recall) for fault, score in rows if score.planted or score.false]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="507,508,509,510")
    parser.add_argument("--robots", default="tabletop")
    parser.add_argument("--formats", default=",".join(FORMAT_DEFAULTS))
    parser.add_argument("--episodes", type=int, default=24, help="of a drop; 22 or more, so that there are clean ones")
    parser.add_argument("--plans", type=int, default=1, help="drops that are made of the same episodes, with other faults")
    parser.add_argument("--height", type=int, default=96, help="of the pictures, in pixels")
    parser.add_argument("--quick", action="store_true", help="one seed, one plan, LeRobot only")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    given = parser.parse_args()
    seeds, formats, plans = [int(seed) for seed in given.seeds.split(",")], given.formats.split(","), given.plans
    if given.quick:
        seeds, formats, plans = seeds[:1], formats[:1], 1
    scores = measure(seeds, given.robots.split(","), formats, given.episodes, plans, height_px=given.height)
    print(f"{'fault':<16} {'planted':>7} {'found':>6} {'false':>6} {'precision':>10} {'recall':>7}")
    for fault, planted, found, false, precision, recall in table(scores):
        print(f"{fault:<16} {planted:>7} {found:>6} {false:>6} {precision:>10.3f} {recall:>7.3f}")
    print(f"clean episodes accepted with all cameras: {scores.clean_accepted} of {scores.clean}")
    for fault, score in sorted(scores.faults.items()):
        for line in (*(f"missed: {line}" for line in score.missed), *(f"false: {line}" for line in score.wrong)):
            print(f"  {fault} {line}", file=sys.stderr)
    if given.json:
        rows = [
            {"name": f"{fault} {name}", "value": value, "unit": ""} for fault, *values in table(scores) for name, value in zip(_COLUMNS, values, strict=True)
        ]
        ratios = {f"{fault}_{name}": getattr(score, name) for fault, score in sorted(scores.faults.items()) for name in ("precision", "recall")}
        ratios["clean_accepted"] = scores.clean_accepted / max(1, scores.clean)
        print(json.dumps({"machine": {"processor": platform.machine(), "python": platform.python_version()}, "rows": rows, "ratios": ratios}))


if __name__ == "__main__":
    main()
