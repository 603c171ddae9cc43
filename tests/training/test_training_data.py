"""The order of samples: a permutation an epoch, resumable at any place, shared between processes without overlap."""

import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake
from cosmos_ops.training.data import Order, ReadAhead, load_batch, read_samples, share
from cosmos_ops.training.objective import draw
from tests.training.tiny_world import SHAPE, MemoryLatents, tiny_recipe


def dataset(lake: Lake, splits: list[str]) -> str:
    rows = [{"clip_id": f"clip{number:03d}", "caption": f"task {number}", "split": split} for number, split in enumerate(splits)]
    folder = lake.dataset("v1")
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
    return "v1"


def test_each_epoch_is_a_permutation_of_its_own():
    order = Order(11, seed=5)
    epochs = [[order[epoch * 11 + index] for index in range(11)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert [Order(11, seed=6)[index] for index in range(11)] != epochs[0]


def test_the_order_can_be_entered_anywhere():
    straight = Order(7, seed=1)
    wanted = [straight[position] for position in range(40)]
    for position in (39, 0, 20, 8, 33):
        assert Order(7, seed=1)[position] == wanted[position]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_take_each_place_once(world):
    taken = [position for batch in range(4) for rank in range(world) for position in share(100, batch, 2, rank, world)]
    assert sorted(taken) == list(range(100, 100 + 4 * 2 * world))


def test_one_process_with_accumulation_sees_what_two_see():
    two = [position for rank in range(2) for position in share(0, 0, 3, rank, 2)]
    one = [position for batch in range(2) for position in share(0, batch, 3)]
    assert two == one


class Gated(MemoryLatents):
    """Latents whose every read is noted, and whose clip `held` waits until it may be read."""

    def __init__(self, held: str):
        super().__init__(7)
        self.held, self.open, self.begun = held, threading.Event(), threading.Event()

    def clip(self, clip_id: str) -> torch.Tensor:
        if clip_id == self.held:
            self.begun.set()
            assert self.open.wait(60)
        return super().clip(clip_id)


def test_batches_read_ahead_are_those_read_at_once_at_any_place():
    latents, recipe = MemoryLatents(7), tiny_recipe(seed=3)
    samples = latents.samples(0).train
    order = Order(len(samples), 3)
    places = [share(start, 0, 3) for start in range(5, 80, 3)]
    for skipped in (0, 4):  # from the start of the places, and as after a resume
        ahead = ReadAhead(latents, samples, order, recipe, SHAPE)
        for positions, following in zip(places[skipped:], [*places[skipped + 1 :], None], strict=True):
            batch, drawn = ahead.take(positions, following)
            wanted = load_batch(latents, samples, Order(len(samples), 3), positions, torch.device("cpu"))
            assert batch.clip_ids == wanted.clip_ids and batch.positions == tuple(positions)
            assert torch.equal(batch.clean, wanted.clean) and torch.equal(batch.text, wanted.text)
            assert torch.equal(drawn.noise, draw(recipe, positions, SHAPE).noise)
        ahead.close()


def test_the_next_batch_is_read_while_one_is_used_and_its_failure_is_its_own():
    order = Order(7, 3)
    first, second, third = (share(start, 0, 1) for start in (0, 1, 2))
    latents = Gated(f"clip{order[1]}")
    ahead = ReadAhead(latents, latents.samples(0).train, order, tiny_recipe(seed=3), SHAPE)
    ahead.take(first, second)
    assert latents.begun.wait(60), "the second is being read, and the first is here already"
    del latents.clips[f"clip{order[2]}"]
    latents.open.set()
    assert ahead.take(second, third)[0].clip_ids == (f"clip{order[1]}",)
    with pytest.raises(KeyError, match=f"clip{order[2]}"):
        ahead.take(third)
    ahead.close()


def test_samples_come_by_split_and_caps_choose_by_hash(tmp_path):
    lake = Lake(tmp_path)
    version = dataset(lake, ["train"] * 20 + ["validation"] * 4 + ["test"] * 3)
    samples = read_samples(lake, version)
    assert [len(samples.train), len(samples.validation)] == [20, 4]
    assert samples.train[3].clip_id == "clip003" and samples.train[3].caption == "task 3"
    few = read_samples(lake, version, max_train_clips=6, max_validation_clips=2)
    fewer = read_samples(lake, version, max_train_clips=5)
    assert set(fewer.train) < set(few.train) < set(samples.train)
    assert len(few.validation) == 2
    assert [sample.clip_id for sample in few.train] != [f"clip{number:03d}" for number in range(6)]


def test_a_dataset_that_cannot_be_trained_on_says_so(tmp_path):
    lake = Lake(tmp_path)
    with pytest.raises(UserError, match="build the dataset first"):
        read_samples(lake, "v1")
    with pytest.raises(WorkFailed, match="no clip in its train split"):
        read_samples(lake, dataset(lake, ["test", "validation"]))
