"""Damaged and hostile datasets: each gives one clear line or a problem of its episode, never another exception."""

import json
import os

import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.logs import UnreadableVideo, open_log
from tests.fixtures.lerobot_factory import write_lerobot

VERSIONS = ("v2.1", "v3.0")


def codes(root):
    return {episode.index: [(problem.code, problem.camera, problem.fatal) for problem in episode.problems] for episode in open_log(root).episodes()}


def refused(root) -> str:
    with pytest.raises(UserError) as caught:
        reader = open_log(root)
        reader.info()
        list(reader.episodes())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def data_file(root, version):
    return root / ("data/chunk-000/file-000.parquet" if version == "v3.0" else "data/chunk-000/episode_000000.parquet")


def video_file(root, version):
    folder = "videos/observation.images.front/chunk-000/file-000.mp4" if version == "v3.0" else "videos/chunk-000/observation.images.front/episode_000000.mp4"
    return root / folder


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "gone"])
def test_telemetry_damage_is_the_episodes_problem(tmp_path, version, damage):
    root = write_lerobot(tmp_path, version, episodes=3, episodes_per_file=1)
    path = data_file(root, version)
    whole = path.read_bytes()
    {
        "cut": lambda: path.write_bytes(whole[: len(whole) // 2]),
        "empty": lambda: path.write_bytes(b""),
        "noise": lambda: path.write_bytes(bytes(range(256)) * 20),
        "gone": path.unlink,
    }[damage]()
    found = codes(root)
    assert found[0] == [("missing_telemetry" if damage == "gone" else "broken_telemetry", None, True)]
    assert found[1] == found[2] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_truncation_of_a_parquet_file_is_survived(tmp_path, version):
    root = write_lerobot(tmp_path, version, episodes=1)
    path = data_file(root, version)
    whole = path.read_bytes()
    for length in range(1, len(whole), max(1, len(whole) // 25)):
        path.write_bytes(whole[:length])
        assert codes(root)[0][0][0] == "broken_telemetry"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("position", [0.02, 0.3, 0.6, 0.9])
def test_flipped_bytes_of_telemetry_never_escape(tmp_path, version, position):
    root = write_lerobot(tmp_path, version, episodes=1)
    path = data_file(root, version)
    data = bytearray(path.read_bytes())
    for place in range(int(position * len(data)), min(len(data), int(position * len(data)) + 12)):
        data[place] ^= 0xA5
    path.write_bytes(bytes(data))
    assert list(codes(root)) == [0]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.7, 0.97])
def test_a_truncated_video_is_unreadable_not_short(tmp_path, version, fraction):
    root = write_lerobot(tmp_path, version, episodes=2)
    path = video_file(root, version)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    reader = open_log(root)
    episode = next(reader.episodes())
    if fraction == 0:
        assert [(problem.code, problem.camera) for problem in episode.problems] == [("unreadable", "front")]
        return
    with pytest.raises(UnreadableVideo):
        list(reader.decode(episode, episode.cameras[0]))
    with pytest.raises(UnreadableVideo):
        list(reader.sample(episode, episode.cameras[0], [0.0, 1.0, 2.0, 3.0]).frames)


def test_a_video_cut_short_behind_its_header_is_noticed(tmp_path):
    root = write_lerobot(tmp_path, episodes=1, frames=60)
    path = video_file(root, "v2.1")
    whole = path.read_bytes()
    place = whole.index(b"moov") - 4
    path.write_bytes(whole[:32] + whole[place:] + whole[32:place])  # the header moved to the front, offsets now wrong: pictures are noise
    reader = open_log(root)
    episode = next(reader.episodes())
    with pytest.raises(UnreadableVideo):
        list(reader.decode(episode, episode.cameras[0]))


def test_a_playlist_dressed_as_a_video_is_not_followed(tmp_path):
    root = write_lerobot(tmp_path / "drop", episodes=1)
    secret = write_lerobot(tmp_path / "secret", episodes=1)
    video_file(root, "v2.1").write_text(f"ffconcat version 1.0\nfile '{video_file(secret, 'v2.1')}'\n")
    reader = open_log(root)
    episode = next(reader.episodes())
    with pytest.raises(UnreadableVideo):
        list(reader.decode(episode, episode.cameras[0]))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_phantom_camera_condemns_only_itself(tmp_path, version):
    root = write_lerobot(tmp_path, version, episodes=2, cameras=("front", "ghost"))
    for path in (root / "videos").rglob("*ghost*/**/*.mp4"):
        path.unlink()
    for problems in codes(root).values():
        assert problems == [("missing_video", "ghost", True)]
    assert [camera.name for episode in open_log(root).episodes() for camera in episode.cameras] == ["front", "front"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "template", ["../{}/x.mp4", "/etc/{}", "a/../../{}", "{episode_index.__class__}", "{nothing}/x", "{episode_index:999999d}", ".hidden/{}", "{"]
)
@pytest.mark.parametrize("which", ["data_path", "video_path"])
def test_templates_that_lead_out_are_refused(tmp_path, version, template, which):
    root = write_lerobot(tmp_path, version, episodes=1)
    info = json.loads((root / "meta/info.json").read_text())
    info[which] = template.replace("{}", "{episode_index}")
    (root / "meta/info.json").write_text(json.dumps(info))
    assert which in refused(root)


def test_a_camera_key_that_leads_out_is_refused(tmp_path):
    root = write_lerobot(tmp_path, episodes=1)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["../../../etc"] = info["features"].pop("observation.images.front")
    (root / "meta/info.json").write_text(json.dumps(info))
    assert "leads out" in refused(root)


@pytest.mark.parametrize("version", VERSIONS)
def test_links_that_lead_out_are_not_read(tmp_path, version):
    root = write_lerobot(tmp_path / "drop", version, episodes=1, cameras=("front", "side"))
    elsewhere = write_lerobot(tmp_path / "elsewhere", version, episodes=1)
    for path in (data_file(root, version), video_file(root, version)):
        path.unlink()
        path.symlink_to(elsewhere / path.relative_to(root))
    assert codes(root)[0] == [("broken_telemetry", None, True), ("unreadable", "front", True)]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"codebase_version": "v2.1"}', b"\xff\xfe\x00", b'{"codebase_version": "v2.1", "fps": NaN, "features": {}}', b"[" * 100_000],
)
def test_damaged_info_is_one_line(tmp_path, content):
    root = write_lerobot(tmp_path, episodes=1)
    (root / "meta/info.json").write_bytes(content)
    assert "info.json" in refused(root)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"codebase_version": "v1.6"}, "v1.6"),
        ({"codebase_version": None}, "codebase_version"),
        ({"fps": 0}, "fps"),
        ({"fps": "ten"}, "fps"),
        ({"fps": True}, "fps"),
        ({"features": [1]}, "features"),
        ({"features": {"action": 3}}, "features"),
        ({"data_path": 5}, "data_path"),
    ],
)
def test_info_of_wrong_content_is_one_line(tmp_path, change, word):
    root = write_lerobot(tmp_path, episodes=1)
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | change))
    assert word in refused(root)


