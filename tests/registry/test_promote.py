"""Promotion in a real registry: what moves the alias, what leaves it, and what a kill in between does."""

import json
import multiprocessing
import shutil

import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.heads import Heads
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import load_profile
from cosmos_ops.registry import decision as deciding
from cosmos_ops.registry import names
from cosmos_ops.registry.adapter_model import adapter_model
from cosmos_ops.registry.decision import decide_and_apply
from cosmos_ops.registry.history import HISTORY, INTENT, history_of, new_entry, read_history, reigns
from cosmos_ops.registry.promote import adapter_folder, champion, promote, rollback
from cosmos_ops.registry.retraining import CHAMPION_DATASET
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.versions import aliases_of, register_adapter
from tests.registry.conftest import EVALUATION_SET, FIRST, SECOND, made_by, model_folder, scoreboard

MODEL = "cosmos-nano-so-101-follower"


class Killed(BaseException):
    """Stands for the process ending here."""


def kill_at(monkeypatch, client, call: str):
    def killed(*arguments, **named):
        raise Killed(call)

    context = monkeypatch.context()
    patch = context.__enter__()
    patch.setattr(client, call, killed)
    return context


def run(house, diffs: dict[str, float], dataset: str, against_incumbent: dict[str, float] | None = None):
    """One whole decision: adapters trained and recorded, leaderboard built, decided and applied."""
    adapters = {recipe: house.adapter(recipe, dataset) for recipe in diffs}
    for adapter in adapters.values():
        house.record(adapter)
    board = house.leaderboard(scoreboard(diffs, against_incumbent))
    return decide_and_apply(house.lake, house.tracking, house.profile, board.path, adapters, against_incumbent is not None, made_by())


def held(house) -> dict[str, int]:
    return aliases_of(house.tracking.client, MODEL)


def told(house) -> list[tuple]:
    return [(entry["action"], entry["version"]) for entry in read_history(house.tracking.client, MODEL)]


def versions(house) -> list:
    found = house.tracking.client.search_model_versions(f"name = '{MODEL}'")
    return sorted(found, key=lambda version: int(version.version))


def test_the_first_winner_becomes_champion(house, dataset):
    assert champion(house.tracking, house.profile, house.lake) is None
    manifest, decision, holder = run(house, {"lora-r8": 0.3, "dora-r8": 0.2}, dataset)
    assert decision["promoted"] and decision["reason"].startswith("lora-r8 beats base: psnr +0.3 [0.25, 0.35]")
    assert {key: holder[key] for key in ("name", "version", "recipe")} == {"name": MODEL, "version": 1, "recipe": "lora-r8"}
    assert house.tracking.client.get_run(holder["run_id"]).info.experiment_id == holder["experiment_id"]
    assert champion(house.tracking, house.profile, house.lake) == holder == manifest.meta["champion"]
    assert held(house) == {"champion": 1} and told(house) == [("promote", 1)]
    assert json.loads(manifest.file("decision.json").read_text())["checks"][0]["metric"] == "psnr"
    assert Heads(house.lake, "nano").get(CHAMPION_DATASET) == dataset
    winner, runner_up = versions(house)
    tags = {
        names.GATE: "passed",
        names.EVALUATION_SET: EVALUATION_SET,
        names.DATASET_VERSION: dataset,
        names.RECIPE: "lora-r8",
        names.DAGSTER_RUN: "dagster-run-1",
    }
    assert tags.items() <= winner.tags.items() and runner_up.tags[names.GATE] == "passed"
    assert json.loads(winner.tags[names.SCORES])["psnr"]["mean"] == pytest.approx(20.3)
    model = adapter_model(house.tracking.client, holder["run_id"])
    assert (winner.source, winner.tags[names.MODEL_ID]) == (model.artifact_location, model.model_id)


