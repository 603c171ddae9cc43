"""Faults of pictures and telemetry do what their detail says, to what they are about and to nothing else."""

import numpy as np
import pytest

from cosmos_ops.simulate.faults import FORMATS, Planted, copied_episode, plan_faults, spoil_recording
from cosmos_ops.simulate.recording import Recording
from cosmos_ops.simulate.tabletop import record_episode

PICTURES = ("constant", "blur", "exposure", "letterbox", "scene_cut")
TELEMETRY = ("robot_static", "state_jump", "out_of_range")


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record_episode(2, 0, height_px=64, width_px=96, frames=30)


@pytest.mark.parametrize("fault", PICTURES)
def test_a_fault_of_pictures_spoils_one_camera(recording, fault):
    spoilt = spoil_recording(recording, Planted(1, "wrist", fault))
    assert spoilt.frames["front"] is recording.frames["front"] and spoilt.state is recording.state
    before, after = recording.frames["wrist"].astype(int), spoilt.frames["wrist"].astype(int)
    assert after.shape == before.shape and spoilt.frames["wrist"].dtype == np.uint8
    changed = np.abs(after - before).mean(axis=(1, 2, 3))
    assert (changed[15:] > 3).all() and (fault != "scene_cut" or not changed[:15].any())
    if fault == "constant":
        assert np.ptp(after, axis=(0, 1, 2)).max() == 0
    elif fault == "letterbox":
        assert after[:, :10].max() == after[:, -10:].max() == 0 and after[:, 12:-12].mean() > 40
    elif fault == "exposure":
        dark = spoil_recording(recording, Planted(2, "wrist", fault)).frames["wrist"]
        assert after.mean() > before.mean() + 40 and dark.mean() < 40
    elif fault == "scene_cut":
        assert np.array_equal(spoilt.frames["wrist"][15:], recording.frames["front"][15:])


@pytest.mark.parametrize("fault", TELEMETRY)
def test_a_fault_of_telemetry_is_in_the_state(recording, fault):
    spoilt = spoil_recording(recording, Planted(1, None, fault))
    covered = np.ptp(recording.state, axis=0)
    if fault == "robot_static":
        assert all(np.ptp(values, axis=0).max() == 0 for values in (spoilt.state, spoilt.action, *spoilt.frames.values()))
        return
    assert spoilt.frames is recording.frames and spoilt.action is recording.action
    moved = np.abs(spoilt.state - recording.state) / covered
    rows, columns = np.nonzero(moved > 0.5)
    assert len(set(columns)) == 1 and rows[0] == 15 and (rows[-1] == 29 if fault == "state_jump" else len(rows) == 4)


def test_a_near_copy_is_close_and_not_equal(recording):
    again = spoil_recording(recording, Planted(1, None, "near_duplicate"))
    assert again.length == recording.length - 1
    assert 0 < np.abs(again.state - recording.state[1:]).max() < 0.05
    for camera, images in again.frames.items():
        assert 1 < np.abs(images.astype(int) - recording.frames[camera][1:]).mean() < 15


@pytest.mark.parametrize("fmt", sorted(FORMATS))
def test_all_faults_fit_and_copies_come_after_a_clean_episode(fmt):
    for seed in range(20):
        planted = plan_faults(FORMATS[fmt], len(FORMATS[fmt]) + 1, ("front", "wrist"), seed, fmt)
        spoiled = {item.episode_index for item in planted}
        assert len(spoiled) == len(planted)
        for item in planted:
            if item.fault in ("duplicate", "near_duplicate"):
                assert copied_episode(item, planted) < item.episode_index and copied_episode(item, planted) not in spoiled
