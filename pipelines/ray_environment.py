"""`COSMOS_ENV=ray`: what differs from `local` where a Ray cluster does the work. Ray itself is imported where it is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cosmos_ops.errors import UserError
from pipelines.differences import Differences

if TYPE_CHECKING:
    from dagster import ExecutorDefinition

    from pipelines.environments import Environment

PACKAGES = ("ray", "dagster-ray")
_TOLD = (
    "COSMOS_ENV", "COSMOS_HOME", "COSMOS_LAKE", "COSMOS_PROFILE", "COSMOS_RECIPES", "COSMOS_GATES", "COSMOS_DEVICE", "COSMOS_PRECISION", "COSMOS_MLFLOW_URL",
    "COSMOS_RAY_NODES", "COSMOS_RAY_GPUS", "COSMOS_RAY_STEPS", "DAGSTER_HOME", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS",
)  # fmt: skip
"""What a step that runs as a job is told of this environment. Addresses that may hold a password (MLFLOW_TRACKING_URI) and keys are the nodes' own."""


@dataclass(frozen=True)
class RaySettings:
    """How the cluster is reached and what one training takes of it."""

    address: str = ""
    """The cluster's own (`head:6379`) where this machine is one of its nodes, a Ray client's (`ray://head:10001`) elsewhere; empty: not told."""
    jobs_url: str = ""
    """The dashboard, which takes jobs; empty: the cluster says where it is."""
    token_mode: bool = False
    """Whether the cluster asks for a token."""
    token_told: bool = False
    """Whether this process was given one by a variable; its value is Ray's to read."""
    nodes: int = 1
    """Nodes of one training."""
    gpus_per_node: int = 1
    """GPUs that one training takes of each of its nodes; none where COSMOS_DEVICE is `cpu`."""
    steps: str = "here"
    """`here`: steps are processes beside Dagster and hand out tasks; `jobs`: each is a job of the cluster, which hands out tasks from there."""


def ray_settings(variables: Mapping[str, str]) -> RaySettings:
    """The settings as the variables say; `address` may be empty, which `local` does not mind."""
    return RaySettings(
        address=variables.get("RAY_ADDRESS") or "",
        jobs_url=variables.get("RAY_API_SERVER_ADDRESS") or "",
        token_mode=(variables.get("RAY_AUTH_MODE") or "").lower() == "token",
        token_told=bool(variables.get("RAY_AUTH_TOKEN") or variables.get("RAY_AUTH_TOKEN_PATH")),
        nodes=_count(variables.get("COSMOS_RAY_NODES") or "1", "COSMOS_RAY_NODES", 1),
        gpus_per_node=_count(variables.get("COSMOS_RAY_GPUS") or "1", "COSMOS_RAY_GPUS", 1),
        steps=_steps(variables.get("COSMOS_RAY_STEPS") or "here"),
    )


def _steps(value: str) -> str:
    if value not in ("here", "jobs"):
        raise UserError(f"COSMOS_RAY_STEPS is {value!r}; steps run `here`, beside Dagster, or as `jobs` of the cluster")
    return value


def ray_environment(env: "Environment") -> Differences:
    """What work on a cluster changes. Raises `UserError` for a setting that cannot work; connects to nothing."""
    from assets.resources.ray_gpu import RayGpuResource
    from assets.resources.ray_launcher import RayTrainingLauncher
    from assets.resources.ray_workers import RayWorkersResource

    ray = env.ray
    check_address(ray.address, ray.jobs_url)
    return Differences(
        resources={
            "workers": RayWorkersResource(address=ray.address),
            "gpu": RayGpuResource(address=ray.address, device_name=env.device, precision_name=env.precision),
            "launcher": RayTrainingLauncher(address=ray.address, jobs_url=ray.jobs_url, nodes=ray.nodes, gpus_per_node=_gpus(env)),
        },
        executor=_executor(ray) if ray.steps == "jobs" else None,
    )


def _executor(ray: RaySettings) -> "ExecutorDefinition":
    from dagster_ray import ray_executor

    # By name, and nothing secret: who may look at the cluster sees the environment of its jobs.
    return ray_executor.configured({"ray": {"address": ray.jobs_url or ray.address, "env_vars": list(_TOLD)}})


def _gpus(env: "Environment") -> int:
    return 0 if env.device == "cpu" else env.ray.gpus_per_node


def check_address(address: str, jobs_url: str = "") -> None:
    """Raises `UserError` for what is no address of a cluster."""
    if not address:
        raise UserError("COSMOS_ENV is ray and RAY_ADDRESS is not set; set it to the cluster's address, HOST:6379 on one of its nodes, else ray://HOST:10001")
    if address.startswith(("http://", "https://")):
        raise UserError(f"RAY_ADDRESS is {address!r}, the address of a dashboard; put that in RAY_API_SERVER_ADDRESS, and HOST:6379 in RAY_ADDRESS")
    if address.startswith("ray://") and not jobs_url:
        raise UserError(f"RAY_ADDRESS is {address!r}, through which Ray cannot say where jobs go; set RAY_API_SERVER_ADDRESS, http://HOST:8265")


def _count(value: str, variable: str, least: int) -> int:
    if not value.isdigit() or int(value) < least:
        raise UserError(f"{variable} is {value!r}; it is a number from {least} up")
    return int(value)
