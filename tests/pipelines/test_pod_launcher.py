"""Training in a pod, against an API over real HTTP whose pods are real processes: done, interrupted, failed, lost, cancelled."""

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.resources.launcher import TrainingLauncher
from assets.resources.pod_launcher import JOB_LABEL, PodLauncher, pod_parts
from cosmos_ops.hashing import digest
from pipelines.k8s_environment import TRAINING_POD
from tests.fixtures.kubernetes_server import KubernetesServer, kubernetes_server
from tests.pipelines.conftest import ROOT, Home

TRAINER = """
import os, signal, sys, time
from pathlib import Path
from dagster_pipes import open_dagster_pipes

done = Path(sys.argv[1])
with open_dagster_pipes() as pipes:
    def stop(number, frame):
        done.with_name("saved").touch()
        pipes.report_custom_message({"error": "interrupted", "retry": True})
        os._exit(75)
    signal.signal(signal.SIGTERM, stop)
    tries = len(list(done.parent.glob("try-*")))
    done.with_name(f"try-{tries}").touch()
    print("a line that is no message")
    pipes.report_custom_message({"step": 1, "steps": 2, "loss": 0.5, "validation_loss": None, "samples_per_s": 2.0, "eta_s": 1.0})
    BODY
    done.touch()
    pipes.report_custom_message({"step": 2, "steps": 2, "loss": 0.25, "validation_loss": None, "samples_per_s": 2.0, "eta_s": 0.0})
"""
WAIT = """
    while not done.with_name('go').exists():
        time.sleep(0.02)
"""


@dataclass(frozen=True)
class InCluster(Home):
    """A home whose work is pods."""

    variables: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.variables


@pytest.fixture
def cluster(tmp_path) -> Iterator[KubernetesServer]:
    with kubernetes_server(tmp_path) as server:
        yield server


def trainer(folder: Path, body: str = "pass") -> list[str]:
    program = folder / "trainer.py"
    program.write_text(TRAINER.replace("    BODY\n", textwrap.indent(textwrap.dedent(body).strip() + "\n", "    ")))
    return ["/another/python", str(program), str(folder / "done")]


def launcher(cluster: KubernetesServer, **settings) -> PodLauncher:
    return PodLauncher(image="registry/cosmos-ops:1", template=str(TRAINING_POD), namespace="lab", kubeconfig=str(cluster.kubeconfig), poll_s=0.1, **settings)


def materialize(launcher: PodLauncher, command: list[str], retries: int = 0) -> dg.ExecuteInProcessResult:
    """One adapter trained by this launcher, in this process."""

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=retries))
    def adapter(context: dg.AssetExecutionContext, launcher: TrainingLauncher) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"messages": len(launcher.run(context, command))})

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([adapter], resources={"launcher": launcher}, instance=instance, raise_on_error=False)
        result.observed = [event for event in result.all_events if event.is_asset_observation]
        return result


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.get_step_failure_events()
    return event.step_failure_data.user_failure_data.description


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def test_a_training_runs_in_its_pod_and_is_seen(cluster, tmp_path):
    result = materialize(launcher(cluster, gpus=2), trainer(tmp_path))
    assert result.success and (tmp_path / "done").exists() and not cluster.pods
    assert [event.asset_observation_data.asset_observation.metadata["loss"].value for event in result.observed] == [0.5, 0.25]
    (pod,) = cluster.posted
    (container,) = pod["spec"]["containers"]
    assert pod["metadata"]["namespace"] == "lab" and pod["metadata"]["labels"]["app.kubernetes.io/name"] == "cosmos-ops"
    assert container["image"] == "registry/cosmos-ops:1" and container["command"] == ["python", *trainer(tmp_path)[1:]]
    assert container["resources"]["limits"] == {"memory": "64Gi", "nvidia.com/gpu": "2"}
    assert pod["spec"]["securityContext"]["runAsNonRoot"] and container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_secret_reaches_the_trainer_and_not_the_pods_text(cluster, tmp_path):
    cluster.secrets["HF_TOKEN"] = "s3cret-t0ken"
    assert materialize(launcher(cluster), trainer(tmp_path, "assert os.environ['HF_TOKEN'] == 's3cret-t0ken'")).success
    assert "s3cret" not in str(cluster.posted)


