"""`cosmos-ops simulate` as a user runs it: a subprocess, its exit codes, its JSON, its help."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cosmos_ops.simulate.drops import FORMATS, MARKER
from cosmos_ops.simulate.robots import ROBOTS, simulator

ROOT = Path(__file__).parents[2]
SMALL = ("--height", "64", "--width", "96")


@pytest.fixture
def command(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COSMOS_", "DAGSTER_", "MLFLOW_"))}

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", "simulate", *arguments],
            env={**kept, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"exit {done.returncode}, expected {code}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.mark.slow
def test_a_drop_is_written_once_and_told_of_as_json(command, tmp_path):
    arguments = ("out", "--episodes", "4", "--seed", "5", "--format", "ros2-mcap", "--faults", "frozen, gap", "--cameras", "front", *SMALL)
    done = command(*arguments, "--json")
    told = json.loads(done.stdout)
    assert told == {
        "path": str(tmp_path / "out"),
        "robot": "tabletop",
        "format": "ros2-mcap",
        "seed": 5,
        "episodes": 4,
        "planted": json.loads((tmp_path / "out" / MARKER).read_text())["planted"],
        "unchanged": False,
    }
    assert {(item["fault"], item["camera"]) for item in told["planted"]} == {("frozen", "front"), ("gap", None)}
    assert "4/4 out" in done.stderr and len(list((tmp_path / "out").glob("episode_*/*.mcap"))) == 4
    again = command(*arguments, "--json")
    assert json.loads(again.stdout) == {**told, "unchanged": True} and "nothing to do" in again.stderr


@pytest.mark.slow
def test_help_lists_what_there_is_to_choose_from(command):
    told = command("--help").stdout
    for name in (*ROBOTS, *FORMATS, *(fault for faults in FORMATS.values() for fault in faults)):
        assert name in told
    assert all(camera in told for name in ROBOTS for camera in simulator(name).cameras)


@pytest.mark.slow
def test_bad_input_is_one_line_and_exit_code_2(command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for arguments, message in (
        (("out", "--faults", "gap,gremlins"), "fault 'gremlins' is unknown"),
        (("file/out", "--episodes", "1", *SMALL), "choose another"),
    ):
        done = command(*arguments, "--json", code=2)
        lines = [line for line in done.stderr.splitlines() if line.startswith("cosmos-ops: ")]
        assert len(lines) == 1 and message in lines[0]
        assert json.loads(done.stdout)["error"] in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
