"""Registration of drops: by content, immutable, never leading out of their folder."""

import json
import os
import shutil
import threading

import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.logs import drops
from cosmos_ops.logs.drops import check_unchanged, load_drop, register_drop, slug
from tests.fixtures.lerobot_factory import write_lerobot


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


@pytest.fixture
def source(tmp_path):
    return write_lerobot(tmp_path / "Toy Arm (May)", episodes=2, frames=12, height=32, width=32)


def contents(lake):
    return {path: path.stat().st_mtime_ns for path in lake.root.rglob("*") if not path.name.endswith(".lock")}


def refused(lake, *args, **options) -> str:
    before = contents(lake)
    with pytest.raises(UserError) as caught:
        register_drop(lake, *args, **options)
    assert "\n" not in str(caught.value)
    assert contents(lake) == before, "a refusal leaves nothing behind"
    return str(caught.value)


def test_a_drop_is_registered_in_place(lake, source):
    drop, new = register_drop(lake, source)
    assert new
    assert (drop.name, drop.uri, drop.format, drop.format_version, drop.robot) == ("toy-arm-may", str(source), "lerobot", "v2.1", "toy-arm")
    assert not drop.copied
    assert sorted(drop.files) == sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    assert load_drop(lake, "toy-arm-may") == drop
    assert lake.drop_names() == ["toy-arm-may"]
    check_unchanged(lake, drop)


def test_the_second_time_nothing_is_touched(lake, source):
    drop, _ = register_drop(lake, source)
    before = contents(lake)
    assert register_drop(lake, source) == (drop, False)
    assert contents(lake) == before


def test_equal_content_has_an_equal_fingerprint_elsewhere(tmp_path, lake, source):
    shutil.copytree(source, tmp_path / "elsewhere")
    (tmp_path / "elsewhere/.DS_Store").write_text("no part of the drop")
    first, _ = register_drop(lake, source)
    second, _ = register_drop(Lake(tmp_path / "other lake"), tmp_path / "elsewhere")
    assert first.fingerprint == second.fingerprint


def test_a_copied_drop_lives_in_the_lake_and_moves_with_it(tmp_path, lake, source):
    drop, new = register_drop(lake, source, "toy", copy=True)
    shutil.rmtree(source)
    assert new and drop.copied and drop.uri == str(lake.drop("toy") / "source")
    check_unchanged(lake, drop)
    lake.root.rename(tmp_path / "moved")
    moved = Lake(tmp_path / "moved")
    check_unchanged(moved, load_drop(moved, "toy"))
    assert load_drop(moved, "toy").uri == str(tmp_path / "moved/drops/toy/source")


@pytest.mark.parametrize("damage", ["change", "add", "remove"])
def test_a_drop_that_changed_is_refused_with_a_free_name(lake, source, damage):
    drop, _ = register_drop(lake, source, "toy")
    path = source / "data/chunk-000/episode_000000.parquet"
    if damage == "change":
        facts = path.stat()
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    elif damage == "add":
        shutil.copy(path, path.with_name("episode_000002.parquet"))
    else:
        path.unlink()
    message = refused(lake, source, "toy")
    assert "immutable" in message and "--drop toy-2" in message and "episode_00000" in message
    with pytest.raises(UserError, match="changed since it was ingested.*--drop toy-2"):
        check_unchanged(lake, drop)
    assert register_drop(lake, source, "toy-2")[1]


def test_a_touched_file_is_read_again_and_passes(lake, source):
    drop, _ = register_drop(lake, source)
    os.utime(source / "meta/info.json", ns=(1, 1))
    check_unchanged(lake, drop)
    again, new = register_drop(lake, source)
    assert not new and again.fingerprint == drop.fingerprint
    assert load_drop(lake, drop.name).files["meta/info.json"][1] == 1


def test_the_same_content_under_another_name_is_told(lake, source):
    register_drop(lake, source, "first")
    assert "as drop first" in refused(lake, source, "second")


def test_a_drop_that_moved_is_found_again(tmp_path, lake, source):
    register_drop(lake, source, "toy")
    moved = source.rename(tmp_path / "new place")
    with pytest.raises(UserError, match="is gone"):
        check_unchanged(lake, load_drop(lake, "toy"))
    drop, new = register_drop(lake, moved, "toy")
    assert not new and drop.uri == str(moved) == load_drop(lake, "toy").uri
    check_unchanged(lake, drop)


