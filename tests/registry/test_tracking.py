"""Runs in a real SQLite MLflow: what they hold, and that recording twice adds nothing."""

import json
import multiprocessing
import shutil

import pytest
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake
from cosmos_ops.registry import names
from cosmos_ops.registry.adapter_model import adapter_model, stored_files
from cosmos_ops.registry.connection import talking_to
from cosmos_ops.registry.provenance import provenance
from cosmos_ops.registry.tracking import Tracking
from tests.registry.conftest import EVALUATION_SET, FIRST, SECOND, Split, made_by, model_folder, scoreboard


def runs(house) -> list:
    return house.tracking.client.search_runs([house.tracking.client.get_experiment_by_name("cosmos-nano-so-101-follower").experiment_id])


def artifacts(house, run_id: str, folder: str | None = None) -> set[str]:
    return {file.path for file in house.tracking.client.list_artifacts(run_id, folder)}


def test_an_adapters_run_holds_recipe_lineage_curve_files_and_data(house, dataset):
    adapter = house.adapter("lora-r8", dataset)
    run_id, experiment_id = house.record(adapter)
    run = house.tracking.client.get_run(run_id)
    assert (run.info.status, run.info.experiment_id, run.info.run_name) == ("FINISHED", experiment_id, f"lora-r8 on {dataset[:8]}")
    expected = {"name": "lora-r8", "rank": "8", "conditioning_probabilities.1": "0.5", "targets": "null", "environment.libraries.torch": "2.15.0"}
    assert expected.items() <= run.data.params.items()
    tags = {
        names.ADAPTER_KEY: adapter.key,
        names.DATASET_VERSION: dataset,
        names.BASE_MODEL: "builtin:nano",
        names.BASE_REVISION: "b" * 40,
        names.BASE_LICENCE: "Apache-2.0",
        names.RECIPE: "lora-r8",
        names.RECIPE_HASH: adapter.meta["recipe_hash"],
        names.DROPS: '["monday"]',
        names.DATA_LICENCES: '{"monday":"CC-BY-4.0"}',
        names.CAPTIONER: "task",
        names.DAGSTER_RUN: "dagster-run-1",
        names.GIT_COMMIT: "c" * 40,
        names.CODE_VERSION: "0.1.0",
    }
    assert tags.items() <= run.data.tags.items()
    history = house.tracking.client.get_metric_history(run_id, "loss")
    assert [point.step for point in history] == list(range(30)) and history[0].value == 1.0
    assert run.data.metrics["validation_loss"] == 0.4 and run.data.metrics["summary/validation_loss.best"] == 0.4
    assert "summary/validation_loss.final" not in run.data.metrics and "seconds" not in run.data.metrics
    model = adapter_model(house.tracking.client, run_id)
    assert (model.status, model.name, model.source_run_id) == (LoggedModelStatus.READY, "lora-r8", run_id)
    assert model.tags[names.DATASET_VERSION] == dataset and model.params["rank"] == "8"
    files = {"adapter_model.safetensors", "adapter_config.json", "recipe.json", "log.jsonl", "loss.png", "manifest.json", "MLmodel", "video_model.json"}
    assert stored_files(house.tracking.client, run_id) == files
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest, json.loads(used.dataset.profile)["clips"]) == ("cosmos-nano-so-101-follower", dataset, 10)


def test_artifacts_lie_below_the_artifact_root_even_with_a_space_in_it(house, dataset):
    run_id, _ = house.record(house.adapter("lora-r8", dataset))
    assert (model_folder(house, run_id) / "loss.png").is_file()


def test_recording_again_adds_nothing_and_keeps_the_first_dagster_run(house, dataset):
    adapter = house.adapter("lora-r8", dataset)
    first = house.record(adapter, "dagster-run-1")
    assert house.record(adapter, "dagster-run-2") == first
    (run,) = runs(house)
    assert run.data.tags[names.DAGSTER_RUN] == "dagster-run-1"
    assert len(house.tracking.client.get_metric_history(first[0], "loss")) == 30


