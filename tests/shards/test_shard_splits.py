from hypothesis import given
from hypothesis import strategies as st

from cosmos_ops.shards.splits import SPLITS, assign_splits

IDS = st.lists(st.text("0123456789abcdef", min_size=4, max_size=8), unique=True, max_size=120)


@given(IDS, st.randoms())
def test_order_and_repetition_do_not_matter(ids, random):
    shuffled = ids + ids[: len(ids) // 2]
    random.shuffle(shuffled)
    assert assign_splits(shuffled) == assign_splits(ids)


@given(IDS)
def test_sizes(ids):
    splits = list(assign_splits(ids).values())
    counts = {split: splits.count(split) for split in SPLITS}
    assert sum(counts.values()) == len(ids)
    if len(ids) < 5:
        assert counts == {"train": len(ids), "validation": 0, "test": 0}
    else:
        assert counts["test"] == max(2, int(len(ids) / 10 + 0.5))
        assert counts["validation"] == max(1, int(len(ids) / 10 + 0.5))
        assert counts["train"] > 0


def test_splits_never_change():
    """A release that moved these would leak: champions in use were trained on `train`."""
    splits = assign_splits(f"{number:016x}" for number in range(30))
    held_out = {split: [int(episode, 16) for episode, found in splits.items() if found == split] for split in ("test", "validation")}
    assert {split: sorted(found) for split, found in held_out.items()} == {"test": [12, 14, 20], "validation": [10, 19, 28]}
