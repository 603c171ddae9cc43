"""`doctor`: what is installed, which devices and services answer, what will not work and why."""

import importlib.metadata
import shutil
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.postgres import place, without_password
from cosmos_ops.profiles import load_profile, profile_names
from pipelines import k8s_environment, ray_environment
from pipelines.cli.output import Output
from pipelines.dagster_home import left_behind
from pipelines.environments import DAGSTER_POSTGRES, Environment, differences, environment, prepare

_PACKAGES = (
    "dagster",
    "dagster-webserver",
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "peft",
    "pyarrow",
    "webdataset",
    "av",
    "great-expectations",
    "mlflow",
)
_FREE_BYTES = 10 * 1024**3
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    needed: bool = True
    """False: its absence is only told."""


def doctor(arguments, output: Output) -> dict[str, Any]:
    """Look at everything; a finding that stops work makes the answer `ok: false`, the exit code stays 0."""
    env = environment()
    prepare(env)
    findings = [_python()]
    for look in (_packages, _device, _encoder, _readers, _disk, _lake, _dagster, _mlflow, _profile, *_OF_ENVIRONMENT.get(env.name, ())):
        findings += _guarded(look, env)
    for finding in findings:
        mark = "ok  " if finding.ok else ("FAIL" if finding.needed else "note")
        output.say(f"{mark} {finding.name}: {finding.detail}")
    return {"ok": all(finding.ok or not finding.needed for finding in findings), "findings": [asdict(finding) for finding in findings]}


