"""What one more drop costs in a lake of 10 and of 1,000: the whole command, and the library's part of it."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from cosmos_ops.lake import Lake
from cosmos_ops.profiles import Profile, load_profile
from cosmos_ops.shards.validated import TABLES, write_outcomes
from cosmos_ops.shards.write import write_shards
from tests.benchmarks.measuring import Result
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import ready_for_shards

ROOT = Path(__file__).parents[2]
FEW, MANY = 10, 1_000
STAGES = ("landing", "episodes", "quality", "clips", "captions", "shards")


class Home:
    """A `COSMOS_HOME` whose lake holds so many small drops, each of one episode, really ingested by the library."""

    def __init__(self, folder: Path, drops: int, profile: Profile):
        self.folder, self.lake, self.profile = folder, Lake(folder / "home/lake"), profile
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("COSMOS_", "DAGSTER_", "MLFLOW_"))}
        self.environment |= {"COSMOS_HOME": str(folder / "home"), "COSMOS_PROFILE": "nano", "PYTHONPATH": str(ROOT)}
        for number in range(drops):
            name = f"old-{number:04d}"
            log = write_lerobot(folder / "logs" / name, episodes=1, frames=24, height=48, width=64, seed=1000 + number)
            self.ingest(log, name)
            for table in TABLES:
                write_outcomes(self.lake, name, profile.data_fingerprint, table, self.version_of(name, table), [])
        self.command("doctor")  # makes the Dagster instance
        with dg.DagsterInstance.from_config(str(folder / "home/dagster")) as instance:
            names = self.lake.drop_names()
            instance.add_dynamic_partitions("drops", names)
            for name in names:
                for stage in STAGES:
                    instance.report_runless_asset_event(dg.AssetMaterialization(stage, partition=name))

    def version_of(self, drop: str, table: str) -> str:
        from cosmos_ops.lake import read_manifest

        stage = {"cameras": "quality"}.get(table, table)
        return read_manifest(self.lake.drop_stage(drop, stage, None if stage == "episodes" else self.profile.data_fingerprint)).data_version

    def ingest(self, log: Path, name: str) -> None:
        """The library's part."""
        ready_for_shards(self.lake.root, log, self.profile, name, self.lake)
        write_shards(self.lake, name, self.profile)

    def command(self, *arguments: str) -> None:
        done = subprocess.run([sys.executable, "-m", "pipelines", *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]


def ingest_part(folder: Path, quick: bool, result: Result) -> None:
    profile = load_profile("nano")
    many, rounds = (100 if quick else MANY), (1 if quick else 5)
    homes = {FEW: Home(folder / "few", FEW, profile), many: Home(folder / "many", many, profile)}
    ways: dict[str, Callable[[Home, Path, str], None]] = {
        "ingest as a command": lambda home, log, name: home.command("ingest", str(log), "--drop", name),
        "the library's part": lambda home, log, name: home.ingest(log, name),
    }
    ratios = []
    for way, run in ways.items():
        taken: dict[int, list[float]] = {count: [] for count in homes}
        for turn in range(rounds):
            log = write_lerobot(
                folder / f"{len(ratios)}-{turn}", episodes=6, frames=40, height=120, width=160, cameras=("front", "wrist"), seed=turn + 50 * len(ratios)
            )
            for count, home in homes.items():
                started = time.perf_counter()
                run(home, log, f"new-{len(ratios)}-{turn}")
                taken[count].append(time.perf_counter() - started)
        for count, seconds in taken.items():
            result.row(f"{way}: one drop of 6 episodes after {count} others", statistics.median(seconds), "s")
        ratios.append(statistics.median(taken[many]) / statistics.median(taken[FEW]))
    result.ratio("ingest_after_1000_over_10", max(ratios))
    shutil.rmtree(folder / "many", ignore_errors=True)
