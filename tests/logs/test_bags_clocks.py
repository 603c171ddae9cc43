"""Bags: whose times are taken, what is measured between clocks, and what a pause costs."""

import numpy as np
import pytest

from cosmos_ops.logs.inspect import inspect_log
from tests.fixtures import bag_factory as make
from tests.fixtures.bag_factory import FPS, Heard, at, recording, write_mcap
from tests.logs.reading import COMPRESSED, JOINT_STATE, codes, message, only, poses
from tests.shards.lakes import small_profile


def reheard(heard, log_s):
    """The recording with other recorder's times: `log_s(number)` seconds for the message with that number."""
    return [Heard(one.topic, one.type, at(log_s(number)), one.message) for number, one in enumerate(heard)]


@pytest.mark.parametrize(
    "log_s",
    [lambda n: (n * 7 % 91) / 31, lambda n: n / 31 + n * 7 % 5 / 10, lambda n: 5_000 + n * 1e-4, lambda n: -1e9],
    ids=["in no order", "a little out of order", "written later at once", "long ago"],
)
def test_header_times_are_taken_whatever_the_recorders_are(tmp_path, log_s):
    _, episode = only(write_mcap(tmp_path / "one.mcap", reheard(recording(30), log_s)))
    assert episode.timestamps_s == pytest.approx(np.arange(30) / FPS) and np.array_equal(episode.state, poses(range(30)))
    assert np.array_equal(episode.action, poses(range(30), 1)) and episode.cameras[0].frames == 30
    assert codes(episode) == []


def test_without_header_times_the_recorders_are_taken(tmp_path):
    reader, episode = only(write_mcap(tmp_path / "one.mcap", sorted(recording(12, stamped=False), key=lambda one: one.log_ns % 97)))
    assert episode.timestamps_s == pytest.approx(np.arange(12) / FPS) and np.array_equal(episode.state, poses(range(12)))
    frames = list(reader.decode(episode, episode.cameras[0]))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(12) / FPS + 0.01) and make.numbers_shown(frames) == list(range(12))
    assert "recorder's" in message(episode, "clock_source")


def test_a_camera_on_another_clock_falls_back_on_the_recorders(tmp_path):
    heard = [one for one in recording(12) if one.type != COMPRESSED]
    heard += [Heard("/cam/image", COMPRESSED, at(row / FPS + 0.01), make.compressed(make.picture(row), row / FPS - 3600)) for row in range(12)]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert "except for /cam/image: the recorder's" in message(episode, "clock_source")
    assert [frame.time_s for frame in reader.decode(episode, episode.cameras[0])] == pytest.approx(np.arange(12) / FPS + 0.01)


@pytest.mark.parametrize(("rate", "fatal"), [(1.06, False), (0.94, False), (1.3, True)])
def test_a_clock_that_runs_away_is_told_and_replaced(tmp_path, rate, fatal):
    heard = [one for one in recording(40) if one.type != COMPRESSED]
    heard += [Heard("/cam/image", COMPRESSED, at(row / FPS + 0.01), make.compressed(make.picture(row), row / FPS * rate)) for row in range(40)]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    (drift,) = [problem for problem in episode.problems if problem.code == "clock_drift"]
    assert (drift.fatal, drift.camera) == (fatal, "cam") and ("gain" if rate > 1 else "lose") in drift.message
    assert [frame.time_s for frame in reader.decode(episode, episode.cameras[0])] == pytest.approx(np.arange(40) / FPS, abs=0.03)


def test_headers_that_start_again_are_no_clock(tmp_path):
    heard = [one for one in recording(40) if one.type != COMPRESSED]
    heard += [Heard("/cam/image", COMPRESSED, at(row / FPS), make.compressed(make.picture(row), row % 20 / FPS - 0.001 * row)) for row in range(40)]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert "except for /cam/image: the recorder's" in message(episode, "clock_source")
    assert make.numbers_shown(reader.decode(episode, episode.cameras[0])) == list(range(40))


