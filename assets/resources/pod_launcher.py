"""Training in a pod of its own: the same `python -m cosmos_ops.training` under Dagster Pipes, its messages read from the pod's log."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.resources.launcher import EXIT_RETRY, TrainingLauncher
from cosmos_ops.hashing import digest

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

JOB_LABEL = "cosmos-ops/job"
_LOST = "Evicted", "Preempting", "Terminated", "NodeLost", "NodeShutdown", "Shutdown"
"""Reasons of a pod's end that are not the trainer's: it goes on from its last checkpoint elsewhere."""
_GONE_S = 300.0
_ANSWER_S = 5


class PodLauncher(TrainingLauncher):
    """Runs the training program in one pod made from a template, and deletes the pod however the step ends: the trainer then saves its state."""

    image: str
    template: str
    """Path of a Pod's YAML; the image, the command and Pipes' variables are put into its first container."""
    namespace: str
    gpus: int = 1
    """GPUs of the pod, instead of the template's number."""
    kubeconfig: str = ""
    """Path of a kubeconfig; empty inside a cluster, or for the one `kubectl` takes."""

    def run(self, context: dg.AssetExecutionContext, command: Sequence[str]) -> list[dict]:
        """Run to the end and return the trainer's messages.

        Raises `dagster.Failure`, retryable where the trainer says so (exit code 75) or its pod was lost.
        """
        from dagster_k8s.client import DagsterK8sError
        from kubernetes.client import ApiException

        reader = _reader(lambda message: self._log(context, message))
        client = _client(message_reader=reader, kubeconfig_file=self.kubeconfig or None, poll_interval=self.poll_s)
        job = digest(list(command))
        meta, spec = pod_parts(Path(self.template), self.image, self.gpus, job)
        failure, vanished = "", False
        with _api_failures():
            api = _api(client)
            # One whose step was killed may still train, and two would write one folder.
            self._delete(context, api, job)
            try:
                client.run(
                    context=context, command=["python", *command[1:]], namespace=self.namespace, base_pod_meta=meta, base_pod_spec=spec,
                    delete_pod_on_completion=False,
                )  # fmt: skip
            except DagsterK8sError as error:
                failure = _first_line(error)
            except ApiException as error:
                if error.status != 404 or "namespaces" in str(error.body):
                    raise
                failure, vanished = "it was deleted", True
            finally:
                code, reason = _ending(api, self.namespace, job)
                # Of a pod that ends at once Dagster's client reads no log.
                messages = reader.messages if not failure else (_told_in_log(api, self.namespace, job) or reader.messages)
                self._delete(context, api, job)
        if not failure and code in (0, None):
            return messages
        if code is None or (reason in _LOST and code != EXIT_RETRY):
            again = reason in _LOST or vanished or "unexpectedly killed" in failure
            raise dg.Failure(description=f"the training pod was lost ({reason or failure}); its last checkpoint is kept", allow_retries=again)
        return self._outcome(code, messages, f"{f'the cluster says {reason}, ' if reason else ''}its log is in the step's stdout")

    def _delete(self, context: dg.AssetExecutionContext, api: "CoreV1Api", job: str) -> None:
        """Delete this job's pods and wait until they are gone; the template's grace period is the trainer's time to save."""
        deadline = time.monotonic() + self.grace_s + _GONE_S
        told: set[str] = set()
        while pods := _pods(api, self.namespace, job):
            for pod in pods:
                if pod.metadata.name not in told:
                    told.add(pod.metadata.name)
                    context.log.info(f"deleting pod {pod.metadata.name}")
                    _delete_pod(api, pod)
            if time.monotonic() > deadline:
                raise dg.Failure(description=f"pod {pods[0].metadata.name} does not go away; look at its node, then run this again", allow_retries=False)
            time.sleep(self.poll_s)


