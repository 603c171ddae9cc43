"""Logs that nobody made for this project: they must read as they are."""

from pathlib import Path

import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.profiles import load_profile

REAL = Path(__file__).parents[2].parent / "shared/data/real"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"real logs are not on this machine ({REAL})")


@pytest.mark.parametrize(
    ("folder", "version", "robot", "licence", "declared", "found", "frames", "dims", "camera"),
    [
        ("cr5-banana", "v2.1", "cr5", "MIT", 24, 24, 5438, (6, 7), "top"),
        ("groot-dreams-PickNPlace", "v2.0", "GR1ArmsOnly", "Apache-2.0", 5, 5, 2096, (44, 44), "ego_view"),
        ("g1-yellow-bottle", "v2.1", "Unitree_G1_Inspire", "MIT", 100, 1, 221, (26, 26), "cam_high"),
    ],
)
def test_counts_and_sizes(folder, version, robot, licence, declared, found, frames, dims, camera):
    reader = open_log(REAL / folder)
    info, episodes = reader.info(), list(reader.episodes())
    assert (info.format_version, info.robot, info.licence, info.declared_episodes) == (version, robot, licence, declared)
    assert len(episodes) == found and sum(episode.frames for episode in episodes) == frames
    assert {(episode.state.shape[1], episode.action.shape[1]) for episode in episodes} == {dims}
    assert {camera.name for episode in episodes for camera in episode.cameras} == {camera}
    assert len({episode.id for episode in episodes}) == found
    assert not [problem for episode in episodes for problem in episode.problems if problem.fatal and problem.camera is None]


def test_ids_are_stable():
    assert [episode.id for episode in open_log(REAL / "g1-yellow-bottle").episodes()] == ["7f14f7dc00f040c8"]


def test_the_drifting_clock_of_cr5_is_shown_and_harmless():
    episode = list(open_log(REAL / "cr5-banana").episodes())[2]
    (problem,) = episode.problems
    assert (problem.code, problem.fatal) == ("clock_drift", False) and "2.1 s after" in problem.message
    assert episode.timestamps_s[0] == 0 and episode.duration_s == pytest.approx(27.5)


def test_groots_annotation_is_not_its_task():
    assert [episode.task for episode in open_log(REAL / "groot-dreams-PickNPlace").episodes()] == [
        f"pick the {what} from the counter and place it in the plate" for what in ("pear", "sweet potato", "meat", "salt", "cupcake")
    ]


@pytest.mark.parametrize("folder", ["cr5-banana", "groot-dreams-PickNPlace", "g1-yellow-bottle"])
def test_every_real_episode_is_good_enough(folder):
    found = inspect_log(REAL / folder, load_profile("nano"))
    assert found["accepted_episodes"] == found["found_episodes"]
    assert all(len(episode["accepted_cameras"]) == 1 for episode in found["episodes"])


def test_every_real_log_is_of_a_known_format():
    formats = {}
    for folder in sorted(path for path in REAL.iterdir() if path.is_dir()):
        try:
            formats[folder.name] = open_log(folder).format
        except UserError as error:
            formats[folder.name] = str(error)
    assert "episodes without pictures" in formats.pop("robomimic-low-dim")
    assert formats == {
        "bridge-rlds": "rlds",
        "cr5-banana": "lerobot",
        "cr5-mcap-derived": "bag",
        "g1-yellow-bottle": "lerobot",
        "groot-dreams-PickNPlace": "lerobot",
        "mcap-explorer-demo": "bag",
        "robonet-hdf5": "robonet-hdf5",
        "rosbags-rs-alltypes": "bag",
    }


def test_bridges_episodes_are_shorter_than_a_clip():
    with pytest.raises(UserError, match=r"too_short \(25 of 25\).*1.0 s hold 8 frames at 8 a second, a clip needs 17"):
        inspect_log(REAL / "bridge-rlds", load_profile("nano"))


def test_a_folder_of_real_videos(tmp_path):
    """The videos of two LeRobot logs, AV1 and H.264, as a folder with captions."""
    for number, path in enumerate(sorted(REAL.glob("g*/videos/*/*/*.mp4"))[:2]):
        for folder, name, content in (("videos", f"{number}.mp4", path.read_bytes()), ("metas", f"{number}.txt", b"do it")):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_bytes(content)
    found = inspect_log(tmp_path, load_profile("nano"))
    assert [(e["accepted"], e["task"], e["state_dim"], e["action_dim"]) for e in found["episodes"]] == [(True, "do it", 0, 0)] * 2
