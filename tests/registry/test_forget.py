"""Forgetting an episode: it stays out of what comes, what used it says so, and nothing else changes."""

import json

import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.registry import names
from cosmos_ops.registry.forget import forget_episode
from cosmos_ops.registry.lineage import lineage_of
from cosmos_ops.registry.lineage_text import lineage_tree
from cosmos_ops.registry.usage import lineage_of_drop, lineage_of_episode
from cosmos_ops.shards.exclusions import read_forgotten
from tests.registry.conftest import FIRST, SECOND
from tests.registry.test_promote import MODEL, held, run


@pytest.fixture
def champions(house):
    run(house, {"lora-r8": 0.3}, house.dataset(FIRST))
    return run(house, {"dora-r8": 0.5}, house.dataset(FIRST, SECOND))[2]


def state(house) -> dict:
    return {
        path: path.read_bytes() for path in house.lake.root.rglob("*") if path.is_file() and "forgotten" not in str(path) and not path.name.endswith(".lock")
    }


def test_what_used_the_episode_is_marked_and_nothing_else_changes(house, champions):
    before = state(house)
    told = forget_episode(house.lake, house.tracking, "ep-f", " the person in it asked ")
    assert (told["reason"], told["unchanged"], [made["version"] for made in told["adapters"]]) == ("the person in it asked", False, [2])
    assert read_forgotten(house.lake) == {"ep-f": "the person in it asked"} and state(house) == before and held(house) == {"champion": 2}
    client = house.tracking.client
    assert client.get_model_version(MODEL, "2").tags[names.FORGOTTEN] == '["ep-f"]' == client.get_run(champions["run_id"]).data.tags[names.FORGOTTEN]
    assert names.FORGOTTEN not in client.get_model_version(MODEL, "1").tags
    found = lineage_of(house.lake, house.tracking, house.profile, "champion")
    assert found["forgotten"] == {"ep-f": "the person in it asked"} and "FORGOTTEN ep-f: the person in it asked" in lineage_tree(found)
    assert lineage_of_episode(house.lake, house.tracking, "ep-f")["forgotten"] == "the person in it asked"
    assert lineage_of_drop(house.lake, house.tracking, "tuesday")["forgotten"] == {"ep-f": "the person in it asked"}
    record = json.loads((house.lake.root / "forgotten/ep-f.json").read_text())
    assert record["clips"] == ["ep-f-top-0", "ep-f-top-1"] and record["time"]


def test_again_it_keeps_the_first_reason_and_sets_marks_that_are_missing(house, champions):
    forget_episode(house.lake, house.tracking, "ep-a", "first")
    house.tracking.client.delete_tag(champions["run_id"], names.FORGOTTEN)
    again = forget_episode(house.lake, house.tracking, "ep-a", "second")
    assert (again["reason"], again["unchanged"]) == ("first", True)
    forget_episode(house.lake, house.tracking, "ep-b", "too")
    assert house.tracking.client.get_run(champions["run_id"]).data.tags[names.FORGOTTEN] == '["ep-a","ep-b"]'


def test_no_episode_and_no_reason(house, champions):
    with pytest.raises(UserError, match="holds episode 'nope'"):
        forget_episode(house.lake, house.tracking, "nope", "why")
    with pytest.raises(UserError, match="--reason TEXT"):
        forget_episode(house.lake, house.tracking, "ep-a", "  ")
    assert read_forgotten(house.lake) == {}
