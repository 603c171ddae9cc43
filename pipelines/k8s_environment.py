"""`COSMOS_ENV=k8s`: what differs from `local` where each step and each training is a pod. Kubernetes' libraries are imported where they are used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_ops.errors import UserError
from cosmos_ops.recipes import recipe_names
from pipelines.differences import Differences

if TYPE_CHECKING:
    from pipelines.environments import Environment

PACKAGES = ("dagster-k8s", "kubernetes")
TRAINING_POD = Path(__file__).resolve().parents[1] / "deploy" / "training-pod.yaml"
_GPU_STEPS = ("latents", "base__generations", "incumbent__generations")


@dataclass(frozen=True)
class K8sSettings:
    """What pods are made of."""

    image: str = ""
    """The image with torch, for steps and training; empty: not told."""
    namespace: str = "default"
    training_pod: Path = TRAINING_POD
    """YAML of the Pod that training is started as."""
    gpus: int = 1
    """GPUs of a training's pod; a step on a GPU takes one. 0: no pod asks for any."""
    kubeconfig: str = ""
    """For a client outside the cluster."""


def k8s_settings(variables: Mapping[str, str]) -> K8sSettings:
    """The settings as the variables say; `image` may be empty, which `local` does not mind."""
    gpus = variables.get("COSMOS_K8S_GPUS") or "1"
    if not gpus.isdigit():
        raise UserError(f"COSMOS_K8S_GPUS is {gpus!r}; it is a number from 0 up")
    return K8sSettings(
        image=variables.get("COSMOS_K8S_IMAGE") or "",
        namespace=variables.get("COSMOS_K8S_NAMESPACE") or "default",
        training_pod=Path(variables.get("COSMOS_K8S_TRAINING_POD") or TRAINING_POD),
        gpus=int(gpus),
        kubeconfig=variables.get("KUBECONFIG") or "",
    )


def gpu_steps(env: "Environment") -> list[str]:
    """Steps whose pods ask for a GPU; a training asks in the pod of its own."""
    return [*_GPU_STEPS, *(f"{name.replace('-', '_')}__generations" for name in recipe_names(env.recipes_folder))]


def k8s_environment(env: "Environment") -> Differences:
    """What pods change. Raises `UserError` for a setting that cannot work; connects to nothing."""
    k8s = env.k8s
    if not k8s.image:
        raise UserError("COSMOS_ENV is k8s and COSMOS_K8S_IMAGE is not set; set it to the image that deploy/work.Dockerfile makes")
    if not k8s.training_pod.is_file():
        raise UserError(f"COSMOS_K8S_TRAINING_POD is {k8s.training_pod}, which is not there; copy deploy/training-pod.yaml")
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError:
        raise UserError("COSMOS_ENV is k8s and dagster-k8s is not installed; install the project with its extra `k8s`") from None
    from assets.resources.pod_gpu import PodGpuResource
    from assets.resources.pod_launcher import PodLauncher

    one_gpu = {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}
    return Differences(
        resources={
            "launcher": PodLauncher(image=k8s.image, template=str(k8s.training_pod), namespace=k8s.namespace, gpus=k8s.gpus, kubeconfig=k8s.kubeconfig),
            "gpu": PodGpuResource(device_name=env.device, precision_name=env.precision, gpus=k8s.gpus),
        },
        executor=k8s_job_executor.configured(
            {"job_image": k8s.image, "job_namespace": k8s.namespace, "per_step_k8s_config": {step: one_gpu for step in gpu_steps(env)} if k8s.gpus else {}}
        ),
    )
