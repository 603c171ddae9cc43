"""A step's process or the trainer killed, a lake that cannot be written, a disk that is full: one line or none, nothing lost, and the same bytes at the end."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from cosmos_ops.lake import locked
from tests.fixtures.dev_servers import ROOT, command_of, processes_of, until
from tests.fixtures.lerobot_factory import write_lerobot

pytestmark = pytest.mark.slow

_OWN_MOUNTS = pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True).returncode != 0,
    reason="this system lets no user mount a file system of their own (unshare -rm)",
)


def shards(lake: Path) -> dict[str, str]:
    return {str(path.relative_to(lake)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(lake.rglob("*.tar"))}


def worker_of(home, step: str) -> int | None:
    """Process of a step that has started and not ended."""
    if not (home.path / "dagster/history/runs.db").is_file():
        return None
    # With the lock of whoever opens the instance first: two that make its databases at once spoil them.
    with locked(home.path / "dagster"), dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        for run in instance.get_runs(limit=1):
            for entry in instance.all_logs(run.run_id):
                event = entry.dagster_event
                if event is not None and event.step_key == step and event.event_type_value == "STEP_WORKER_STARTED":
                    return int(event.engine_event_data.metadata["pid"].value)
    return None


def test_a_killed_worker_of_a_step_is_replaced_and_the_bytes_are_the_same(home, recovered, tmp_path, tiny_profile):
    log = write_lerobot(tmp_path / "monday", episodes=10, frames=48)
    undisturbed = type(home)(tmp_path / "undisturbed", tiny_profile)
    undisturbed.run("ingest", str(log))
    process = home.start("ingest", str(log), "--json")
    pid, _ = until(lambda: worker_of(home, "shards"), every_s=0.02)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    told, noted = process.communicate(timeout=300)
    assert process.returncode == 0, noted
    assert "shards was interrupted, tried again" in noted and "Traceback" not in noted
    assert json.loads(told)["clips"] and shards(home.lake) == shards(undisturbed.lake)
    assert home.json("verify")["ok"]
    recovered("kill -9 of a step's worker, to the end of the drop", time.monotonic() - began)


def test_a_killed_trainer_goes_on_from_its_checkpoint(home, log, built_models, tiny_profile, tmp_path, recovered):
    settings = yaml.safe_load(tiny_profile.read_text())
    settings["training"]["overrides"] |= {"steps": 60}
    settings["recipes"] = ["lora-r8"]
    (tmp_path / "longer.yaml").write_text(yaml.safe_dump(settings))
    home = type(home)(home.path, tmp_path / "longer.yaml")
    shutil.copytree(built_models, home.lake / "models")
    home.run("ingest", str(log))
    process = home.start("train", "--json")
    until(lambda: any(len(path.read_text().splitlines()) > 8 for path in home.lake.glob("adapters/*/log.jsonl")), every_s=0.02)
    (trainer,) = [pid for pid in processes_of(home.path) if "cosmos_ops.training" in command_of(pid) and "forkserver" not in command_of(pid)]
    os.kill(trainer, signal.SIGKILL)
    began = time.monotonic()
    told, noted = process.communicate(timeout=300)
    assert process.returncode == 0, noted
    assert "killed by signal 9" in noted and "Traceback" not in noted
    (folder,) = [path.parent for path in home.lake.glob("adapters/*/manifest.json")]
    assert json.loads(told)["adapters"]["lora-r8"]["path"] == str(folder)
    losses = [line["step"] for line in map(json.loads, (folder / "log.jsonl").read_text().splitlines()) if line.get("loss") is not None]
    assert losses == list(range(1, 61)), "each update once"
    recovered("kill -9 of the trainer, to the end of its training", time.monotonic() - began)


def inside(home, script: str, **variables: str) -> subprocess.CompletedProcess:
    """A shell script with mounts of its own; `$OPS` is the command line."""
    environment = home.environment | {"OPS": f"{sys.executable} -m pipelines"} | variables
    return subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)


def state(folder: Path) -> list:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file())


@_OWN_MOUNTS
def test_a_lake_that_cannot_be_written_is_told_in_one_line_and_stays_as_it_is(home, log, tmp_path, recovered):
    home.run("ingest", str(log))
    before = state(home.lake)
    other = write_lerobot(tmp_path / "tuesday", episodes=5, frames=24, seed=4)
    read_only = f"mount --bind {home.lake} {home.lake} && mount -o remount,ro,bind {home.lake} && "
    done = inside(home, f"{read_only} $OPS ingest {other}; echo exit $?; $OPS verify; echo exit $?")
    assert done.stdout.count("exit") == 2 and "exit 0" in done.stdout.splitlines()[-1], done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("cosmos-ops:")]
    assert "Read-only file system" in line and "Traceback" not in done.stderr and done.stdout.splitlines()[0] in ("exit 1", "exit 2")
    assert state(home.lake) == before
    began = time.monotonic()
    home.run("ingest", str(other))
    recovered("read-only lake, the command once it can be written", time.monotonic() - began)


@_OWN_MOUNTS
def test_a_full_disk_is_told_in_one_line_and_the_command_goes_on_with_room(home, log, tmp_path, tiny_profile, recovered):
    undisturbed = type(home)(tmp_path / "undisturbed", tiny_profile)
    undisturbed.run("ingest", str(log))
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    script = f"mount -t tmpfs -o size=96k none {disk}; $OPS ingest {log}; echo exit $?; mount -o remount,size=64m {disk}; date +%s.%N; $OPS ingest {log}; "
    done = inside(home, f"{script} echo exit $?; date +%s.%N; cp -r {disk} {kept}", COSMOS_LAKE=str(disk))
    told = [line for line in done.stdout.splitlines() if line.startswith("exit")]
    assert told == ["exit 1", "exit 0"], done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("cosmos-ops:")]
    assert "No space left on device" in line and "make room" in line and "Traceback" not in done.stderr, done.stderr
    assert shards(kept) == shards(undisturbed.lake)
    times = [float(line) for line in done.stdout.splitlines() if line.replace(".", "").isdigit()]
    recovered("full disk under the lake, the command with room made", times[1] - times[0])