def test_a_few_wild_header_times_are_mended(tmp_path):
    heard = [one for one in recording(40) if one.type != COMPRESSED]
    for row in range(40):
        seconds = {0: -500.0, 7: 900.0}.get(row, row / FPS)
        heard.append(Heard("/cam/image", COMPRESSED, at(row / FPS + 0.01), make.compressed(make.picture(row), seconds)))
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    frames = list(reader.decode(episode, episode.cameras[0]))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(40) / FPS) and make.numbers_shown(frames) == list(range(40))


def test_rows_are_those_of_the_state_while_cameras_see(tmp_path):
    heard = [one for one in recording(40) if one.type != JOINT_STATE and 1.0 <= (one.log_ns - at(0)) / 1e9 < 3.0 or one.topic == "/task"]
    heard += [Heard("/joint_states", JOINT_STATE, at(tick / 100), make.joints(["a"], [tick], tick / 100)) for tick in range(400)]
    reader, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert (episode.frames, episode.fps, len(episode.timestamps_s)) == (20, FPS, 211)
    assert episode.state[0, 0] == 90 and episode.timestamps_s[10] == pytest.approx(0.1)
    assert message(episode, "trimmed") == "rows of telemetry without pictures are left out: 90 before and 99 after the cameras'"
    assert next(reader.decode(episode, episode.cameras[0])).time_s == pytest.approx(0.1)


@pytest.mark.parametrize("lost", [range(12, 27), range(0, 15)])
def test_a_pause_of_a_camera_is_a_cut(tmp_path, lost):
    heard = recording(40, cameras=("front", "wrist"))
    heard = [one for one in heard if "wrist" not in one.topic or round((one.log_ns - at(0.015)) / 1e8) not in lost]
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    (problem,) = [problem for problem in episode.problems if problem.fatal]
    assert (problem.code, problem.camera) == ("clock_gap", "wrist")
    verdict = inspect_log(tmp_path / "one.mcap", small_profile())["episodes"][0]
    assert verdict["accepted_cameras"] == ["front", "wrist"] and "clock_gap" in {problem["code"] for problem in verdict["problems"]}
    assert inspect_log(tmp_path / "one.mcap", small_profile(frames=25))["episodes"][0]["accepted_cameras"] == ["front"], (
        "no whole clip is left beside the pause"
    )


def test_cameras_and_telemetry_of_different_days_are_not_matched(tmp_path):
    heard = [one for one in recording(20, stamped=False) if one.type == COMPRESSED]
    heard += [one._replace(log_ns=one.log_ns + 86_400 * 10**9) for one in recording(20, stamped=False) if one.type == JOINT_STATE]
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert "never recorded at the same time" in message(episode, "clock_drift") and episode.cameras == ()


def test_a_pause_of_telemetry_condemns_the_episode(tmp_path):
    heard = [one for one in recording(40) if one.topic != "/joint_states" or not 1.0 < (one.log_ns - at(0)) / 1e9 < 2.2]
    _, episode = only(write_mcap(tmp_path / "one.mcap", heard))
    assert codes(episode, fatal=True) == ["clock_gap"]


def test_each_cameras_clock_is_measured_and_what_was_corrected_is_told(tmp_path):
    heard = recording(40, cameras=())
    for row in range(40):
        seconds = row / FPS
        heard.append(Heard("/near/image", COMPRESSED, at(seconds + 0.03), make.compressed(make.picture(row), seconds + 0.02)))
        heard.append(Heard("/far/image", COMPRESSED, at(seconds + 0.01), make.compressed(make.picture(row), seconds * 1.06)))
    clocks = inspect_log(write_mcap(tmp_path / "one.mcap", heard), small_profile())["episodes"][0]["clocks"]
    near, far = clocks["near"], clocks["far"]
    assert (near["offset_s"], near["drift_s"], near["gap_s"], near["correction"]) == (pytest.approx(0.02), 0.0, pytest.approx(0.1), "offset")
    assert far["drift_s"] == pytest.approx(0.06 * 3.9, abs=0.02) and far["gap_s"] == pytest.approx(0.1, abs=0.01) and far["correction"].endswith("drift")
