"""The model half on the real thing: Dagster, a training subprocess under Pipes, MLflow in SQLite, Chromium not needed."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import dagster as dg
import mlflow
import pytest
import yaml

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcome(adapted) -> dict:
    return json.loads((adapted.path.parent / "run.json").read_text())


def instance_of(home) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(home.path / "dagster"))


def test_every_contender_is_scored_and_a_decision_made_with_a_reason(outcome):
    assert set(outcome["scores"]) == {"base", "lora-r8", "dora-r8"}
    assert set(outcome["paired"]) == {"lora-r8", "dora-r8"}
    for metrics in outcome["scores"].values():
        assert {"psnr", "ssim", "latent_frechet"} <= set(metrics)
    assert outcome["reason"] and outcome["promoted"] == (outcome["champion"] is not None)
    assert Path(outcome["report"]).read_text().startswith("<!doctype html>")


def test_the_run_is_one_dagster_run_with_observed_training(adapted, outcome):
    with instance_of(adapted) as instance:
        run = instance.get_run_by_id(outcome["dagster_run_id"])
        assert run.status == dg.DagsterRunStatus.SUCCESS and run.job_name == "adapt"
        observed = instance.fetch_observations(dg.AssetKey(["lora-r8", "adapter"]), limit=10).records
        assert observed and "loss" in observed[0].asset_observation.metadata
        made = instance.get_latest_materialization_event(dg.AssetKey(["lora-r8", "adapter"])).asset_materialization
        assert made.metadata["mlflow/run_id"].value


def test_mlflow_answers_what_made_the_adapter(adapted, outcome):
    client = mlflow.MlflowClient(f"sqlite:///{adapted.path}/mlflow/mlflow.db")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    tags = [run.data.tags for run in runs if run.data.tags.get("dagster.run_id") == outcome["dagster_run_id"]]
    assert any(outcome["dataset_version"] in tag.values() for tag in tags)
    assert len([tag for tag in tags if "cosmos.adapter_key" in tag]) == 2


def test_again_there_is_nothing_to_do(adapted, outcome):
    again = adapted.json("run")
    assert again["unchanged"] and not again["promoted"] and again["scores"] == outcome["scores"]
    with instance_of(adapted) as instance:
        assert len(instance.get_runs(dg.RunsFilter(job_name="adapt"))) == 1


def test_killed_between_the_decision_and_the_end_it_does_not_decide_again(adapted, outcome, copy_of):
    home = copy_of(adapted)
    path = home.lake / "heads/tiny.json"
    heads = json.loads(path.read_text())
    del heads["decided_inputs"]
    path.write_text(json.dumps(heads))
    again = home.json("run")
    assert again["unchanged"] and again["scores"] == outcome["scores"] and again["reason"] == outcome["reason"]
    with instance_of(home) as instance:
        assert len(instance.get_runs(dg.RunsFilter(job_name="adapt"))) == 1


def test_promote_lineage_rollback(adapted, outcome, copy_of):
    home = copy_of(adapted)
    if outcome["champion"] is None:
        home.run("promote", "1", code=2)
    first = home.json("promote", "1", "--force", "--reason", "test of the loop")["champion"]
    assert first["version"] in (1, "1")
    found = home.json("lineage", "champion")
    for key in ("dataset_version", "evaluation_set", "recipe", "run_id", "dagster_run_id", "base_revision", "base_licence", "drops", "scores", "captioner"):
        assert found[key], key
    assert found["dataset_version"] == outcome["dataset_version"]
    trained, tested = found["episodes"]["train"][0], found["episodes"]["test"][0]
    assert found["run_id"] in {adapter["run_id"] for adapter in home.json("lineage", "--episode", trained)["adapters"]}
    told = home.json("lineage", "--episode", tested)
    assert told["adapters"] == [] and told["clips"] and told["shards"] and told["drop"] == "monday"
    home.run("promote", "2", "--force", "--reason", "another")
    assert home.json("rollback")["champion"]["version"] == first["version"]
    home.run("lineage", "--episode", "ffffffffffffffff", code=2)
    home.run("lineage", "no-such-ref", code=2)


def test_generate_writes_a_video(adapted, tmp_path):
    import av
    import numpy as np
    from PIL import Image

    Image.fromarray(np.full((60, 90, 3), 128, np.uint8)).save(tmp_path / "first.png")
    made = adapted.json(
        "generate", "--image", str(tmp_path / "first.png"), "--prompt", "push the red block", "--adapter", "none", "--output", str(tmp_path / "out.mp4")
    )
    with av.open(made["output"]) as video:
        assert sum(1 for _ in video.decode(video=0)) == 9
    assert "missing.png" in adapted.run("generate", "--image", str(tmp_path / "missing.png"), "--prompt", "x", "--adapter", "none", code=2).stderr


@pytest.fixture
def longer(home, log, built_models, one_recipe_profile, tmp_path):
    """A home with a drop, and a profile whose one recipe trains long enough to be disturbed."""
    settings = yaml.safe_load(one_recipe_profile.read_text())
    settings["training"]["overrides"] |= {"steps": 60}
    profile = tmp_path / "longer.yaml"
    profile.write_text(yaml.safe_dump(settings))
    home = type(home)(home.path, profile)
    shutil.copytree(built_models, home.lake / "models")
    home.run("ingest", str(log))
    return home


def start_training(home, checkpoints: int):
    """`train` as a process that has written more than `checkpoints` checkpoints' worth of steps."""
    process = home.start("train")
    deadline = time.monotonic() + 240
    while steps_of(home) <= checkpoints and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def steps_of(home) -> int:
    return max((len(path.read_text().splitlines()) for path in home.lake.glob("adapters/*/log.jsonl")), default=0)


def trainers_of(home) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if "cosmos_ops.training" in command and str(home.path) in command:
            found.append(pid)
    return found


def test_interrupted_and_killed_in_mid_training_it_continues(longer):
    process = start_training(longer, 3)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130 and not trainers_of(longer)
    with instance_of(longer) as instance:
        assert [run.status for run in instance.get_runs(dg.RunsFilter(job_name="adapt"))] == [dg.DagsterRunStatus.CANCELED]
    process = start_training(longer, steps_of(longer) + 5)
    process.kill()
    process.communicate()
    done = longer.json("train")
    folders = [path for path in longer.lake.glob("adapters/*") if (path / "manifest.json").is_file()]
    assert [str(folder) for folder in folders] == [done["adapters"]["lora-r8"]["path"]]
    lines = [json.loads(text) for text in (folders[0] / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("loss") is not None] == list(range(1, 61))
    assert not trainers_of(longer)
