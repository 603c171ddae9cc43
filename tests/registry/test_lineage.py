"""Lineage both ways over a real lake and a real registry."""

import json
import shutil

import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.registry.lineage import lineage_of
from cosmos_ops.registry.lineage_text import lineage_mermaid, lineage_tree
from cosmos_ops.registry.promote import adapter_folder, rollback
from cosmos_ops.registry.usage import lineage_of_drop, lineage_of_episode
from tests.registry.conftest import EVALUATION_SET, FIRST, SECOND, model_folder
from tests.registry.test_promote import MODEL, run

DESIGNED = (
    "alias name version run_id dagster_run_id base_model base_revision base_licence recipe code_version git_commit dataset_version evaluation_set drops "
    "data_licences episodes captioner scores"
).split()


@pytest.fixture
def champions(house):
    """Version 1 (lora-r8 on the first drop) and champion version 2 (dora-r8 on both)."""
    run(house, {"lora-r8": 0.3}, house.dataset(FIRST))
    _, _, holder = run(house, {"dora-r8": 0.5}, house.dataset(FIRST, SECOND))
    return holder


def test_the_champions_lineage_is_whole(house, champions):
    found = lineage_of(house.lake, house.tracking, house.profile, "champion")
    assert not [key for key in DESIGNED if not found[key]]
    assert (found["alias"], found["name"], found["version"], found["run_id"], found["recipe"]) == ("champion", MODEL, 2, champions["run_id"], "dora-r8")
    assert (found["base_model"], found["base_revision"], found["base_licence"]) == ("builtin:nano", "b" * 40, "Apache-2.0")
    assert (found["dagster_run_id"], found["code_version"], found["git_commit"]) == ("dagster-run-1", "0.1.0", "c" * 40)
    assert (found["dataset_version"], found["evaluation_set"]) == (house.dataset(FIRST, SECOND), EVALUATION_SET)
    assert (found["drops"], found["data_licences"]) == (["monday", "tuesday"], {"monday": "CC-BY-4.0", "tuesday": "unknown"})
    assert found["episodes"] == {"train": ["ep-a", "ep-b", "ep-f"], "validation": ["ep-c"], "test": ["ep-d", "ep-e", "ep-g"]}
    assert found["captioner"] == "task" and found["scores"]["psnr"] == {"mean": 20.5, "low": 20.45, "high": 20.55, "n": 12}
    json.dumps(found)


def test_every_reference_leads_to_the_same_adapter(house, champions):
    adapter = house.adapter("dora-r8", house.dataset(FIRST, SECOND))
    whole = lineage_of(house.lake, house.tracking, house.profile, "champion")
    for ref in ("2", champions["run_id"], adapter.key, str(adapter.path)):
        assert lineage_of(house.lake, house.tracking, house.profile, ref) == whole
    assert lineage_of(house.lake, house.tracking, house.profile, "1")["alias"] is None


def test_an_adapter_that_was_only_trained_has_lineage_without_a_version(house, dataset):
    run_id, _ = house.record(house.adapter("lora-r8", dataset))
    found = lineage_of(house.lake, house.tracking, house.profile, run_id)
    assert (found["name"], found["version"], found["alias"], found["scores"], found["evaluation_set"]) == (None, None, None, None, None)
    assert found["drops"] == ["monday"] and found["recipe"] == "lora-r8"
    assert lineage_tree(found).startswith(f"unregistered adapter run {run_id}")


@pytest.mark.parametrize("episode", ["ep-a", "ep-c"])
def test_a_training_or_validation_episode_leads_to_both_adapters(house, champions, episode):
    found = lineage_of_episode(house.lake, house.tracking, episode)
    assert [(made["name"], made["version"], made["aliases"]) for made in found["adapters"]] == [(MODEL, 1, []), (MODEL, 2, ["champion"])]
    assert found["adapters"][1]["run_id"] == champions["run_id"]
    rollback(house.lake, house.tracking, house.profile)
    assert [made["aliases"] for made in lineage_of_episode(house.lake, house.tracking, episode)["adapters"]] == [["champion"], []]