def test_another_robot_needs_leave(tmp_path, lake, source):
    register_drop(lake, source)
    other = write_lerobot(tmp_path / "other", episodes=1, robot="other-arm", seed=5)
    message = refused(lake, other)
    assert "--allow-mixed" in message and "toy-arm" in message and "other-arm" in message
    assert register_drop(lake, other, allow_mixed=True)[0].robot == "other-arm"


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a/b", ".hidden", "-x", "a b", "é"])
def test_bad_names_are_refused(lake, source, name):
    assert "not allowed" in refused(lake, source, name)


@pytest.mark.parametrize(("folder", "name"), [("Toy Arm (May)", "toy-arm-may"), ("2024-05-01_run.3", "2024-05-01_run.3"), ("..weird..", "weird")])
def test_names_are_made_from_folders(folder, name):
    assert slug(folder) == name


def test_no_name_can_be_made(lake):
    with pytest.raises(UserError, match="--drop"):
        slug("___")


def test_links_that_lead_out_are_refused(tmp_path, lake, source):
    (tmp_path / "secret.txt").write_text("secret")
    (source / "notes.txt").symlink_to(tmp_path / "secret.txt")
    assert "leads out" in refused(lake, source)
    (source / "notes.txt").unlink()
    (source / "folder").symlink_to(tmp_path)
    assert "link to a folder" in refused(lake, source)


def test_a_link_within_the_drop_is_a_file_of_it(lake, source):
    (source / "README.md").symlink_to(source / "meta/info.json")
    drop, _ = register_drop(lake, source, copy=True)
    assert drop.files["README.md"][2] == drop.files["meta/info.json"][2]
    check_unchanged(lake, drop)


def test_pipes_and_dangling_links_are_refused(lake, source):
    os.mkfifo(source / "pipe")
    assert "regular file" in refused(lake, source)
    (source / "pipe").unlink()
    (source / "dangling").symlink_to(source / "nothing")
    assert "cannot be read" in refused(lake, source)


def test_what_is_no_drop_is_refused(tmp_path, lake, source):
    assert "does not exist" in refused(lake, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(lake, tmp_path / "empty")
    shutil.rmtree(source / "data")
    shutil.rmtree(source / "videos")
    assert "no episode" in refused(lake, source)


def test_the_lake_is_no_drop(tmp_path, lake, source):
    drop, _ = register_drop(lake, source, copy=True)
    assert "lake itself" in refused(lake, tmp_path)
    assert "already" in refused(lake, drop.uri)


def test_a_damaged_registration_is_one_line(lake, source):
    drop, _ = register_drop(lake, source)
    path = lake.drop(drop.name) / "drop.json"
    for text in ("{", "{}", "[]", json.dumps(json.loads(path.read_text()) | {"files": 3})):
        path.write_text(text)
        with pytest.raises(UserError, match="damaged"):
            load_drop(lake, drop.name)
    with pytest.raises(UserError, match="not in the lake"):
        load_drop(lake, "nothing")


def test_two_at_once_register_once(lake, source):
    outcomes = []
    workers = [threading.Thread(target=lambda: outcomes.append(register_drop(lake, source, copy=True)[1])) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(outcomes) == [False, False, True]


def test_what_is_known_of_other_drops_is_read_once_and_never_trusted_blindly(tmp_path, monkeypatch):
    lake = Lake(tmp_path / "lake")
    for number in range(3):
        register_drop(lake, write_lerobot(tmp_path / f"log{number}", episodes=1, frames=6, seed=number), f"d{number}")
    loaded = []
    original = drops.load_drop
    monkeypatch.setattr(drops, "load_drop", lambda lake, name: loaded.append(name) or original(lake, name))
    register_drop(lake, write_lerobot(tmp_path / "log3", episodes=1, frames=6, seed=3), "d3")
    assert loaded == ["d2"], "only the one that came after the last look"
    (lake.drops / ".known.json").write_text('[["d0", 1], 2]')
    with pytest.raises(UserError, match="in the lake already, as drop d1"):
        register_drop(lake, write_lerobot(tmp_path / "again", episodes=1, frames=6, seed=1), "d4")
    stored = json.loads((lake.drop("d0") / "drop.json").read_text())
    (lake.drop("d0") / "drop.json").write_text(json.dumps(stored | {"robot": "another-arm"}))
    loaded.clear()
    register_drop(lake, write_lerobot(tmp_path / "log5", episodes=1, frames=6, seed=5), "d5")
    loaded.clear()
    (lake.drop("d0") / "drop.json").write_text(json.dumps(stored))
    register_drop(lake, write_lerobot(tmp_path / "log6", episodes=1, frames=6, seed=6), "d6")
    assert loaded == ["d0", "d5"], "the one that changed and the new one"
