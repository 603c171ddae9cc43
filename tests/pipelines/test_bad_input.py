"""Wrong use: one clear line, exit code 2, nothing written."""

import json

import pytest

from tests.fixtures.lerobot_factory import write_lerobot


def line(done) -> str:
    """The one line a failure consists of."""
    told = [text for text in done.stderr.splitlines() if text.startswith("cosmos-ops: ")]
    assert len(told) == 1 and "Traceback" not in done.stderr, done.stderr
    return told[0]


@pytest.mark.parametrize("command", ["inspect", "ingest"])
def test_a_path_that_is_not_there(home, command):
    assert "/nowhere does not exist" in line(home.run(command, "/nowhere", code=2))


def test_an_empty_folder(home, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty folder" in line(home.run("ingest", str(tmp_path / "empty"), code=2))


def test_an_unknown_format(home, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/readme.txt").write_text("no robot here")
    assert "no known log format" in line(home.run("inspect", str(tmp_path / "notes"), code=2))


def test_a_broken_index(home, tmp_path):
    root = write_lerobot(tmp_path / "broken", episodes=2, frames=20)
    (root / "meta/info.json").write_text('{"codebase_version": "v2.1", ')
    assert "info.json" in line(home.run("inspect", str(root), code=2))


def test_a_drop_name_that_leaves_the_lake(home, log):
    assert "../elsewhere" in line(home.run("ingest", str(log), "--drop", "../elsewhere", code=2))


def test_an_unknown_recipe_names_the_known_ones(home):
    assert "lora-r8" in line(home.run("run", "--recipe", "lora-r9000", code=2))


def test_a_profile_with_a_mistyped_setting(home, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(home.profile.read_text().replace("height:", "heigth:"))
    done = type(home)(home.path, bad).run("run", code=2)
    assert "heigth" in line(done)


def test_running_without_data_says_what_to_do_and_is_a_failure_of_work(home):
    assert "cosmos-ops ingest" in line(home.run("run", code=1))


def test_force_needs_a_reason(home):
    assert "--reason" in line(home.run("promote", "1", "--force", code=2))


def test_a_failure_is_json_too(home):
    done = home.run("inspect", "/nowhere", "--json", code=2)
    assert "/nowhere does not exist" in json.loads(done.stdout)["error"]


def test_inspect_writes_nothing(home, log):
    before = sorted((path, path.stat().st_mtime_ns) for path in log.rglob("*"))
    found = home.json("inspect", str(log))
    assert found["found_episodes"] == 6 and all(episode["accepted"] for episode in found["episodes"])
    assert sorted((path, path.stat().st_mtime_ns) for path in log.rglob("*")) == before
    assert not home.path.exists()