def test_the_same_decision_again_changes_nothing(house, dataset):
    first, _, holder = run(house, {"lora-r8": 0.3}, dataset)
    again, decision, still = run(house, {"lora-r8": 0.3}, dataset)
    assert again.unchanged and not first.unchanged and (again.key, again.data_version) == (first.key, first.data_version)
    assert still == holder and decision["promoted"] and len(versions(house)) == 1 and told(house) == [("promote", 1)]


def test_a_rejection_keeps_the_champion_and_names_a_challenger(house, dataset):
    _, _, holder = run(house, {"lora-r8": 0.3}, dataset)
    later = house.dataset(FIRST, SECOND)
    _, decision, still = run(house, {"lora-r8": 0.3, "dora-r8": 0.1}, later, {"lora-r8": 0.01, "dora-r8": -0.2})
    assert not decision["promoted"] and "no contender beat the incumbent: lora-r8 psnr +0.01" in decision["reason"]
    assert still == holder and held(house) == {"champion": 1, "challenger": 2} and told(house) == [("promote", 1)]
    assert Heads(house.lake, "nano").get(CHAMPION_DATASET) == dataset
    assert versions(house)[2].tags[names.GATE_REASON].startswith("psnr -0.2 [-0.25, -0.15] is worse against incumbent; ssim")


def test_no_champion_when_the_first_is_rejected(house, dataset):
    manifest, decision, holder = run(house, {"lora-r8": 0.01}, dataset)
    assert holder is None and manifest.meta["champion"] is None and not decision["promoted"]
    assert held(house) == {"challenger": 1} and Heads(house.lake, "nano").get(CHAMPION_DATASET) is None


def test_a_better_adapter_takes_over_and_leaves_no_challenger(house, dataset):
    run(house, {"lora-r8": 0.01}, dataset)
    _, decision, holder = run(house, {"lora-r8": 0.5}, house.dataset(FIRST, SECOND))
    assert decision["promoted"] and holder["version"] == 2 and held(house) == {"champion": 2}


def test_the_champion_as_its_own_incumbent_keeps_its_verdict(house, dataset):
    run(house, {"lora-r8": 0.3}, dataset)
    verdict = versions(house)[0].tags
    _, decision, holder = run(house, {"lora-r8": 0.3}, dataset, {"lora-r8": 0.0})
    assert (decision["promoted"], decision["reason"], holder["version"]) == (False, "nothing new to promote: lora-r8 is the incumbent itself", 1)
    assert held(house) == {"champion": 1} and versions(house)[0].tags == verdict and verdict[names.GATE] == "passed"


def test_promotion_by_hand_needs_the_gate_or_force(house, dataset):
    run(house, {"lora-r8": 0.01}, dataset)
    with pytest.raises(UserError, match=r"version 1 did not pass the gate \(psnr \+0.01 .* includes 0.*add --force --reason TEXT"):
        promote(house.lake, house.tracking, house.profile, "1", force=False, reason="")
    assert held(house) == {"challenger": 1}
    holder = promote(house.lake, house.tracking, house.profile, "challenger", force=True, reason="looks right on the robot")
    assert holder["version"] == 1 and held(house) == {"champion": 1}
    (entry,) = read_history(house.tracking.client, MODEL)
    assert (entry["action"], entry["reason"]) == ("force", "looks right on the robot") and entry["time"].endswith("+00:00")
    promote(house.lake, house.tracking, house.profile, 1, force=True, reason="again")
    assert told(house) == [("force", 1)]


def test_an_adapter_never_decided_on_needs_force(house, dataset):
    adapter = house.adapter("lora-r8", dataset)
    house.record(adapter)
    assert register_adapter(house.lake, house.tracking, house.profile, adapter) == register_adapter(house.lake, house.tracking, house.profile, adapter) == 1
    with pytest.raises(UserError, match="was never put to the gate"):
        promote(house.lake, house.tracking, house.profile, "1")


@pytest.mark.parametrize(
    ("ref", "said"), [("7", "has no version 7; there are versions 1"), ("challenger", "has no challenger"), ("best", "'best' is no adapter")]
)
def test_promoting_what_is_not_there(house, dataset, ref, said):
    run(house, {"lora-r8": 0.3}, dataset)
    with pytest.raises(UserError, match=said):
        promote(house.lake, house.tracking, house.profile, ref)