def _guarded(look: Callable[[Environment], list[Finding]], env: Environment) -> list[Finding]:
    """A doctor must not fall ill of what it examines: whatever a look raises is its finding."""
    try:
        return look(env)
    except UserError as error:
        return [Finding(look.__name__.strip("_"), False, str(error))]
    except Exception as error:
        return [Finding(look.__name__.strip("_"), False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")]


def _python() -> Finding:
    return Finding("python", sys.version_info >= (3, 11), sys.version.split()[0])


def _packages(env: Environment) -> list[Finding]:
    return [_package(name, "run `make install`") for name in _PACKAGES]


def _package(name: str, remedy: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, f"not installed; {remedy}")


def _device(env: Environment) -> list[Finding]:
    import torch

    if not torch.cuda.is_available():
        return [Finding("accelerator", False, "no CUDA device: model work runs on the CPU, which is fine for nano and hopeless for the 2B model", needed=False)]
    return [
        Finding(f"accelerator {number}", True, f"{torch.cuda.get_device_name(number)}, {torch.cuda.get_device_properties(number).total_memory / 2**30:.0f} GiB")
        for number in range(torch.cuda.device_count())
    ]


def _encoder(env: Environment) -> list[Finding]:
    import av
    from av.codec import Codec

    Codec("libx264", "w")
    return [Finding("video", True, f"PyAV {av.__version__}, libx264 encodes, {'libdav1d' if 'libdav1d' in av.codecs_available else 'built-in'} AV1 decodes")]


def _readers(env: Environment) -> list[Finding]:
    import cosmos_ops.logs  # noqa: F401  registers the readers
    from cosmos_ops.logs.base import readers

    return [Finding("log formats", True, ", ".join(sorted(readers())))]


def _disk(env: Environment) -> list[Finding]:
    usage = shutil.disk_usage(env.home)
    return [Finding("disk", usage.free > _FREE_BYTES, f"{usage.free / 2**30:.0f} GiB free at {env.home}", needed=False)]


def _lake(env: Environment) -> list[Finding]:
    """Whether the store of a lake that is elsewhere answers, can be written to, and refuses to write over what changed meanwhile."""
    from cosmos_ops.store.objects import Conflict, objects
    from cosmos_ops.store.place import located

    place = located(env.lake_root)
    if place is None:
        return [Finding("lake", True, f"{env.lake_root}, on this machine")]
    probe = f".doctor-{uuid.uuid4().hex[:8]}"
    try:
        store = objects(place)
        store.write(probe, b"1", tag=None)
        try:
            store.write(probe, b"2", tag=None)
            swaps = False
        except Conflict:
            swaps = True
        finally:
            store.remove([probe])
    except (UserError, WorkFailed) as error:
        return [Finding("lake", False, str(error))]
    told = f"{place.url} answers and can be written to; working copy in {env.lake_root}"
    if swaps:
        return [Finding("lake", True, told)]
    return [Finding("lake", True, told), Finding("lake, two writers", False, "the store knows no conditional writes: change it from one machine", needed=False)]


def _dagster(env: Environment) -> list[Finding]:
    from pipelines.clock import sensors_in_the_future
    from pipelines.instance import open_instance
    from pipelines.processes import daemons_of

    # Without a PostgreSQL that answers this raises the line that says so.
    instance = open_instance(env)
    storage = f"PostgreSQL at {place(env.dagster_postgres)}" if env.dagster_postgres else str(env.dagster_home)
    found = [Finding("dagster", True, f"{storage}, {instance.get_runs_count()} runs, {len(instance.get_dynamic_partitions('drops'))} drops as partitions")]
    if left_behind(env.dagster_home, env.dagster_postgres is not None):
        found.append(Finding("dagster history", False, f"older runs are in SQLite at {env.dagster_home}; unset {DAGSTER_POSTGRES} to see them", needed=False))
    daemons, ahead = daemons_of(env.dagster_home), sensors_in_the_future(instance)
    if len(daemons) > 1:
        pids = ", ".join(map(str, daemons))
        found.append(Finding("dagster daemon", False, f"{len(daemons)} work on this instance (processes {pids}); Dagster supports one: stop the others"))
    if ahead:
        name, seconds = max(ahead.items(), key=lambda item: item[1])
        detail = f"sensor {name} last looked {seconds:.0f} s in the future and waits until then: the clock was set back; start `make dev` again"
        found.append(Finding("clock", False, detail))
    return found


def _mlflow(env: Environment) -> list[Finding]:
    shown = without_password(env.tracking_uri)
    if env.tracking_uri.startswith("http"):
        try:
            with urllib.request.urlopen(f"{env.tracking_uri}/health", timeout=_TIMEOUT_S) as answer:
                return [Finding("mlflow", answer.status == 200, f"{shown} answers")]
        except (urllib.error.URLError, TimeoutError) as error:
            return [Finding("mlflow", False, f"{shown} does not answer ({error}); start it, or unset MLFLOW_TRACKING_URI for the local database")]
    from cosmos_ops.registry.tracking import Tracking

    models = Tracking(env.tracking_uri, env.artifact_root).client.search_registered_models()
    return [Finding("mlflow", True, f"{shown}, {len(models)} registered models")]


def _profile(env: Environment) -> list[Finding]:
    try:
        profile = load_profile(env.profile_name)
    except UserError as error:
        return [Finding("profile", False, str(error))]
    return [Finding("profile", True, f"{profile.name} ({profile.base_model.source}); there are {', '.join(profile_names())}")]


def _ray(env: Environment) -> list[Finding]:
    found = [_package(name, "install the project with its extra `ray`") for name in ray_environment.PACKAGES]
    if env.ray.token_mode:
        told = "RAY_AUTH_MODE is token, by a variable" if env.ray.token_told else "RAY_AUTH_MODE is token, to be found in ~/.ray/auth_token"
    else:
        told = "no token is asked for: who reaches the cluster runs code on it; RAY_AUTH_MODE=token with RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH closes it"
    found.append(Finding("ray token", env.ray.token_mode, told, needed=False))
    try:
        ray_environment.check_address(env.ray.address, env.ray.jobs_url)
        if not all(finding.ok for finding in found[: len(ray_environment.PACKAGES)]):
            return found
        from assets.resources.ray_cluster import look

        seen = look(env.ray.address, env.ray.jobs_url)
    except (UserError, WorkFailed) as error:
        return [*found, Finding("ray cluster", False, str(error))]
    found.append(Finding("ray cluster", seen.nodes > 0, f"{env.ray.address}: {seen.nodes} nodes, {seen.cpus:g} CPUs, {seen.gpus:g} GPUs, {seen.version}"))
    found.append(Finding("ray nodes", seen.nodes >= env.ray.nodes, f"one training takes {env.ray.nodes} of {seen.nodes}"))
    found.append(Finding("ray jobs", seen.jobs_url is not None, seen.jobs_url or "the dashboard, which takes training jobs, does not answer"))
    return found


def _k8s(env: Environment) -> list[Finding]:
    found = [_package(name, "install the project with its extra `k8s`") for name in k8s_environment.PACKAGES]
    if not all(finding.ok for finding in found):
        return found
    import dagster as dg

    from assets.resources.pod_launcher import cluster_version

    try:
        differences(env)
        found.append(Finding("k8s settings", True, f"{env.k8s.image} in {env.k8s.namespace}, {env.k8s.gpus} GPUs a training, {env.k8s.training_pod}"))
        found.append(Finding("k8s cluster", True, f"{cluster_version(env.k8s.kubeconfig, env.k8s.namespace)} answers and shows its pods"))
    except UserError as error:
        found.append(Finding("k8s settings", False, str(error)))
    except dg.Failure as error:
        found.append(Finding("k8s cluster", False, error.description or ""))
    return found


# What the chosen environment needs beyond `local`, and whether it answers.
_OF_ENVIRONMENT: dict[str, tuple[Callable[[Environment], list[Finding]], ...]] = {"ray": (_ray,), "k8s": (_k8s,)}