@pytest.mark.parametrize("killed_in", ["log_inputs", "log_model_artifact", "set_terminated", "log_batch", "finalize_logged_model"])
def test_a_recording_that_was_killed_is_completed_in_the_same_run(house, dataset, monkeypatch, killed_in):
    adapter = house.adapter("lora-r8", dataset)

    def killed(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(house.tracking.client, killed_in, killed)
        with pytest.raises(KeyboardInterrupt):
            house.record(adapter)
    (unfinished,) = runs(house)
    assert names.MODEL_ID not in unfinished.data.tags
    run_id, _ = house.record(adapter)
    (run,) = runs(house)
    assert (run.info.run_id, run.info.status) == (unfinished.info.run_id, "FINISHED") and run_id == run.info.run_id
    assert len(house.tracking.client.get_metric_history(run_id, "loss")) == 30 and len(run.inputs.dataset_inputs) == 1
    assert "manifest.json" in stored_files(house.tracking.client, run_id)
    assert len(house.tracking.client.search_logged_models([run.info.experiment_id])) == 1


def test_other_weights_under_the_same_key_get_a_run_of_their_own(house, dataset):
    adapter = house.adapter("lora-r8", dataset)
    first, _ = house.record(adapter)
    shutil.rmtree(adapter.path)
    second, _ = house.record(house.adapter("lora-r8", dataset, seed=1))
    assert first != second and len(runs(house)) == 2


def test_any_number_of_drops_fits_into_a_tag(house):
    drops = [Split(f"drop-{number:04}-{'long' * 30}", (f"e{number}",), (), ()) for number in range(40)]
    for split in drops:
        house.drop(split)
    dataset = house.dataset(*drops)
    run_id, _ = house.record(house.adapter("lora-r8", dataset))
    assert house.tracking.client.get_run(run_id).data.tags[names.DROPS] == f"40 drops, see dataset {dataset}"


def test_scores_go_to_each_contenders_run_and_the_report_to_the_leaderboards(house, dataset):
    adapter = house.adapter("lora-r8", dataset)
    adapter_run, _ = house.record(adapter)
    board = scoreboard({"lora-r8": 0.3})
    board["paired"]["lora-r8"]["ssim"] |= {"low": None, "high": None}
    leaderboard = house.leaderboard(board)
    for _ in range(2):
        base_run = house.tracking.record_scores(house.lake, house.profile, "base", None, board, leaderboard, "b" * 40)
        assert house.tracking.record_scores(house.lake, house.profile, "lora-r8", adapter, board, leaderboard, "b" * 40) == adapter_run
    by_kind = {run.data.tags[names.KIND]: run for run in runs(house)}
    assert len(runs(house)) == 3 and set(by_kind) == {"adapter", "base", "leaderboard"}
    metrics = by_kind["adapter"].data.metrics
    assert metrics["eval/psnr"] == 20.3 and metrics["eval/psnr_low"] == pytest.approx(20.25) and metrics["eval/psnr_n"] == 12
    assert metrics["eval/psnr_vs_base"] == 0.3 and metrics["eval/ssim_vs_base"] == 0.3 and "eval/ssim_vs_base_low" not in metrics
    (compared,) = adapter_model(house.tracking.client, adapter_run).metrics and {
        (metric.dataset_digest, metric.value) for metric in adapter_model(house.tracking.client, adapter_run).metrics if metric.key == "eval/psnr"
    }
    assert compared == (EVALUATION_SET, 20.3)
    assert by_kind["base"].info.run_id == base_run and by_kind["base"].data.metrics["eval/psnr"] == 20
    assert all(run.data.tags[names.EVALUATION_SET] == EVALUATION_SET and run.info.status == "FINISHED" for run in by_kind.values())
    assert artifacts(house, by_kind["leaderboard"].info.run_id) == {"report.html", "scoreboard.json"}
    assert house.tracking.leaderboard_run(house.lake, house.profile, leaderboard).info.run_id == by_kind["leaderboard"].info.run_id
    assert len(house.tracking.client.get_metric_history(adapter_run, "eval/psnr")) == 1


def test_another_evaluation_set_does_not_mix_with_the_first(house, dataset):
    adapter = house.adapter("lora-r8", dataset)
    adapter_run, _ = house.record(adapter)
    board, other = scoreboard({"lora-r8": 0.3}), scoreboard({"lora-r8": 5.0})
    later = house.leaderboard(other, evaluation_set="f1" * 8)
    house.tracking.record_scores(house.lake, house.profile, "lora-r8", adapter, board, house.leaderboard(board), "b" * 40)
    child = [
        house.tracking.record_scores(house.lake, house.profile, "incumbent", adapter, {"scores": {"incumbent": other["scores"]["lora-r8"]}}, later, "b" * 40)
        for _ in range(2)
    ]
    assert child[0] == child[1] != adapter_run
    run = house.tracking.client.get_run(child[0])
    assert (run.data.tags["mlflow.parentRunId"], run.data.metrics["eval/psnr"]) == (adapter_run, 25.0)
    assert house.tracking.client.get_run(adapter_run).data.metrics["eval/psnr"] == 20.3


def test_scores_of_an_adapter_never_recorded_are_refused(house, dataset):
    board = scoreboard({"lora-r8": 0.3})
    with pytest.raises(UserError, match="has no MLflow run; record it first"):
        house.tracking.record_scores(house.lake, house.profile, "lora-r8", house.adapter("lora-r8", dataset), board, house.leaderboard(board), "b" * 40)


def test_an_adapter_of_a_dataset_this_lake_lacks_is_refused(house):
    with pytest.raises(UserError, match="dataset version 0123456789abcdef is not there"):
        house.record(house.adapter("lora-r8", "0123456789abcdef"))


def test_a_deleted_experiment_says_how_to_get_it_back(house, dataset):
    adapter = house.adapter("lora-r8", dataset)
    _, experiment = house.record(adapter)
    house.tracking.client.delete_experiment(experiment)
    with pytest.raises(UserError, match=f"is deleted; restore it .mlflow experiments restore -x {experiment}"):
        house.record(adapter)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:///tmp/mlruns", "is a folder, which MLflow no longer supports"),
        ("mlruns", "is a folder, which MLflow no longer supports"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9 does not answer"),
        ("http://[", "is not an address"),
        ("sqlite:////proc/nowhere/mlflow.db", "cannot be used"),
    ],
)
def test_an_address_that_cannot_work_is_one_line(tmp_path, uri, said):
    with pytest.raises(UserError) as failure:
        Tracking(uri, tmp_path).client.search_experiments()
    assert said in str(failure.value) and "\n" not in str(failure.value)


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database, and long enough to be looked at" * 50)
    with pytest.raises(UserError, match="cannot be used"):
        _ = Tracking(f"sqlite:///{tmp_path}/mlflow.db", tmp_path).client


