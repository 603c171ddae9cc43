import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cosmos_ops.lake import Lake, read_manifest
from cosmos_ops.shards import work
from cosmos_ops.shards.write import write_shards

ROOT = Path(__file__).parents[2]


def killed_at(place: str, home: Path) -> None:
    """Run the writer in a process of its own and end it, without a word of warning, at `place`."""
    command = [sys.executable, "-m", "tests.shards.kill_me", str(home), place]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "here\n", process.stderr.read()
        finally:
            process.kill()


@pytest.mark.parametrize(("place", "whole"), [("clip", 1), ("tar", 1), ("index", 5)])
def test_a_killed_run_continues_and_gives_the_same_bytes(tmp_path, planned, sharded, profile, place, whole, monkeypatch):
    lake = Lake(shutil.copytree(planned.root, tmp_path / "lake"))
    folder = lake.drop_stage("toy", "shards", profile.data_fingerprint)
    killed_at(place, lake.root)
    assert read_manifest(folder) is None
    left = {path.name: path.stat() for path in sorted(folder.glob("*.tar"))}
    assert list(left) == [f"shard-{number:05d}.tar" for number in range(whole)], "only whole tars carry a shard's name"

    transcoded = []
    original = work._transcode_run
    monkeypatch.setattr(work, "_transcode_run", lambda *arguments: transcoded.extend(arguments[1][0].clips) or original(*arguments))
    steps = []
    manifest = write_shards(lake, "toy", profile, lambda done, total, note: steps.append((done, total)))

    _, uninterrupted = sharded
    assert manifest.files == uninterrupted.files and manifest.data_version == uninterrupted.data_version
    assert steps[0] == (whole * 8 if whole < 5 else 36, 36) and steps[-1] == (36, 36)
    assert len(transcoded) == 36 - steps[0][0], "what was whole is not made again"
    for name, stat in left.items():
        assert (folder / name).stat().st_ino == stat.st_ino and (folder / name).stat().st_mtime_ns == stat.st_mtime_ns
    assert not list(folder.glob(".*.part-*")), "nothing half is left"


def test_a_tar_damaged_while_the_run_was_down_is_made_again(tmp_path, planned, sharded, profile):
    lake = Lake(shutil.copytree(planned.root, tmp_path / "lake"))
    killed_at("index", lake.root)
    damaged = lake.drop_stage("toy", "shards", profile.data_fingerprint) / "shard-00002.tar"
    damaged.write_bytes(damaged.read_bytes()[:-700])
    assert write_shards(lake, "toy", profile).files == sharded[1].files