def test_before_anything_is_registered_every_command_says_what_to_do(house):
    for command in (lambda: promote(house.lake, house.tracking, house.profile, "1"), lambda: rollback(house.lake, house.tracking, house.profile)):
        with pytest.raises(UserError, match="cosmos-ops run"):
            command()


def three_champions(house) -> list[str]:
    datasets = [house.dataset(FIRST), house.dataset(SECOND), house.dataset(FIRST, SECOND)]
    for number, dataset in enumerate(datasets):
        run(house, {"lora-r8": 0.3 + number}, dataset)
    return datasets


def test_rollback_goes_back_one_champion_at_a_time(house):
    datasets = three_champions(house)
    assert [rollback(house.lake, house.tracking, house.profile)["version"] for _ in range(2)] == [2, 1]
    assert Heads(house.lake, "nano").get(CHAMPION_DATASET) == datasets[0]
    with pytest.raises(UserError, match="version 1 is the first champion"):
        rollback(house.lake, house.tracking, house.profile)
    assert held(house) == {"champion": 1}
    assert told(house) == [("promote", 1), ("promote", 2), ("promote", 3), ("rollback", 2), ("rollback", 1)]
    assert read_history(house.tracking.client, MODEL)[3]["reason"] == "rolled back from version 3"


def test_a_decision_is_not_carried_out_again_after_a_rollback(house):
    datasets = three_champions(house)
    rollback(house.lake, house.tracking, house.profile)
    _, _, holder = run(house, {"lora-r8": 2.3}, datasets[2])
    assert holder["version"] == 2 and held(house) == {"champion": 2, "challenger": 3}
    assert promote(house.lake, house.tracking, house.profile, "3")["version"] == 3


def test_rollback_passes_over_a_deleted_version(house):
    three_champions(house)
    house.tracking.client.delete_model_version(MODEL, "2")
    assert rollback(house.lake, house.tracking, house.profile)["version"] == 1


def test_an_alias_moved_in_mlflow_itself_is_noticed(house):
    three_champions(house)
    house.tracking.client.set_registered_model_alias(MODEL, "champion", "1")
    assert rollback(house.lake, house.tracking, house.profile)["version"] == 3
    assert told(house)[3:] == [("found", 1), ("rollback", 3)]
    house.tracking.client.delete_registered_model_alias(MODEL, "champion")
    with pytest.raises(UserError, match="has no champion"):
        rollback(house.lake, house.tracking, house.profile)
    assert promote(house.lake, house.tracking, house.profile, "2")["version"] == 2
    assert rollback(house.lake, house.tracking, house.profile)["version"] == 3


@pytest.mark.parametrize(
    "call",
    [
        "create_registered_model",
        "create_model_version",
        "set_model_version_tag",
        "set_registered_model_tag",
        "set_registered_model_alias",
        "delete_registered_model_tag",
    ],
)
def test_a_decision_killed_at_any_call_is_completed_by_the_next(house, dataset, monkeypatch, call):
    context = kill_at(monkeypatch, house.tracking.client, call)
    with pytest.raises(Killed):
        run(house, {"lora-r8": 0.3, "dora-r8": 0.2}, dataset)
    context.__exit__(None, None, None)
    manifest, _, holder = run(house, {"lora-r8": 0.3, "dora-r8": 0.2}, dataset)
    assert holder["version"] == 1 and held(house) == {"champion": 1} and not manifest.unchanged
    assert len(versions(house)) == 2 and told(house) == [("promote", 1)]
    assert INTENT not in house.tracking.client.get_registered_model(MODEL).tags


