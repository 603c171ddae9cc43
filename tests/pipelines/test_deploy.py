"""What `deploy/` promises, as far as it can be held to without a cluster: schemas, secrets by reference, nobody is root, a runtime image without torch."""

import json
import os
import re
import subprocess
import sys
import tomllib
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cosmos_ops.errors import UserError
from deploy.requirements import ONLY_STEPS_USE, requirements
from tests.fixtures.lerobot_factory import write_lerobot
from tests.pipelines.conftest import ROOT

DEPLOY = ROOT / "deploy"
VALUES = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
IMAGE = {"repository", "tag", "pullPolicy"}
POD_FIELDS = set(
    "env envConfigMaps envSecrets annotations nodeSelector affinity tolerations podSecurityContext securityContext resources "
    "livenessProbe readinessProbe startupProbe labels volumeMounts volumes schedulerName".split()
)
SERVER_FIELDS = POD_FIELDS | {"image", "deploymentLabels", "initContainerResources"}
# The fields that the chart's own schema (values.schema.json) knows: one that is misspelt would be left out without a word.
CHART = {
    "global": set("postgresqlSecretName dagsterHome serviceAccountName celeryConfigSecretName".split()),
    "serviceAccount": {"create", "name", "annotations"},
    "postgresql": set(
        "image enabled postgresqlHost postgresqlUsername postgresqlPassword postgresqlDatabase postgresqlParams postgresqlScheme service".split()
    ),
    "dagsterWebserver": SERVER_FIELDS
    | set("replicaCount nameOverride pathPrefix service workspace enableReadOnly dbStatementTimeout dbPoolRecycle logLevel".split()),
    "dagsterDaemon": SERVER_FIELDS | set("enabled runCoordinator heartbeatTolerance runMonitoring runRetries sensors schedules".split()),
    "dagster-user-deployments": {"enabled", "enableSubchart", "imagePullSecrets", "deployments"},
    "runLauncher": {"type", "config"},
    "telemetry": {"enabled"},
}
DEPLOYMENT = POD_FIELDS | set(
    "name image dagsterApiGrpcArgs codeServerArgs includeConfigInLaunchedRuns deploymentNamespace port initContainers sidecarContainers".split()
)
RUN_LAUNCHER = set(
    "image imagePullPolicy jobNamespace loadInclusterConfig kubeconfigFile envConfigMaps envSecrets envVars volumeMounts volumes labels "
    "failPodOnRunFailure resources schedulerName securityContext runK8sConfig".split()
)
COORDINATOR = set("maxConcurrentRuns tagConcurrencyLimits dequeueIntervalSeconds dequeueNumWorkers dequeueUseThreads blockOpConcurrencyLimitedRuns".split())
SERVERS = [VALUES["dagsterWebserver"], VALUES["dagsterDaemon"], *VALUES["dagster-user-deployments"]["deployments"]]


