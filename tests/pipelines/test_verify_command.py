"""`verify` as a process: exit codes, its JSON object, and that what it advises mends the lake."""

import json
import shlex
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def snapshot(root: Path) -> list:
    return sorted((str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in [root, *root.rglob("*")])


def test_damage_is_named_and_the_command_it_advises_mends_it(home, log):
    home.run("ingest", str(log))
    before = snapshot(home.path)
    clean = home.json("verify")
    assert clean["ok"] and clean["damaged"] == [] and clean["checked"] > 20
    assert home.json("verify", "--drop", "monday")["ok"]
    assert snapshot(home.path) == before

    shard = next(home.lake.rglob("shard-00000.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:3000] + b"?" + whole[3001:])
    done = home.run("verify", "--json", code=1)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    (damage,) = found["damaged"]
    assert not found["ok"] and damage["path"] == shard.relative_to(home.lake).as_posix() and len(damage["clips"]) == 1
    assert damage["clips"][0] in done.stderr and damage["remedy"] in done.stderr

    (shard.parent / "manifest.json").unlink()
    advised = shlex.split(damage["remedy"].split("`")[1])
    assert str(shard.parent / "manifest.json") in damage["remedy"] and advised[0] == "cosmos-ops"
    home.run(*advised[1:])
    assert shard.read_bytes() == whole and home.json("verify")["ok"]


def test_without_a_lake_it_says_so_and_makes_none(home):
    assert "there is no lake" in home.run("verify", code=2).stderr
    assert not home.path.exists()
