"""`train --plan`, `merge` and `export`: no run, no registry; called in this process."""

import json
import os
from unittest.mock import patch

import pytest

from cosmos_ops.base_models import load_world_model
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import load_profile
from cosmos_ops.recipes import resolve_recipe
from cosmos_ops.training.adapters import attach_adapter, save_adapter
from pipelines.cli import main


@pytest.fixture
def cli(tmp_path, capsys):
    """The command line in a home of its own; returns exit code, JSON and stderr."""
    # The command line sets variables for its subprocesses, so the whole environment is put back.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COSMOS_", "DAGSTER_", "MLFLOW_"))}

    def call(*arguments: str):
        try:
            code = main([*arguments, "--json"])
        except SystemExit as exit:  # argparse
            code = exit.code
        told = capsys.readouterr()
        return code, json.loads(told.out.splitlines()[-1]) if told.out else None, told.err

    with patch.dict(os.environ, {**kept, "COSMOS_HOME": str(tmp_path / "home")}, clear=True):
        yield call


def test_a_plan_needs_nothing_and_writes_nothing(cli, tmp_path):
    code, made, told = cli("train", "--plan", "--gpu-memory", "24")
    assert code == 0 and made["profile"] == "nano" and made["gpu_memory_gb"] == 24
    assert set(made["plans"]) == {"lora-r8", "dora-r8"}
    plan = made["plans"]["dora-r8"]
    assert plan["fits"] and plan["activation_checkpointing"] == "none"
    assert plan["predicted_peak_bytes"] == sum(plan["breakdown_bytes"].values())
    assert set(plan["breakdown_bytes"]) == {"weights", "adapter", "optimizer", "activations", "overhead"}
    assert "dora-r8" in told and not (tmp_path / "home").exists()


def test_a_plan_of_nonsense_is_refused(cli):
    assert cli("train", "--plan", "--recipe", "lora-r9")[0] == 2
    assert cli("train", "--plan", "--gpu-memory", "-3")[0] == 2
    code, made, _ = cli("train", "--gpu-memory", "24")
    assert code == 2 and "--gpu-memory goes with --plan" in made["error"]


def test_an_adapter_folder_is_merged_and_exported(cli, tmp_path):
    profile, folder = load_profile("nano"), tmp_path / "adapter"
    model = load_world_model(profile.base_model, Lake(tmp_path / "home" / "lake").models(), "cpu", ("denoiser",))
    attach_adapter(model.denoiser, resolve_recipe("dora-r8", profile), model.lora_targets)
    save_adapter(model.denoiser, folder, "builtin:nano", model.revision)
    code, made, _ = cli("merge", str(folder), str(tmp_path / "merged"))
    assert code == 0 and made["layers"] == 50 and (tmp_path / "merged" / "transformer").is_dir()
    for form in ("diffusers", "nvidia"):
        code, made, _ = cli("export", str(folder), str(tmp_path / f"{form}.safetensors"), "--format", form)
        assert code == 0 and made["tensors"] == 150 and (tmp_path / f"{form}.safetensors").is_file()
    code, made, _ = cli("merge", str(tmp_path / "none"), str(tmp_path / "x"))
    assert code == 2 and not (tmp_path / "x").exists()
