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


@pytest.mark.parametrize("path", ["bridge-rlds"])
def test_what_is_not_read_is_said_in_one_line(path):
    with pytest.raises(UserError, match="no known log format") as caught:
        open_log(REAL / path)
    assert "\n" not in str(caught.value)
