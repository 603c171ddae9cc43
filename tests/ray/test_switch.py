"""`COSMOS_ENV`: one variable chooses, a wrong one is one line, and nothing is connected to or imported by choosing."""

import json
import os
import subprocess
import sys

import pytest

from cosmos_ops.errors import UserError
from pipelines.environments import differences, environment


@pytest.fixture
def chosen(monkeypatch):
    """Set variables and read the environment."""

    def choose(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return environment()

    for name in ("COSMOS_ENV", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "COSMOS_RAY_NODES", "COSMOS_RAY_GPUS", "COSMOS_RAY_STEPS"):
        monkeypatch.delenv(name, raising=False)
    return choose


def test_local_is_the_default_and_changes_nothing(chosen):
    env = chosen()
    assert env.name == "local" and differences(env).resources == {} and differences(env).executor is None


def test_an_unknown_name_is_refused_with_the_names_there_are(chosen):
    with pytest.raises(UserError, match="'mars'; this version knows local, ray"):
        chosen(COSMOS_ENV="mars")


@pytest.mark.parametrize(
    ("address", "told"), [("", "RAY_ADDRESS is not set"), ("http://head:8265", "the address of a dashboard; put that in RAY_API_SERVER_ADDRESS")]
)
def test_ray_wants_the_address_of_a_cluster(chosen, address, told):
    env = chosen(COSMOS_ENV="ray", RAY_ADDRESS=address)
    with pytest.raises(UserError, match=told):
        differences(env)


@pytest.mark.parametrize(("variable", "value"), [("COSMOS_RAY_NODES", "0"), ("COSMOS_RAY_NODES", "two"), ("COSMOS_RAY_GPUS", "0")])
def test_counts_are_numbers(chosen, variable, value):
    with pytest.raises(UserError, match=f"{variable} is '{value}'"):
        chosen(**{"COSMOS_ENV": "ray", "RAY_ADDRESS": "head:6379", variable: value})


def test_steps_run_here_unless_jobs_are_asked_for(chosen):
    env = chosen(COSMOS_ENV="ray", RAY_ADDRESS="head:6379")
    assert differences(env).executor is None and set(differences(env).resources) == {"workers", "gpu", "launcher"}
    assert differences(chosen(COSMOS_RAY_STEPS="jobs")).executor.name == "ray"
    with pytest.raises(UserError, match="COSMOS_RAY_STEPS is 'there'; steps run `here`, beside Dagster, or as `jobs` of the cluster"):
        chosen(COSMOS_RAY_STEPS="there")


def test_loading_the_definitions_for_ray_neither_imports_nor_reaches_it(tmp_path):
    program = "import sys, json; from pipelines.definitions import defs; print(json.dumps([name for name in ('ray', 'dagster_ray') if name in sys.modules]))"
    variables = {"COSMOS_ENV": "ray", "RAY_ADDRESS": "127.0.0.1:1", "COSMOS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, **variables})
    assert json.loads(done.stdout.strip().splitlines()[-1]) == []