def test_an_interrupted_training_is_started_again(cluster, tmp_path):
    result = materialize(launcher(cluster), trainer(tmp_path, "if not tries: stop(0, 0)"), retries=1)
    assert result.success and len(cluster.posted) == 2 and not cluster.pods
    (retried,) = [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    assert "interrupted and saved its state" in str(retried)


def test_a_failed_training_is_one_line_and_not_started_again(cluster, tmp_path):
    result = materialize(
        launcher(cluster), trainer(tmp_path, "pipes.report_custom_message({'error': 'the disk is full', 'retry': False}); sys.exit(1)"), retries=2
    )
    assert failure(result) == "the disk is full" and len(cluster.posted) == 1 and not cluster.pods
    result = materialize(launcher(cluster), trainer(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"), retries=2)
    assert failure(result) == "the training program exited with code 137; its log is in the step's stdout" and len(cluster.posted) == 2


def test_the_training_program_itself_tells_why_it_ended(cluster, tmp_path):
    result = materialize(launcher(cluster), [sys.executable, "-m", "cosmos_ops.training", "--config", str(tmp_path / "none.json")])
    assert "none.json: not readable as JSON" in failure(result) and not cluster.pods


def test_a_lost_node_costs_a_try(cluster, tmp_path):
    """The pod goes away in the middle; the next one starts by itself."""
    from threading import Thread

    def lose() -> None:
        wait_for((tmp_path / "try-0").exists)
        cluster.lose(next(iter(cluster.pods)))
        (tmp_path / "go").touch()

    losing = Thread(target=lose)
    losing.start()
    result = materialize(launcher(cluster), trainer(tmp_path, WAIT), retries=1)
    losing.join()
    assert result.success and len(cluster.posted) == 2 and (tmp_path / "try-1").exists()


def test_a_pod_that_goes_away_before_it_is_up_costs_a_try(cluster, tmp_path):
    cluster.lose_next = True
    result = materialize(launcher(cluster), trainer(tmp_path), retries=1)
    assert result.success and len(cluster.posted) == 2 and (tmp_path / "done").exists()


def test_a_pod_that_a_killed_step_left_is_ended_first(cluster, tmp_path):
    command = trainer(tmp_path, WAIT)
    _, spec = pod_parts(TRAINING_POD, "x", 0, "0")
    up, go = str(tmp_path / "up"), str(tmp_path / "go")
    left = f"""
        import signal, sys, time
        from pathlib import Path
        def stop(number, frame):
            Path({go!r}).touch()
            sys.exit()
        signal.signal(signal.SIGTERM, stop)
        Path({up!r}).touch()
        time.sleep(600)
    """
    spec["containers"][0]["command"] = ["python", "-c", textwrap.dedent(left)]
    cluster.start("lab", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "left", "labels": {JOB_LABEL: digest(command)}}, "spec": spec})
    wait_for((tmp_path / "up").exists)
    assert materialize(launcher(cluster), command).success, "the left pod's end is what lets the new one go on"
    assert not cluster.pods and len(cluster.posted) == 2


def test_what_the_cluster_refuses_is_one_line(cluster, tmp_path):
    cluster.refuse.add("POST")
    assert failure(materialize(launcher(cluster), trainer(tmp_path))).startswith("Kubernetes refused (403 Forbidden); its service account needs the role")
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    cluster.kubeconfig.write_text(yaml.safe_dump(config))
    line = failure(materialize(launcher(cluster), trainer(tmp_path)))
    assert line.startswith("Kubernetes does not answer") and "\n" not in line


def test_a_cancelled_step_deletes_the_pod_and_the_trainer_saves(cluster, tmp_path):
    program = f"""
        import dagster as dg
        from tests.pipelines.test_pod_launcher import PodLauncher, TrainingLauncher
        @dg.asset
        def adapter(context: dg.AssetExecutionContext, launcher: TrainingLauncher) -> None:
            launcher.run(context, {trainer(tmp_path, WAIT)!r})
        launcher = PodLauncher(image="x", template={str(TRAINING_POD)!r}, namespace="lab", kubeconfig={str(cluster.kubeconfig)!r}, poll_s=0.1)
        dg.materialize([adapter], resources={{"launcher": launcher}}, instance=dg.DagsterInstance.ephemeral())
    """
    step = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "try-0").exists() or step.poll() is not None)
    step.send_signal(signal.SIGINT)
    _, err = step.communicate(timeout=60)
    assert step.returncode != 0 and (tmp_path / "saved").exists() and not cluster.pods and len(cluster.posted) == 1, err[-2000:]


def test_doctor_asks_the_cluster_and_a_run_of_the_command_line_is_refused(cluster, home, log):
    variables = {"COSMOS_ENV": "k8s", "COSMOS_K8S_IMAGE": "x:1", "COSMOS_K8S_NAMESPACE": "lab", "KUBECONFIG": str(cluster.kubeconfig)}
    found = {finding["name"]: finding["detail"] for finding in InCluster(home.path, home.profile, variables).json("doctor")["findings"]}
    assert found["k8s cluster"] == "v1.33.1 answers and shows its pods" and found["k8s settings"].startswith("x:1 in lab, 1 GPUs")
    told = InCluster(home.path, home.profile, variables).run("ingest", str(log), code=2).stderr
    assert "COSMOS_ENV is k8s, where Dagster starts runs" in told.splitlines()[-1]


def test_a_template_that_is_none_is_said(tmp_path):
    (tmp_path / "pod.yaml").write_text("spec: {}")
    with pytest.raises(dg.Failure, match="is not the YAML of a Pod with a container"):
        pod_parts(tmp_path / "pod.yaml", "x", 1, "0")