@pytest.mark.parametrize("line", ["{not json", '{"episode_index": "zero"}', '{"episode_index": -1}', '{"tasks": []}', "[1]", '{"episode_index": 1e400}'])
def test_a_damaged_episode_list_is_one_line(tmp_path, line):
    root = write_lerobot(tmp_path, episodes=1)
    with open(root / "meta/episodes.jsonl", "a") as stream:
        stream.write(line + "\n")
    assert "episodes.jsonl" in refused(root)


def test_a_damaged_v3_episode_list_is_one_line(tmp_path):
    root = write_lerobot(tmp_path, "v3.0", episodes=1)
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert "file-000.parquet" in refused(root)
    path.unlink()
    assert "no episode list" in refused(root)


def test_odd_but_harmless_metadata_is_read(tmp_path):
    root = write_lerobot(tmp_path, episodes=2)
    info = json.loads((root / "meta/info.json").read_text())
    info |= {"chunks_size": 1000.0, "total_episodes": "many", "robot_type": None, "fps": 10.0}
    (root / "meta/info.json").write_text(json.dumps(info))
    lines = [{"episode_index": 0, "tasks": "push", "length": None}, {"episode_index": 0}, {"episode_index": 1, "tasks": [0, None, {}], "length": -3}]
    (root / "meta/episodes.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    reader = open_log(root)
    assert [episode.frames for episode in reader.episodes()] == [40, 40]
    assert reader.info().robot is None
    assert "repeated_episode" in [problem.code for problem in reader.info().problems]


@pytest.mark.parametrize(
    ("make", "word"), [(lambda p: None, "does not exist"), (lambda p: p.mkdir(), "empty folder"), (lambda p: p.write_text("x"), "no known")]
)
def test_what_is_no_log_is_said_in_one_line(tmp_path, make, word):
    make(tmp_path / "it")
    assert word in refused(tmp_path / "it")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_is_one_line(tmp_path):
    root = write_lerobot(tmp_path / "drop", episodes=1)
    root.chmod(0)
    try:
        assert "cannot be read" in refused(root)
    finally:
        root.chmod(0o755)
