"""Files that stand for mountains: whatever they declare, reading ends soon, stays within a gigabyte of memory, and says why in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.hostile_factory import CASES
from tests.logs.inspect_hostile import LIMIT_S

MOST_BYTES = 1 << 30
"""Of the whole process, libraries included. Each reader's own bounds stand beside its code: a packed chunk 128 (HDF5) or 256 MiB (bags), a series of
telemetry 64 MiB, a table 512 MiB, a picture 33 million pixels, JSON a million values."""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, dict]:
    command = [sys.executable, "-m", "tests.logs.inspect_hostile", str(tmp_path_factory.mktemp("hostile"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=len(CASES) * LIMIT_S)
    assert done.returncode == 0, done.stderr[-2000:]
    return {told["case"]: told for told in map(json.loads, done.stdout.splitlines())}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_mountain_is_told_in_one_line_and_never_climbed(found, case):
    told = found[case.__name__]
    assert told["outcome"] == "told", told
    assert all(reason and "\n" not in reason for reason in told["reasons"])
    assert told["most_bytes"] < MOST_BYTES