def test_an_episode_of_the_second_drop_leads_to_the_second_adapter_only(house, champions):
    found = lineage_of_episode(house.lake, house.tracking, "ep-f")
    assert (found["drop"], found["clips"]) == ("tuesday", ["ep-f-top-0", "ep-f-top-1"])
    assert found["shards"] == [f"drops/tuesday/shards/{house.profile.data_fingerprint}/shard-00000.tar"]
    assert found["dataset_versions"] == [house.dataset(FIRST, SECOND)] and [made["version"] for made in found["adapters"]] == [2]


def test_a_test_episode_shows_its_data_and_leads_to_no_adapter(house, champions):
    found = lineage_of_episode(house.lake, house.tracking, "ep-d")
    assert found["adapters"] == [] and len(found["clips"]) == 2 and len(found["shards"]) == 1 and len(found["dataset_versions"]) == 2
    assert set(found["splits"].values()) == {"test"} and lineage_tree(found).endswith("└─ no adapter saw it in training")


def test_a_quarantined_episode_is_known_and_went_nowhere(house, champions):
    from dataclasses import replace

    from tests.registry.conftest import table

    split = replace(SECOND, drop="friday", train=("ep-x",), test=())
    house.drop(split)
    fingerprint = house.profile.data_fingerprint
    empty = [{"clip_id": "other", "drop": "friday", "episode_id": "ep-y", "split": "train", "shard": "shard-00000.tar", "captioner": "task"}]
    table(house.lake.drop_stage("friday", "clips", fingerprint), "clips.parquet", empty)
    table(house.lake.drop_stage("friday", "shards", fingerprint), "index.parquet", empty)
    found = lineage_of_episode(house.lake, house.tracking, "ep-x")
    assert (found["drop"], found["clips"], found["shards"], found["dataset_versions"], found["adapters"]) == ("friday", [], [], [], [])


def test_references_that_lead_nowhere_say_what_to_do(house, champions, tmp_path):
    with pytest.raises(UserError, match="holds episode 'nope'.*cosmos-ops inspect PATH"):
        lineage_of_episode(house.lake, house.tracking, "nope")
    for ref, said in (
        ("challenger", "has no challenger; there are versions 1, 2"),
        ("12", "has no version 12"),
        ("what", "'what' is no adapter"),
        ("0" * 32, "is no adapter"),
    ):
        with pytest.raises(UserError, match=said):
            lineage_of(house.lake, house.tracking, house.profile, ref)


def test_a_lake_without_the_dataset_says_so(house, champions):
    house.lake.dataset(house.dataset(FIRST, SECOND)).rename(house.lake.root / "elsewhere")
    with pytest.raises(UserError, match="is not there .*use the lake that it was made in"):
        lineage_of(house.lake, house.tracking, house.profile, "champion")


def test_the_trees_name_what_matters(house, champions):
    tree = lineage_tree(lineage_of(house.lake, house.tracking, house.profile, "champion"))
    for text in (
        f"{MODEL} version 2 (champion)",
        "3 train, 1 validation, 3 test episodes",
        "drop tuesday (unknown)",
        "psnr 20.5 [20.45, 20.55] n=12",
        "gate passed: every check",
    ):
        assert text in tree
    tree = lineage_tree(lineage_of_episode(house.lake, house.tracking, "ep-a"))
    assert tree.splitlines()[0] == "episode ep-a" and tree.splitlines()[-1].startswith(f"└─ adapter {MODEL} version 2 (champion) run ")