def valid(manifest: dict[str, Any]) -> None:
    """Held against Kubernetes' own schema of the newest version that is known here; an unknown field is an error."""
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def as_pod(part: dict[str, Any]) -> dict[str, Any]:
    """The pod that the chart makes of one section's settings, as far as they are Kubernetes' own."""
    container = {"name": "x", "image": "x", "env": part.get("env", []), "envFrom": [{"secretRef": secret} for secret in part.get("envSecrets", [])]}
    container |= {name: part[name] for name in ("securityContext", "resources", "volumeMounts") if part.get(name)}
    spec = {"containers": [container], "volumes": part.get("volumes", []), "securityContext": part.get("podSecurityContext", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}


def manifests() -> list[Any]:
    named = [DEPLOY / f"{name}.yaml" for name in ("training-pod", "training-role", "home-volume")]
    return [pytest.param(part, id=f"{path.stem}-{part['kind']}") for path in named for part in yaml.safe_load_all(path.read_text())]


@pytest.mark.parametrize("manifest", manifests())
def test_manifests_are_what_kubernetes_takes(manifest):
    valid(manifest)
    manifest["spek"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        valid(manifest)


def test_values_have_the_charts_fields_and_kubernetes_parts_are_valid():
    for section, fields in CHART.items():
        assert set(VALUES[section]) <= fields, section
    assert set(VALUES) - set(CHART) == {"generatePostgresqlPasswordSecret", "additionalInstanceConfig", "rabbitmq", "redis", "flower"}
    launcher = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    coordinator = VALUES["dagsterDaemon"]["runCoordinator"]
    assert VALUES["runLauncher"]["type"] == "K8sRunLauncher" and set(launcher) <= RUN_LAUNCHER
    assert {"imagePullPolicy", "loadInclusterConfig", "envConfigMaps", "envSecrets", "envVars", "volumeMounts", "volumes"} <= set(launcher)
    assert set(coordinator) == {"enabled", "type", "config"} and set(coordinator["config"]["queuedRunCoordinator"]) <= COORDINATOR
    for server in SERVERS:
        assert set(server["image"]) == IMAGE
        valid(as_pod(server))
    for deployment in VALUES["dagster-user-deployments"]["deployments"]:
        assert set(deployment) <= DEPLOYMENT
    valid(as_pod(launcher | {"podSecurityContext": launcher["runK8sConfig"]["podSpecConfig"]["securityContext"]}))


def test_the_instance_that_the_values_make_is_one_dagster_takes(tmp_path):
    """The chart's own part of it, in the spelling of dagster.yaml, beside what the values add: limits in two places are refused."""
    from dagster._core.instance.config import dagster_instance_config

    assert not any(VALUES["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"].values())
    queue = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"run_coordinator": queue, **VALUES["additionalInstanceConfig"], "telemetry": VALUES["telemetry"]}))
    settings, _ = dagster_instance_config(str(tmp_path))
    assert settings["concurrency"]["pools"]["default_limit"] == 1 and settings["concurrency"]["runs"]["max_concurrent_runs"] == 8


def test_secrets_stand_in_secrets_alone():
    """No variable that may hold one has a value, in no file."""
    secret = re.compile(r"SECRET|PASSWORD|TOKEN|KEY|WEBHOOK")
    pod = yaml.safe_load((DEPLOY / "training-pod.yaml").read_text())
    entries = [entry for server in SERVERS for entry in server.get("env", [])] + pod["spec"]["containers"][0]["env"]
    assert len(entries) > 8
    for entry in entries:
        if secret.search(entry["name"]):
            assert "value" not in entry and set(entry["valueFrom"]) == {"secretKeyRef"}, entry
    text = "".join(path.read_text() for path in DEPLOY.glob("*.yaml"))
    assert "postgresqlPassword" not in text and not re.search(r"//[^/\s]*:[^/\s]*@", text)
    assert not any(secret.search(line) for path in DEPLOY.glob("*.Dockerfile") for line in path.read_text().splitlines())


def test_nobody_is_root_and_nothing_is_open_to_the_world():
    pods = [server["podSecurityContext"] for server in SERVERS] + [
        VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]["securityContext"]
    ]
    pod = yaml.safe_load((DEPLOY / "training-pod.yaml").read_text())
    for security in [*pods, pod["spec"]["securityContext"]]:
        assert security["runAsNonRoot"] and security["runAsUser"] == 10001
    for container in [*SERVERS, *pod["spec"]["containers"]]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False and container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert VALUES["dagsterWebserver"]["service"]["type"] == "ClusterIP" and "ingress" not in VALUES
    for path in DEPLOY.glob("*.Dockerfile"):
        last = [line for line in path.read_text().splitlines() if line.startswith(("USER", "CMD"))]
        assert last[0] == "USER 10001:10001", path


