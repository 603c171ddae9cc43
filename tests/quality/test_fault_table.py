"""The measurement of `tests/benchmarks/faults.py` on one small drop: every planted fault is found, nothing clean is accused."""

from cosmos_ops.simulate.faults import FORMATS, Planted
from tests.benchmarks.faults import Scores, compare, measure, table


def test_every_fault_is_found_where_it_was_planted():
    scores = measure([3], episodes=20, formats=("lerobot-v2.1",), height_px=64)
    assert {fault: (score.planted, score.found) for fault, score in scores.faults.items() if score.planted} == dict.fromkeys(FORMATS["lerobot-v2.1"], (1, 1))
    assert [line for score in scores.faults.values() for line in score.wrong] == []
    assert scores.clean == scores.clean_accepted == 20 - len(FORMATS["lerobot-v2.1"])
    assert all(precision == recall == 1 for *_, precision, recall in table(scores))


def test_a_fault_that_is_not_found_and_one_that_is_not_there_are_counted():
    from cosmos_ops.logs.base import Problem
    from cosmos_ops.quality.camera import CameraVerdict
    from cosmos_ops.quality.verdicts import EpisodeVerdict
    from tests.quality.test_telemetry_signals import episode

    front = CameraVerdict("front", (Problem("frozen", "nothing moves", "front"),))
    verdicts = [EpisodeVerdict(episode(index), (), (front,)) for index in range(2)]
    scores = Scores()
    compare(scores, verdicts, [Planted(0, "front", "black"), Planted(1, "front", "frozen")], "here")
    black, frozen = scores.of("black"), scores.of("frozen")
    assert (black.planted, black.found, black.recall) == (1, 0, 0) and "episode 0" in black.missed[0]
    assert (frozen.planted, frozen.found, frozen.false, frozen.precision) == (1, 1, 1, 0.5)
