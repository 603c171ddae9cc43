"""Work shared out to threads of this process, and to processes that are given nothing but pickles."""

import itertools
import threading
from pathlib import Path

import pytest

from cosmos_ops.errors import WorkFailed
from cosmos_ops.logs import open_log
from cosmos_ops.logs.portable import PortableLog
from cosmos_ops.quality.assess import camera_row
from cosmos_ops.quality.verdicts import judge
from cosmos_ops.shards.write import write_shards
from cosmos_ops.workers import AHEAD, LocalWorkers, Sent, call_sent, code_hash, unwanted
from tests.fixtures.lerobot_factory import write_lerobot
from tests.ray.pickled import PickledWorkers
from tests.shards.lakes import ready_for_shards, small_profile

PROFILE = small_profile()
LIMIT_S = 60.0


def add(shared: int, part: int) -> int:
    return shared + part


def test_results_come_in_the_order_of_the_parts():
    # The first part ends last.
    second = threading.Event()

    def work(shared, part):
        if part == 0:
            assert second.wait(LIMIT_S)
        if part == 1:
            second.set()
        return part

    assert list(LocalWorkers(2).map(work, None, range(50))) == list(range(50))


def test_no_more_than_a_few_parts_are_taken_before_their_results():
    taken = []

    def parts():
        for part in range(100):
            taken.append(part)
            yield part

    results = LocalWorkers(2).map(add, 1, parts())
    assert next(results) == 1
    assert len(taken) == 2 * AHEAD + 1
    results.close()
    assert len(taken) == 2 * AHEAD + 1


def test_a_failure_is_raised_at_its_place_and_calls_under_way_learn_of_it():
    under_way, learnt = threading.Event(), threading.Event()

    def work(shared, part):
        if part == 0:
            assert under_way.wait(LIMIT_S)
            raise WorkFailed("part 0 fails")
        under_way.set()
        for _ in range(int(LIMIT_S / 0.01)):
            if unwanted():
                learnt.set()
                return part
            learnt.wait(0.01)
        return part

    with pytest.raises(WorkFailed, match="part 0 fails"):
        list(LocalWorkers(2).map(work, None, [0, 1]))
    assert learnt.is_set()
    assert not unwanted(), "this thread does no part"


def test_a_few_parts_share_the_processors():
    assert [LocalWorkers(8).threads(parts) for parts in (0, 1, 3, 8, 100)] == [8, 8, 2, 1, 1]


def test_another_machines_code_must_be_the_same():
    assert call_sent(Sent(add, 1, code_hash()), 2) == (3, None)
    result, error = call_sent(Sent(add, 1, "0" * 64), 2)
    assert result is None and "runs other code than the process that shares out the work" in str(error)


def test_shards_made_from_pickles_are_the_same_bytes(tmp_path):
    log = write_lerobot(tmp_path / "toy", cameras=("front", "wrist"))
    here = write_shards(ready_for_shards(tmp_path / "here", log, PROFILE), "toy", PROFILE)
    there = write_shards(ready_for_shards(tmp_path / "there", log, PROFILE), "toy", PROFILE, workers=PickledWorkers())
    assert there.files == here.files


@pytest.mark.parametrize("name", ["cr5-mcap-derived", "bridge-rlds", "robonet-hdf5"])
def test_a_log_of_any_format_is_judged_the_same_where_it_is_opened_again(name):
    root = Path(__file__).parents[2].parent / "shared/data/real" / name
    if not root.exists():
        pytest.skip(f"{root} is not there: the real logs are kept beside the project")
    here = judge(open_log(root), itertools.islice(open_log(root).episodes(), 2), PROFILE)
    log = PortableLog(root)
    there = judge(log, itertools.islice(log.episodes(), 2), PROFILE, workers=PickledWorkers())
    rows = [[camera_row("drop", verdict, camera) for verdict in verdicts for camera in verdict.cameras] for verdicts in (here, there)]
    assert rows[0] == rows[1]
    assert [verdict.problems for verdict in there] == [verdict.problems for verdict in here]