def test_the_training_pod_gets_a_gpu_and_time_to_save():
    spec = yaml.safe_load((DEPLOY / "training-pod.yaml").read_text())["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1" and spec["restartPolicy"] == "Never"
    assert spec["terminationGracePeriodSeconds"] >= 60 and not spec["automountServiceAccountToken"]


def test_images_install_what_pyproject_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    work, runtime = requirements("work", ROOT / "pyproject.toml"), requirements("runtime", ROOT / "pyproject.toml")
    assert set(project["dependencies"]) < set(work) and set(runtime) < set(work)
    assert {"dagster-webserver~=1.13.27", *project["optional-dependencies"]["postgres"], *project["optional-dependencies"]["k8s"]} <= set(runtime)
    assert not [line for line in runtime if line.startswith(ONLY_STEPS_USE)]
    with pytest.raises(ValueError, match="no image"):
        requirements("gpu", ROOT / "pyproject.toml")
    for path in DEPLOY.glob("*.Dockerfile"):
        copied = re.findall(r"^COPY (?!--from)(.+)$", path.read_text(), re.MULTILINE)
        assert all((ROOT / name).exists() for line in copied for name in line.split()[:-1])


RUNTIME = """
import importlib.metadata, json, re, sys
from packaging.requirements import Requirement

def closure(lines):
    todo, seen = [Requirement(line) for line in lines], set()
    while todo:
        one = todo.pop()
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        for extra in ("", *one.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                needed = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue
            todo += [part for part in map(Requirement, needed) if part.marker is None or part.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}

inside = closure(json.loads(sys.argv[1]))
normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()
outside = {top for top, names in importlib.metadata.packages_distributions().items() if not inside & {normal(name) for name in names}}
outside -= {"pipelines", "assets", "cosmos_ops", "deploy"}  # the project itself, where it is installed

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in outside:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, Absent())
assert {"torch", "torchvision", "diffusers", "transformers", "peft", "cv2", "great_expectations"} <= outside, outside
"""
LOADS = """
import dagster as dg
import dagster._daemon.cli, dagster_graphql, dagster_k8s, dagster_postgres, dagster_webserver.cli
from dagster._core.launcher.base import RunLauncher
from dagster_k8s import K8sRunLauncher
from pipelines.definitions import defs
dg.Definitions.validate_loadable(defs)
from pipelines.sensors import new_drops, new_episodes
with dg.DagsterInstance.ephemeral() as instance:
    drops = new_drops(dg.build_sensor_context(instance=instance))
    episodes = new_episodes(dg.build_sensor_context(instance=instance))
told = {"new_drops": len(drops.run_requests), "new_episodes": episodes.skip_message}
print(json.dumps({"jobs": sorted(job.name for job in defs.resolve_all_job_defs()), "told": told}))
"""


@pytest.mark.slow
def test_definitions_load_and_sensors_look_with_the_runtime_images_packages_alone(tmp_path):
    """Everything that is not in the closure of its requirements is as if it were not installed. A drop waits to be seen: its readers are there."""
    home = tmp_path / "home"
    write_lerobot(home / "lake" / "landing" / "monday", episodes=2, frames=12)
    (home / "lake" / "landing" / "monday" / "_SUCCESS").touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COSMOS_", "DAGSTER_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-c", RUNTIME + LOADS, json.dumps(requirements("runtime", ROOT / "pyproject.toml"))],
        env={**kept, "COSMOS_HOME": str(home), "COSMOS_ENV": "k8s", "COSMOS_K8S_IMAGE": "x:1"}, cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert {"ingest", "adapt"} <= set(told["jobs"])
    assert told["told"]["new_drops"] == 1 and "not due" in told["told"]["new_episodes"]


def settings(monkeypatch, **variables: str) -> None:
    for name in [name for name in os.environ if name.startswith("COSMOS_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_what_the_environment_lacks_is_said(monkeypatch):
    from pipelines.environments import differences, environment

    settings(monkeypatch, COSMOS_ENV="k8s")
    with pytest.raises(UserError, match="COSMOS_K8S_IMAGE is not set"):
        differences(environment())
    settings(monkeypatch, COSMOS_ENV="k8s", COSMOS_K8S_IMAGE="x", COSMOS_K8S_TRAINING_POD="/none.yaml")
    with pytest.raises(UserError, match="/none.yaml, which is not there"):
        differences(environment())
    settings(monkeypatch, COSMOS_K8S_GPUS="many")
    with pytest.raises(UserError, match="COSMOS_K8S_GPUS is 'many'"):
        environment()


def test_steps_on_a_gpu_ask_for_one(monkeypatch):
    """Every step that takes a slot of the pool `gpu`, but the trainings: those ask in their own pods."""
    from assets.resources.gpu import POOL
    from pipelines.definitions import defs
    from pipelines.environments import environment
    from pipelines.k8s_environment import gpu_steps

    settings(monkeypatch, COSMOS_ENV="k8s", COSMOS_K8S_IMAGE="x:1")
    nodes = defs.resolve_implicit_global_asset_job_def().nodes
    assert set(gpu_steps(environment())) == {node.name for node in nodes if node.definition.pool == POOL and not node.name.endswith("__adapter")}