def test_a_drop_leads_to_everything_made_of_it(house, champions):
    found = lineage_of_drop(house.lake, house.tracking, "monday")
    assert found["episodes"] == ["ep-a", "ep-b", "ep-c", "ep-d", "ep-e"] and (found["licence"], found["robot"]) == ("CC-BY-4.0", "SO-101 Follower")
    assert len(found["clips"]) == 10 and found["shards"] == [f"drops/monday/shards/{house.profile.data_fingerprint}/shard-00000.tar"]
    assert [(made["version"], made["aliases"]) for made in found["adapters"]] == [(1, []), (2, ["champion"])]
    assert found["episodes_by_split"][house.dataset(FIRST)] == {"train": 2, "validation": 1, "test": 2}
    (reign,) = found["adapters"][0]["champion"]
    assert reign["until"] == found["adapters"][1]["champion"][0]["from"] and found["adapters"][1]["champion"][0]["until"] is None
    assert [made["version"] for made in lineage_of_drop(house.lake, house.tracking, "tuesday")["adapters"]] == [2]
    assert "adapter" in lineage_tree(found)
    with pytest.raises(UserError, match="drop 'friday' is not in the lake; there are monday, tuesday"):
        lineage_of_drop(house.lake, house.tracking, "friday")


def test_adapters_that_were_never_registered_or_recorded_are_found_too(house, champions):
    run_id, _ = house.record(house.adapter("lora-r32", house.dataset(FIRST)))
    house.adapter("dora-r32", house.dataset(FIRST))
    made = lineage_of_episode(house.lake, house.tracking, "ep-a")["adapters"]
    assert [(entry["name"], entry["recipe"], entry["run_id"]) for entry in made[2:]] in (
        [(None, "lora-r32", run_id), (None, "dora-r32", None)],
        [(None, "dora-r32", None), (None, "lora-r32", run_id)],
    )


def test_adapters_are_found_on_whichever_page_of_mlflow_they_are(house, champions, monkeypatch):
    for recipe in ("lora-r32", "dora-r32"):
        house.record(house.adapter(recipe, house.dataset(FIRST)))
    house.tracking.client.create_experiment("someone else's")
    whole = lineage_of_episode(house.lake, house.tracking, "ep-a")["adapters"]
    monkeypatch.setattr("cosmos_ops.registry.usage._PAGE", 1)
    assert lineage_of_episode(house.lake, house.tracking, "ep-a")["adapters"] == whole and len([made for made in whole if made["run_id"]]) == 4


def test_mermaid_graphs_join_drop_and_alias(house, champions):
    graph = lineage_mermaid(lineage_of_episode(house.lake, house.tracking, "ep-f")).splitlines()
    assert graph[0] == "flowchart LR"
    named = {line.split('"')[1]: line.split("[")[0].strip() for line in graph if '["' in line}
    arrows = {tuple(line.split(" --> ")) for line in map(str.strip, graph) if "-->" in line}
    assert (named["drop tuesday"], named["episode ep-f"]) in arrows and (named[f"{MODEL} version 2"], named["champion"]) in arrows
    backward = lineage_mermaid(lineage_of(house.lake, house.tracking, house.profile, "champion"))
    assert '"drop monday (CC-BY-4.0)"' in backward and '"champion"' in backward


def test_what_is_not_as_it_was_left_is_noted(house, champions):
    client = house.tracking.client

    def notes(ref="champion", **known):
        return lineage_of(house.lake, house.tracking, house.profile, ref, **known)["notes"]

    assert notes() == [] and notes(recipes=["dora-r8"]) == []
    assert notes(recipes=["lora-r8"]) == [
        "recipe dora-r8 is not in the repository any more; its settings are in the MLflow run and in the adapter's recipe.json"
    ]
    client.set_registered_model_alias(MODEL, "champion", "1")
    moved = "the champion alias was moved outside of this project, to version 1 (this project's last decision: version 2)"
    assert notes() == [moved] and moved in lineage_tree(lineage_of(house.lake, house.tracking, house.profile, "champion"))
    rollback(house.lake, house.tracking, house.profile)
    assert notes() == []
    shutil.rmtree(model_folder(house, champions["run_id"]))
    (gone,) = notes()
    assert gone == f"MLflow run {champions['run_id']} no longer holds the adapter's files; the lake does"
    shutil.rmtree(house.adapter("dora-r8", house.dataset(FIRST, SECOND)).path)
    assert "`cosmos-ops reproduce" in notes()[0]
    with pytest.raises(WorkFailed, match="holds no files of adapter .*reproduce"):
        adapter_folder(house.lake, house.tracking, house.profile, "champion")
