"""The small file beside a drop: strict, and never a way out of it."""

import re

import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.logs import open_log
from cosmos_ops.logs.drops import check_unchanged, register_drop
from cosmos_ops.logs.mapping import NAME, Mapping, mapping_path, mapping_values, mapping_yaml, read_mapping
from tests.fixtures.hdf5_factory import write_aloha
from tests.fixtures.lerobot_factory import write_lerobot

FULL = Mapping("aloha", "MIT", 25.0, "pick up the cup", {"observations/images/top": "top"}, ("observations/qpos",), ("action",), True)


def test_what_is_written_is_read(tmp_path):
    (tmp_path / NAME).write_text(mapping_yaml(mapping_values(FULL)))
    assert read_mapping(tmp_path) == FULL


def test_without_a_file_nothing_is_said(tmp_path):
    assert read_mapping(tmp_path) == Mapping() and mapping_values(Mapping()) == {}
    (tmp_path / NAME).write_text("# nothing yet\n")
    assert read_mapping(tmp_path) == Mapping()


def test_a_single_files_mapping_lies_beside_it(tmp_path):
    (tmp_path / "episode_0.hdf5").touch()
    (tmp_path / f"episode_0.hdf5.{NAME}").write_text("fps: 30\n")
    (tmp_path / NAME).write_text("fps: 5\n")
    assert read_mapping(tmp_path / "episode_0.hdf5").fps == 30


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("robto: x\n", "unknown setting 'robto'"),
        ("fps: fast\n", "float is needed"),
        ("fps: 0\n", "use a number from"),
        ("fps: .nan\n", "use a number from"),
        ("state: observations/qpos\n", "a list is needed"),
        ("cameras: [a]\n", "a mapping is needed"),
        ("cameras: {a: x, b: x}\n", "two cameras are called"),
        ("task: ''\n", "a text is empty"),
        ('task: "one\\ntwo"\n', "line break"),
        ("- a\n", "holds list"),
        ("a: [\n", "not readable as YAML"),
        ("a: &x [1]\nb: *x\n", "alias"),
        ("[" * 60_000, "lists within lists"),
        ("#" * 70_000, "larger than"),
        ("!!python/object/apply:os.system [id]\n", "not readable as YAML"),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path, text, what):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(UserError, match=re.escape(what)) as caught:
        read_mapping(tmp_path)
    assert NAME in str(caught.value) and "\n" not in str(caught.value)


def test_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere.yaml").write_text("fps: 1\n")
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / NAME).symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(UserError, match="is a link"):
        read_mapping(tmp_path / "drop")


@pytest.mark.parametrize("copy", [False, True])
def test_it_is_part_of_a_drop_that_is_one_file(tmp_path, copy):
    source = write_aloha(tmp_path / "in/episode_0.hdf5", frames=12)
    mapping_path(source).write_text("robot: aloha\nfps: 25\n")
    lake = Lake(tmp_path / "lake")
    drop, new = register_drop(lake, source, copy=copy)
    assert new and sorted(drop.files) == ["episode_0.hdf5", f"episode_0.hdf5.{NAME}"] and drop.robot == "aloha"
    assert next(open_log(drop.uri).episodes()).fps == 25
    assert register_drop(lake, source, copy=copy)[1] is False
    mapping_path(source).write_text("robot: aloha\nfps: 50\n")
    with pytest.raises(UserError, match="changed"):
        check_unchanged(lake, drop) if not copy else register_drop(lake, source)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_lerobot_drops_heed_it(tmp_path, version):
    root = write_lerobot(tmp_path / "drop", version, episodes=2, frames=8, height=32, width=32)
    before = [episode.task for episode in open_log(root).episodes()]
    (root / NAME).write_text("robot: so101\nlicence: CC-BY-4.0\ntask: fold the cloth\nfps: 5\nswap_red_blue: true\n")
    reader = open_log(root)
    info, episodes = reader.info(), list(reader.episodes())
    assert (info.robot, info.licence) == ("so101", "CC-BY-4.0") and "fold the cloth" not in before
    assert [(e.robot, e.task, e.fps) for e in episodes] == [("so101", "fold the cloth", 10)] * 2
    assert [(p.code, p.fatal) for p in info.problems] == [("unused_setting", False)] and "fps, swap_red_blue in" in info.problems[0].message
    drop, _ = register_drop(Lake(tmp_path / "lake"), root)
    assert (drop.robot, drop.licence) == ("so101", "CC-BY-4.0")


def test_a_wrong_mapping_of_a_lerobot_drop_is_refused(tmp_path):
    root = write_lerobot(tmp_path / "drop", episodes=1, frames=8, height=32, width=32)
    (root / NAME).write_text("robto: x\n")
    with pytest.raises(UserError, match="unknown setting 'robto'"):
        open_log(root)