def test_what_mlflow_refuses_is_one_line():
    with pytest.raises(WorkFailed, match=r"MLflow at sqlite:///x.db refused \(INTERNAL_ERROR\): two lines$"), talking_to("sqlite:///x.db"):
        raise MlflowException("two\nlines")


def test_the_robot_is_that_of_the_drops_that_needed_no_permission(house, tmp_path):
    assert names.model_name(house.profile, house.lake) == "cosmos-nano-so-101-follower"
    house.drop(Split("aaa", ("x",), (), ()), robot="Another/Arm", allow_mixed=True)
    assert names.lake_robot(house.lake) == "SO-101 Follower"
    assert names.model_name(house.profile, Lake(tmp_path / "empty")) == "cosmos-nano-unknown-robot"
    (house.lake.drop("aaa") / "drop.json").write_text("{")
    with pytest.raises(UserError, match="registration of drop 'aaa' is not readable"):
        names.lake_robot(house.lake)


def _record_in_a_process(house, adapter, ready):
    ready.wait()
    Tracking(house.tracking.tracking_uri, house.tracking.artifact_root).record_adapter(house.lake, house.profile, adapter, made_by())


def test_two_processes_that_record_at_once_share_one_experiment_and_one_run(house, dataset):
    adapter = house.adapter("lora-r8", dataset)
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(2)
    processes = [context.Process(target=_record_in_a_process, args=(house, adapter, ready)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0] and len(runs(house)) == 1


def test_provenance_names_this_code():
    made = provenance("run-7")
    assert made.dagster_run_id == "run-7" and made.code_version and made.git_commit


def test_both_drops_of_a_dataset_are_named(house):
    run_id, _ = house.record(house.adapter("lora-r8", house.dataset(FIRST, SECOND)))
    tags = house.tracking.client.get_run(run_id).data.tags
    assert (tags[names.DROPS], tags[names.DATA_LICENCES]) == ('["monday","tuesday"]', '{"monday":"CC-BY-4.0","tuesday":"unknown"}')
