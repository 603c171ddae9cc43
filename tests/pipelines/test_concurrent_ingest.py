"""Two `ingest` processes at once, in one lake and on one Dagster instance."""

import hashlib
import json
import subprocess
import sys

import dagster as dg
import pytest

from tests.fixtures.lerobot_factory import write_lerobot
from tests.pipelines.conftest import ROOT

pytestmark = pytest.mark.slow


def files(home) -> dict[str, str]:
    """What the lake's drops hold, registrations and check results aside: those name this home or a moment."""
    kept = [path for path in sorted(home.lake.rglob("*")) if path.is_file() and not path.name.startswith(".") and path.name not in ("drop.json",)]
    return {str(path.relative_to(home.lake)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept if "checks" not in path.parts}


def finished(processes) -> list[dict]:
    told = []
    for process in processes:
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, err[-3000:]
        told.append(json.loads(out.strip().splitlines()[-1]))
    return told


def test_two_drops_at_once_are_as_one_after_the_other(home, log, tmp_path, tiny_profile):
    other = write_lerobot(tmp_path / "tuesday", episodes=6, frames=24, seed=3)
    told = finished([home.start("ingest", str(path), "--json") for path in (log, other)])
    assert [(one["drop"], one["unchanged"], one["clips"]) for one in told] == [("monday", False, 12), ("tuesday", False, 12)]
    in_turn = type(home)(tmp_path / "in-turn", tiny_profile)
    for path in (log, other):
        in_turn.run("ingest", str(path))
    assert files(home) == files(in_turn)
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        assert sorted(instance.get_dynamic_partitions("drops")) == ["monday", "tuesday"]
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS] * 2
    assert home.json("verify")["ok"]


def test_one_drop_twice_at_once_is_made_once(home, log):
    told = finished([home.start("ingest", str(log), "--json") for _ in range(2)])
    assert told[0] == {**told[1], "unchanged": told[0]["unchanged"]} and told[0]["clips"] == 12
    leftover = [path for path in home.lake.rglob("*") if ".tmp-" in path.name or ".part-" in path.name]
    assert not leftover and home.json("verify")["ok"]


def test_a_new_home_is_opened_by_several_processes_at_once(home):
    opens = "from pipelines.environments import environment, prepare; from pipelines.instance import open_instance; env = environment(); prepare(env); "
    opens += "print(open_instance(env).get_runs_count())"
    started = [subprocess.Popen([sys.executable, "-c", opens], env=home.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=300)[0] for process in started] == ["0\n"] * 4
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        assert instance.get_runs_count() == 0