def test_a_decision_killed_before_it_was_written_down_is_not_applied_twice(house, dataset, monkeypatch):
    def killed(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(deciding, "build_folder", killed)
        with pytest.raises(Killed):
            run(house, {"lora-r8": 0.3}, dataset)
    assert held(house) == {"champion": 1}
    manifest, decision, _ = run(house, {"lora-r8": 0.3}, dataset)
    assert decision["promoted"] and not manifest.unchanged and told(house) == [("promote", 1)] and len(versions(house)) == 1


@pytest.mark.parametrize("call", ["set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_tag"])
def test_a_rollback_killed_at_any_call_goes_back_once(house, monkeypatch, call):
    three_champions(house)
    context = kill_at(monkeypatch, house.tracking.client, call)
    with pytest.raises(Killed):
        rollback(house.lake, house.tracking, house.profile)
    context.__exit__(None, None, None)
    assert rollback(house.lake, house.tracking, house.profile)["version"] == 2
    assert held(house) == {"champion": 2} and told(house)[3:] == [("rollback", 2)]


def test_a_move_left_open_to_a_version_deleted_since_is_dropped(house):
    three_champions(house)
    house.tracking.client.set_registered_model_tag(MODEL, INTENT, json.dumps(new_entry(9, "promote", "killed")))
    assert rollback(house.lake, house.tracking, house.profile)["version"] == 2
    assert INTENT not in house.tracking.client.get_registered_model(MODEL).tags


def test_a_lost_registry_is_made_again_from_the_lake(house, dataset, empty_database):
    manifest, _, _ = run(house, {"lora-r8": 0.3}, dataset)
    house.tracking.client.delete_registered_model(MODEL)
    again, _, holder = run(house, {"lora-r8": 0.3}, dataset)
    assert again.unchanged and again.key == manifest.key and holder["version"] == 1


def test_the_history_drops_its_oldest_entries_to_fit(house, dataset):
    run(house, {"lora-r8": 0.3, "dora-r8": 0.2}, dataset)
    for number in range(14):
        promote(house.lake, house.tracking, house.profile, 2 - number % 2, reason=f"{number} " + "because " * 60)
    text = house.tracking.client.get_registered_model(MODEL).tags[HISTORY]
    assert len(text) <= 5000 and json.loads(text)[-1]["reason"].startswith("13 because") and len(json.loads(text)[-1]["reason"]) == 300
    assert rollback(house.lake, house.tracking, house.profile)["version"] == 2


def test_reigns_are_a_stack():
    def entry(action, version):
        return {"action": action, "version": version}

    assert reigns([]) == []
    assert reigns([entry("promote", 1), entry("promote", 2), entry("rollback", 1), entry("promote", 3)]) == [1, 3]
    assert reigns([entry("promote", 1), entry("promote", 2), entry("promote", 3), entry("rollback", 1)]) == [1]
    assert reigns([entry("rollback", 4)]) == [4]
    assert reigns([entry("promote", 1), entry("found", None), entry("promote", 2)]) == [1, None, 2]


def test_an_adapters_folder_by_every_name_it_has(house, dataset):
    _, _, holder = run(house, {"lora-r8": 0.3, "dora-r8": 0.2}, dataset)
    adapter = house.adapter("lora-r8", dataset)
    for ref in ("champion", "1", holder["run_id"], adapter.key, str(adapter.path)):
        assert adapter_folder(house.lake, house.tracking, house.profile, ref) == adapter.path
    assert adapter_folder(house.lake, house.tracking, house.profile, "2") == house.adapter("dora-r8", dataset).path


def test_an_adapter_the_lake_lacks_comes_back_from_mlflow_as_it_was(house, dataset):
    run(house, {"lora-r8": 0.3}, dataset)
    adapter = house.adapter("lora-r8", dataset)
    weights = adapter.file("adapter_model.safetensors").read_bytes()
    shutil.rmtree(adapter.path)
    folder = adapter_folder(house.lake, house.tracking, house.profile, "champion")
    assert folder == adapter.path and (folder / "adapter_model.safetensors").read_bytes() == weights
    assert house.adapter("lora-r8", dataset).unchanged and not (folder / ".checkpoints").exists()
    assert not list(house.lake.adapter("x").parent.glob(".*.tmp-*"))


def test_a_damaged_copy_in_mlflow_is_refused(house, dataset):
    _, _, holder = run(house, {"lora-r8": 0.3}, dataset)
    adapter = house.adapter("lora-r8", dataset)
    shutil.rmtree(adapter.path)
    stored = model_folder(house, holder["run_id"]) / "adapter_model.safetensors"
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    with pytest.raises(WorkFailed, match="is damaged: adapter_model.safetensors"):
        adapter_folder(house.lake, house.tracking, house.profile, "champion")
    assert not adapter.path.exists()


def test_an_adapter_trained_again_is_not_passed_off_as_the_champion(house, dataset):
    run(house, {"lora-r8": 0.3}, dataset)
    shutil.rmtree(house.adapter("lora-r8", dataset).path)
    house.adapter("lora-r8", dataset, seed=1)
    with pytest.raises(UserError, match="was trained again and is not what champion is"):
        adapter_folder(house.lake, house.tracking, house.profile, "champion")


def test_what_is_no_adapter_is_refused(house, dataset, tmp_path):
    _, _, holder = run(house, {"lora-r8": 0.3}, dataset)
    board = house.leaderboard(scoreboard({"lora-r8": 0.3}))
    base_run = house.tracking.record_scores(house.lake, house.profile, "base", None, scoreboard({"lora-r8": 0.3}), board, "b" * 40)
    for ref, said in (
        (str(tmp_path), "is no adapter"),
        ("f" * 32, "is no adapter"),
        (base_run, r"\(base on e0e0e0e0\) is not an adapter's"),
        ("9", "has no version 9"),
    ):
        with pytest.raises(UserError, match=said):
            adapter_folder(house.lake, house.tracking, house.profile, ref)


def test_the_decision_lies_with_the_run_in_mlflow(house, dataset):
    manifest, _, holder = run(house, {"lora-r8": 0.3}, dataset)
    path = house.tracking.client.download_artifacts(holder["run_id"], "decision/decision.json")
    with open(path) as stored:
        told = json.load(stored)
    assert (
        told["winner"] == "lora-r8" and told["gates"]["must_beat"] and house.tracking.client.get_run(holder["run_id"]).data.tags[names.DECISION] == manifest.key
    )


def test_the_history_names_recipes_and_a_move_by_hand(house):
    three_champions(house)
    house.tracking.client.set_registered_model_alias(MODEL, "champion", "1")
    told = history_of(house.tracking.client, MODEL)
    assert told["champion"] == 1 and [(entry["version"], entry["recipe"]) for entry in told["history"]] == [(1, "lora-r8"), (2, "lora-r8"), (3, "lora-r8")]
    assert "moved outside of this project, to version 1" in told["notes"][0]
    assert history_of(house.tracking.client, "nobody") == {"name": "nobody", "champion": None, "history": [], "notes": []}


def _promoter(lake: str, tracking_uri: str, artifact_root: str, version: str, ready, go) -> None:
    tracking, profile = Tracking(tracking_uri, artifact_root), load_profile("nano")
    tracking.client.search_registered_models()
    ready.set()
    go.wait()
    promote(Lake(lake), tracking, profile, version)


def test_two_promotions_at_once_come_one_after_the_other(house):
    three_champions(house)
    context = multiprocessing.get_context("spawn")
    go, ready = context.Event(), [context.Event() for _ in range(2)]
    where = (str(house.lake.root), house.tracking.tracking_uri, house.tracking.artifact_root)
    processes = [context.Process(target=_promoter, args=(*where, version, ready[place], go)) for place, version in enumerate("12")]
    for process in processes:
        process.start()
    for process, is_ready in zip(processes, ready, strict=True):
        while not is_ready.wait(1):
            assert process.is_alive()
    go.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    entries = told(house)[3:]
    assert sorted(entries) == [("promote", 1), ("promote", 2)] and held(house) == {"champion": entries[-1][1]}
    assert INTENT not in house.tracking.client.get_registered_model(MODEL).tags
