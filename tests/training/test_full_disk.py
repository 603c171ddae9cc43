"""A disk that fills up while a training runs: one line, what was whole stays whole, and the same command goes on to the same bits."""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cosmos_ops.errors import WorkFailed
from cosmos_ops.training.checkpoint import FOLDER
from cosmos_ops.training.config import read_config
from cosmos_ops.training.export import export_for_diffusers
from cosmos_ops.training.journal import read_log
from cosmos_ops.training.run import train_inline
from cosmos_ops.training.work import train_adapter
from tests.training.conftest import ROOT
from tests.training.tiny_job import tiny_job


@contextlib.contextmanager
def no_file_above(limit_bytes: int):
    """The system refuses to let any file of this process grow further, as a full disk or a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("what", ["checkpoint", "log"])
def test_what_was_whole_stays_and_training_goes_on_to_the_same_bits(tmp_path, what):
    settings = {"steps": 9, "checkpoint_minutes": 0.0}
    straight = tiny_job(tmp_path / "straight", **settings)
    train_inline(straight)
    job = tiny_job(tmp_path / "full", **settings)
    with contextlib.ExitStack() as full:

        def report(seen) -> None:
            if seen.step == 5:
                limit = 4096 if what == "checkpoint" else (job.output / "log.jsonl").stat().st_size
                full.enter_context(no_file_above(limit))

        with pytest.raises(WorkFailed, match=r"cannot be written \(.*File too large.*\); make room there, then run the same command again"):
            train_adapter(read_config(job.config_path), report, lambda: False)
    assert sorted(path.name for path in (job.output / FOLDER).glob("state-*")) == [f"state-{step:08d}.safetensors" for step in (4, 5)]
    assert not [path for path in job.output.rglob("*.part-*")], "nothing half written is left to fill the disk"
    steps = []
    train_adapter(read_config(job.config_path), lambda seen: steps.append(seen.step), lambda: False)
    assert steps[0] == 5
    ours, theirs = (load_file(output / "adapter_model.safetensors") for output in (job.output, straight.output))
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert [row["step"] for row in read_log(job.output) if "loss" in row] == list(range(1, 10))


def test_an_export_that_does_not_fit_leaves_the_file_that_was_there(tmp_path):
    job = tiny_job(tmp_path / "lake", steps=2)
    train_inline(job)
    target = tmp_path / "out.safetensors"
    target.write_text("mine")
    with no_file_above(2048), pytest.raises(WorkFailed, match="make room there"):
        export_for_diffusers(job.output, target)
    assert target.read_text() == "mine" and list(tmp_path.glob(".*part*")) == []


MOUNT = "mount -t tmpfs -o size={} none {}"
RUN = '{} -m tests.training.two_processes --config {}; echo "exit $?" >&2'


@pytest.mark.slow
@pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "sh", "-c", MOUNT.format("1m", "/mnt")], capture_output=True).returncode != 0,
    reason="this system lets no user mount a file system of their own",
)
def test_on_a_file_system_that_is_really_full(tmp_path):
    job = tiny_job(tmp_path / "lake", steps=60, checkpoint_minutes=0.0)
    config = Path(job.config_path).rename(tmp_path / "job.json")
    disk, program = job.output.parent, RUN.format(sys.executable, config)
    steps = [
        MOUNT.format("64k", disk),
        program,
        MOUNT.format("32m", disk).replace("-t tmpfs -o ", "-o remount,"),
        program,
        f"cp {job.output}/log.jsonl {tmp_path}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["unshare", "-rm", "sh", "-c", "; ".join(steps)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=540)
    lines = done.stderr.strip().splitlines()
    first = lines.index("exit 1")
    assert "No space left on device" in lines[first - 1] and "make room there" in lines[first - 1]
    assert "Traceback" not in done.stderr and lines[-1] == "exit 0"
    assert [row["step"] for row in read_log(tmp_path) if "loss" in row] == list(range(1, 61))