def pod_parts(template: Path, image: str, gpus: int, job: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and spec of a training pod from a template. Raises `dagster.Failure` where the template is no Pod with a container."""
    import yaml

    try:
        pod = yaml.safe_load(template.read_text())
        meta, spec = dict(pod.get("metadata") or {}), pod["spec"]
        container = spec["containers"][0]
    except (OSError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise dg.Failure(description=f"{template} is not the YAML of a Pod with a container ({type(error).__name__}: {error})", allow_retries=False) from None
    meta["labels"] = {**(meta.get("labels") or {}), JOB_LABEL: job}
    container["image"] = image
    # For an extended resource request and limit are one.
    limits = container.setdefault("resources", {}).setdefault("limits", {})
    limits.pop("nvidia.com/gpu", None)
    container["resources"].get("requests", {}).pop("nvidia.com/gpu", None)
    if gpus:
        limits["nvidia.com/gpu"] = str(gpus)
    return {name: meta[name] for name in ("labels", "annotations") if name in meta}, spec


def cluster_version(kubeconfig: str, namespace: str) -> str:
    """The version of the cluster, asked as a training would, and that its pods may be seen. Raises `dagster.Failure` with one line."""
    from dagster_k8s import PipesK8sClient
    from kubernetes.client import VersionApi

    with _api_failures():
        api = _api(PipesK8sClient(kubeconfig_file=kubeconfig or None))
        version = VersionApi().get_code(_request_timeout=_ANSWER_S).git_version
        api.list_namespaced_pod(namespace, limit=1, _request_timeout=_ANSWER_S)
    return version


def _reader(show: Callable[[dict], None]) -> Any:
    """Pipes' reader of pod logs that shows each message as it comes and keeps all of them."""
    from dagster_k8s.pipes import PipesK8sPodLogsMessageReader

    class Reader(PipesK8sPodLogsMessageReader):
        def __init__(self) -> None:
            self.messages: list[dict] = []

        @contextlib.contextmanager
        def read_messages(self, handler: Any) -> Iterator[dict]:
            handle = handler.handle_message

            def handle_and_show(message: Any) -> None:
                handle(message)
                for new in list(handler.get_custom_messages())[len(self.messages) :]:
                    self.messages.append(new)
                    show(new)

            handler.handle_message = handle_and_show
            with super().read_messages(handler) as params:
                yield params

    return Reader()


def _client(**settings: Any) -> Any:
    """Pipes' client, except that it also ends where its pod went away before it was up or after its log had ended: the original waits a day for it."""
    from dagster_k8s import PipesK8sClient
    from dagster_k8s.client import DagsterK8sError

    class Client(PipesK8sClient):
        def consume_pod_logs(self, context: Any, client: Any, namespace: str, pod_name: str, **options: Any) -> Any:
            def sleep(seconds: float) -> None:
                if not client.core_api.list_namespaced_pod(namespace, field_selector=f"metadata.name={pod_name}").items:
                    raise DagsterK8sError(f'Pod "{pod_name}" was unexpectedly killed')
                time.sleep(seconds)

            # Both waits, for the start and for the end, sleep by this between their looks.
            client.sleeper = sleep
            return super().consume_pod_logs(context, client, namespace, pod_name, **options)

    return Client(**settings)


def _api(client: Any) -> "CoreV1Api":
    """The API with the configuration that the Pipes client uses."""
    from kubernetes.client import CoreV1Api

    client._load_k8s_config()
    return CoreV1Api()


def _pods(api: "CoreV1Api", namespace: str, job: str) -> list[Any]:
    return api.list_namespaced_pod(namespace, label_selector=f"{JOB_LABEL}={job}").items


def _delete_pod(api: "CoreV1Api", pod: Any) -> None:
    from kubernetes.client import ApiException

    try:
        api.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace)
    except ApiException as error:
        if error.status != 404:
            raise


def _ending(api: "CoreV1Api", namespace: str, job: str) -> tuple[int | None, str]:
    """Exit code of the job's trainer and the reason of its end; None while it runs or where its pod is gone."""
    for pod in _pods(api, namespace, job):
        ended = next((status.state.terminated for status in pod.status.container_statuses or [] if status.state.terminated), None)
        return (ended.exit_code if ended else None), pod.status.reason or (ended.reason if ended and ended.reason != "Error" else "") or ""
    return None, ""


def _told_in_log(api: "CoreV1Api", namespace: str, job: str) -> list[dict]:
    """The custom messages in the log of the job's pod."""
    found = []
    for pod in _pods(api, namespace, job):
        # As bytes: what the client makes of them by itself differs from version to version.
        log = api.read_namespaced_pod_log(pod.metadata.name, namespace, _preload_content=False).data.decode(errors="replace")
        for line in log.splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                message = json.loads(line)
                if message["method"] == "report_custom_message":
                    found.append(message["params"]["payload"])
    return found


@contextlib.contextmanager
def _api_failures() -> Iterator[None]:
    """Turn a cluster that does not answer or refuses into one line."""
    from kubernetes.client import ApiException
    from kubernetes.config import ConfigException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        remedy = "its service account needs the role in deploy/training-role.yaml" if error.status in (401, 403) else "see the cluster's events"
        raise dg.Failure(description=f"Kubernetes refused ({error.status} {error.reason}); {remedy}", allow_retries=False) from None
    except (HTTPError, ConfigException) as error:
        raise dg.Failure(description=f"Kubernetes does not answer ({_first_line(error)}); check the kubeconfig", allow_retries=False) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
