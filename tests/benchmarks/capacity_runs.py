"""Whole runs of the command line on simulated drops, with the processor time of every step."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import yaml

ROOT = Path(__file__).parents[2]
_POLL_S = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
STAGE_OF = {
    "landing": "index", "episodes": "index", "quality": "quality", "clips": "clips", "captions": "captions", "shards": "shards", "dataset": "dataset",
    "evaluation_set": "dataset", "latents": "latents", "adapter": "training", "generations": "generation", "scores": "scoring", "inverse_dynamics": "scoring",
    "leaderboard": "scoring", "champion": "scoring",
}  # fmt: skip


@dataclass
class Taken:
    """What a run took: processor and wall seconds by stage, `runs` being what Dagster and the command took beside its steps."""

    core_s: dict[str, float] = field(default_factory=dict)
    wall_s: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, core_s: float, wall_s: float) -> None:
        self.core_s[stage] = self.core_s.get(stage, 0.0) + core_s
        self.wall_s[stage] = self.wall_s.get(stage, 0.0) + wall_s


class Home:
    """A `COSMOS_HOME` in which commands are run and measured."""

    def __init__(self, folder: Path, profile: dict):
        self.folder = folder
        folder.mkdir(parents=True)
        self.profile = folder / "profile.yaml"
        self.profile.write_text(yaml.safe_dump(profile))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COSMOS_", "DAGSTER_", "MLFLOW_"))}
        self.environment = kept | {"COSMOS_HOME": str(folder / "home"), "COSMOS_PROFILE": str(self.profile), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    @property
    def lake(self) -> Path:
        return self.folder / "home/lake"

    def command(self, *arguments: str) -> Taken:
        """Run a command; what it took."""
        began = time.perf_counter()
        # Only the library's own lines go to a file: a full pipe would stop it.
        with open(self.folder / "log", "a") as log:
            process = subprocess.Popen([sys.executable, "-m", "pipelines", *arguments], cwd=ROOT, env=self.environment, stdout=log, stderr=log)
            with _followed(process.pid) as seen:
                process.wait()
        assert process.returncode == 0, (self.folder / "log").read_text()[-3000:]
        wall = time.perf_counter() - began
        taken, busy_s = self._by_stage({pid: own + waited for pid, (own, waited) in seen.items()})
        taken.add("runs", sum(own for own, _ in seen.values()) - sum(taken.core_s.values()), wall - busy_s)
        return taken

    def stored_bytes(self, below: str) -> int:
        """Bytes of the files in a folder of the home."""
        return sum(path.stat().st_size for path in (self.folder / "home" / below).rglob("*") if path.is_file() and not path.is_symlink())

    def _by_stage(self, seen: dict[int, float]) -> tuple[Taken, float]:
        """Steps of the newest run, each by its process; a step whose process was not seen would make the figures wrong, so it is an error."""
        taken = Taken()
        with dg.DagsterInstance.from_config(str(self.folder / "home/dagster")) as instance:
            runs = instance.get_runs(limit=1)
            events = instance.all_logs(runs[0].run_id) if runs else []
        pids, starts, spans = {}, {}, []
        for entry in events:
            event = entry.dagster_event
            if event is None or event.step_key is None:
                continue
            if event.event_type_value == "STEP_WORKER_STARTED":
                pids[event.step_key], starts[event.step_key] = int(event.engine_event_data.metadata["pid"].value), entry.timestamp
            elif event.event_type_value == "STEP_SUCCESS":
                stage = STAGE_OF[event.step_key.rpartition("__")[2]]
                taken.add(stage, seen[pids[event.step_key]], entry.timestamp - starts[event.step_key])
                spans.append((starts[event.step_key], entry.timestamp))
        return taken, _covered(spans)


def _covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of some spans."""
    covered, reached = 0.0, 0.0
    for start, stop in sorted(spans):
        covered += max(0.0, stop - max(start, reached))
        reached = max(reached, stop)
    return covered


@contextlib.contextmanager
def _followed(root: int) -> Iterator[dict[int, tuple[float, float]]]:
    """Processor seconds of `root` and each process below it, its own and those of the children it waited for, as last seen before it ended."""
    seen: dict[int, tuple[float, float]] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(_POLL_S):
            parents: dict[int, int] = {}
            spent: dict[int, tuple[float, float]] = {}
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    parents[int(pid)], spent[int(pid)] = int(fields[1]), (sum(map(int, fields[11:13])) / _TICKS, sum(map(int, fields[13:15])) / _TICKS)
            for pid in parents:
                above = pid
                while above not in (root, 0, 1):
                    above = parents.get(above, 0)
                if above == root:
                    seen[pid] = spent[pid]

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
