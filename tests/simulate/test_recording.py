"""Clocks of a recording: what is assumed without them, and which frame goes with which row."""

import numpy as np

from cosmos_ops.simulate.recording import Recording


def recording(**clocks):
    frames = {"front": np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1).repeat(3, axis=3)}
    return Recording("wave", 4, np.zeros((4, 2), np.float32), np.zeros((4, 2), np.float32), frames, **clocks)


def shown(made):
    return made.frames["front"][:, 0, 0, 0].tolist()


def test_without_clocks_a_row_is_a_moment():
    made = recording()
    assert made.clock_s.tolist() == made.camera_clock_s("front").tolist() == made.arrival_s("front").tolist() == [0.0, 0.25, 0.5, 0.75]
    assert made.on_rows() is made and made.succeeded


def test_a_row_gets_the_latest_frame_that_had_been_taken():
    fast = recording(frame_times_s={"front": np.arange(8) / 8})
    assert shown(fast.on_rows()) == [0, 2, 4, 6]
    late = recording(frame_times_s={"front": np.arange(8) / 8 + 0.01})
    assert shown(late.on_rows()) == [0, 1, 3, 5], "before the first frame there is only the first"
    assert late.on_rows().frame_times_s is None and late.on_rows().on_rows().length == 4


def test_a_drifting_stamp_does_not_change_when_a_frame_was_taken():
    drifting = recording(frame_times_s={"front": np.arange(8) / 4}, arrival_times_s={"front": np.arange(8) / 8}, times_s=np.array([0.0, 0.3, 0.5, 0.7]))
    assert shown(drifting.on_rows()) == [0, 2, 4, 5]
    assert drifting.camera_clock_s("front")[-1] == 1.75
