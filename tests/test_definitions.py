"""What Dagster loads: its shape, and that loading stays light."""

import json
import subprocess
import sys

import dagster as dg
import pytest

from cosmos_ops.recipes import recipe_names
from pipelines.definitions import defs
from pipelines.jobs import DATA_LIBRARIES, EVERY_STEP, MODEL_LIBRARIES

HEAVY = ("torch", "diffusers", "transformers", "peft", "mlflow", "great_expectations", "av", "webdataset", "pandas", "cv2", "matplotlib", "ray", "dagster_ray")
DATA = ["landing", "episodes", "quality", "clips", "captions", "shards"]


@pytest.fixture(scope="module")
def graph():
    return defs.resolve_asset_graph()


def test_every_asset_of_the_design_is_there(graph):
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    model = {
        "dataset",
        "evaluation_set",
        "latents",
        "inverse_dynamics",
        "leaderboard",
        "champion",
        "base/generations",
        "base/scores",
        "incumbent/generations",
        "incumbent/scores",
    }
    recipes = {f"{name}/{part}" for name in recipe_names() for part in ("adapter", "generations", "scores")}
    assert keys == {*DATA, *model, *recipes}
    assert {"lora-r8", "lora-r32", "dora-r8", "dora-r32"} <= set(recipe_names())


def test_the_data_half_is_partitioned_by_drop_and_the_model_half_is_not(graph):
    for key in graph.get_all_asset_keys():
        partitions = graph.get(key).partitions_def
        if key.to_user_string() in DATA:
            assert isinstance(partitions, dg.DynamicPartitionsDefinition) and partitions.name == "drops"
        else:
            assert partitions is None


def test_lineage_runs_from_landing_to_champion(graph):
    todo, upstream = [dg.AssetKey("champion")], set()
    while todo:
        for parent in graph.get(todo.pop()).parent_keys:
            if parent.to_user_string() not in upstream:
                upstream.add(parent.to_user_string())
                todo.append(parent)
    assert {"landing", "shards", "lora-r8/adapter", "dora-r8/scores", "base/scores", "incumbent/scores"} <= upstream


def test_every_asset_says_what_it_is(graph):
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description and node.group_name != "default" and node.owners and node.code_version, key


def test_tables_are_checked_and_the_checks_block(graph):
    blocking = {(check.asset_key.to_user_string(), check.name) for check in graph.asset_check_keys if graph.get_check_spec(check).blocking}
    assert {(asset, "expectations") for asset in ("episodes", "quality", "clips", "captions", "shards")} <= blocking
    assert ("leaderboard", "comparable") in blocking


def test_jobs_schedules_and_sensors():
    assert {job.name for job in defs.resolve_all_job_defs()} >= {"ingest", "adapt"}
    repository = defs.get_repository_def()
    assert {schedule.name for schedule in repository.schedule_defs} == {"weekly_retraining"}
    assert {sensor.name for sensor in repository.sensor_defs} >= {"new_drops", "new_episodes"}
    assert repository.get_schedule_def("weekly_retraining").default_status == dg.DefaultScheduleStatus.STOPPED


def test_loading_and_resolving_imports_nothing_heavy():
    program = (
        "import sys, json, dagster as dg; from pipelines.definitions import defs; dg.Definitions.validate_loadable(defs);"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.strip().splitlines()[-1]) == []


@pytest.mark.parametrize(("libraries", "spared"), [(DATA_LIBRARIES, ["torch", "mlflow"]), (MODEL_LIBRARIES, ["great_expectations"])])
def test_what_steps_fork_from_is_there_and_no_more_than_they_need(libraries, spared):
    """Python passes in silence over a name that it cannot import, and every step would import it anew."""
    program = f"import importlib, json, sys; [importlib.import_module(name) for name in {[*EVERY_STEP, *libraries]}]; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {*spared} & {*json.loads(done.stdout.splitlines()[-1])}
