"""Telemetry whose faults are known, held against the habits of a drop and, in a small one, against itself."""

from dataclasses import replace

import numpy as np
import pytest

from cosmos_ops.logs.base import Episode
from cosmos_ops.profiles import QualitySettings
from cosmos_ops.quality.telemetry import DropHabits, telemetry_problems, travel

SETTINGS, FPS = QualitySettings(), 10.0


def episode(index: int, rows: int = 60, grips: bool = True) -> Episode:
    """Two joints on smooth paths and a gripper that closes in one row."""
    rng = np.random.default_rng([5, index])
    t = np.linspace(0, 1, rows)
    joints = [rng.uniform(0.5, 1.0) * np.sin(rng.uniform(6, 9) * t + rng.uniform(0, 6)) for _ in range(2)]
    gripper = (t > rng.uniform(0.3, 0.7)) * float(grips)
    state = np.column_stack([*joints, gripper]).astype(np.float32)
    return Episode(index, rows, FPS, np.arange(rows) / FPS, state, state, (), "move")


def found(episodes, place):
    problems = telemetry_problems(episodes[place], DropHabits(episodes).beside(place), SETTINGS)
    return [(problem.code, problem.start_s, problem.stop_s) for problem in problems]


def with_state(one, change):
    state = one.state.copy()
    change(state)
    return replace(one, state=state)


@pytest.fixture(params=[12, 1], ids=["a drop", "alone"])
def drop(request):
    return [episode(index, grips=index % 4 != 0) for index in range(request.param)]


def test_good_telemetry_has_no_problems(drop):
    for place in range(len(drop)):
        assert found(drop, place) == []


def test_a_slipped_encoder_is_a_jump_at_its_row(drop):
    def slip(state):
        state[30:, 0] += 1.5

    drop[0] = with_state(drop[0], slip)
    assert found(drop, 0) == [("state_jump", pytest.approx(2.9), pytest.approx(3.0))]


def test_a_slip_is_told_from_the_knocks_that_some_episodes_have():
    """One episode in five is knocked by a quarter of its way, as grasps do; a slip of half the way stays a jump, the knocks do not become any."""
    drop = [episode(index) for index in range(20)]

    def knock(state):
        state[31:33, 0] += 0.3 * np.ptp(state[:, 0])

    def slip(state):
        state[30:, 0] += 0.6 * np.ptp(state[:, 0])

    for place in range(0, 20, 5):
        drop[place] = with_state(drop[place], knock)
    assert [found(drop, place) for place in range(20)] == [[]] * 20
    drop[7] = with_state(drop[7], slip)
    assert found(drop, 7) == [("state_jump", pytest.approx(2.9), pytest.approx(3.0))]


def test_two_other_episodes_tell_a_slip_from_a_grasp():
    """A slip to rest looks like a grasp to the episode alone: another that never does it tells, one that does it too excuses it."""

    def snap(state):
        state[30:, 0] = state[:30, 0].max() + 0.5 * np.ptp(state[:, 0])
        state[22:30, 0] = state[22, 0]

    slipped = [with_state(episode(0), snap), episode(1), episode(2)]
    assert {code for code, *_ in found(slipped, 0)} == {"state_jump"}
    assert [found(slipped, place) for place in (1, 2)] == [[], []]
    assert found(slipped[:1], 0) == [] and found(slipped[:2], 0) == [], "alone, or beside one other, it may be what the task asks for"
    grasps = [with_state(episode(index), snap) for index in range(3)]
    assert [found(grasps, place) for place in range(3)] == [[], [], []]


def test_what_no_joint_reaches_is_out_of_range_and_not_a_jump_as_well(drop):
    def wild(state):
        state[20:25, 1] = 90

    drop[0] = with_state(drop[0], wild)
    assert found(drop, 0) == [("out_of_range", pytest.approx(1.9), pytest.approx(2.5))]


def test_a_robot_that_never_moves_condemns_the_episode(drop):
    def still(state):
        state[:] = state[0]

    drop[0] = with_state(drop[0], still)
    assert found(drop, 0) == [("robot_static", None, None)]
    assert travel(drop[0], 0, 6, DropHabits(drop).beside(0)) == 0


def test_standing_still_for_long_costs_that_stretch():
    long = [episode(index, 400) for index in range(10)]

    def pause(state):
        state[260:] += state[100] - state[260]
        state[100:260] = state[100]

    long[3] = with_state(long[3], pause)
    ((code, start_s, stop_s),) = found(long, 3)
    assert code == "robot_static" and 7 < start_s < 12 and 24 < stop_s < 29
    assert found(long, 4) == []


def test_rows_without_numbers_cost_their_stretch(drop):
    def gap(state):
        state[10:12, 0] = np.nan

    drop[0] = with_state(drop[0], gap)
    assert found(drop, 0)[0] == ("not_finite", pytest.approx(0.9), pytest.approx(1.2))


def test_an_angle_that_goes_round_has_not_jumped(drop):
    def turn(state):
        angle = np.linspace(2.5, 4.0, len(state))
        state[:, 0] = np.where(angle > np.pi, angle - 2 * np.pi, angle)

    drop[0] = with_state(drop[0], turn)
    assert "state_jump" not in [code for code, *_ in found(drop, 0)]


def test_without_telemetry_nothing_is_said():
    one = Episode(0, 5, FPS, np.arange(5) / FPS, np.zeros((5, 0), np.float32), np.zeros((5, 0), np.float32), (), None)
    assert found([one], 0) == [] and travel(one, 0, 1, DropHabits([one]).beside(0)) == 0
