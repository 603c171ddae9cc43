"""Every environment variable and every resource instance of the project. Nothing else reads the environment."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.postgres import for_sqlalchemy, has_password, is_postgres, same_database, without_password
from cosmos_ops.profiles import Profile, load_profile
from cosmos_ops.store.place import ARTIFACTS
from pipelines.dagster_home import SETTINGS, write_settings
from pipelines.differences import Differences
from pipelines.k8s_environment import K8sSettings, k8s_environment, k8s_settings
from pipelines.ray_environment import RaySettings, ray_environment, ray_settings

PROJECT = Path(__file__).resolve().parents[1]
LOOPBACK = "127.0.0.1"
DAGSTER_PORT, MLFLOW_PORT = 3000, 5000
DAGSTER_POSTGRES, TRACKING_URI = "COSMOS_DAGSTER_POSTGRES", "MLFLOW_TRACKING_URI"
_PROMOTION_WEBHOOK, _ALERT_WEBHOOK, _WEBHOOK_SECRET = "COSMOS_PROMOTION_WEBHOOK", "COSMOS_ALERT_WEBHOOK", "COSMOS_WEBHOOK_SECRET"


@dataclass(frozen=True)
class Environment:
    """Where this installation keeps its state and what it runs with."""

    home: Path
    lake_root: Path
    lake_url: str | None
    """Where the lake is when that is elsewhere: `lake_root` is then this machine's working copy of it."""
    dagster_home: Path
    tracking_uri: str = field(repr=False)
    """May hold a password, as the next ones may."""
    artifact_root: str
    mlflow_url: str
    """Address of MLflow's pages."""
    profile_name: str
    recipes_folder: Path | None
    """Folder with more recipe YAMLs than those of the package."""
    gates_file: Path | None
    """The promotion gate's YAML; None for the package's own."""
    promotion_webhook: str | None
    alert_webhook: str | None
    webhook_secret: str | None
    device: str
    precision: str
    name: str
    dagster_port: int | None
    mlflow_port: int | None
    ray: RaySettings
    """What the variables say of a Ray cluster; of use where `name` is `ray`."""
    dagster_postgres: str | None = field(default=None, repr=False)
    """Address of the database that keeps Dagster's runs and events; None for SQLite in `dagster_home`."""
    k8s: K8sSettings = K8sSettings()
    """What pods are made of; of use where `name` is `k8s`."""

    @property
    def lake(self) -> Lake:
        return Lake(self.lake_root, self.lake_url)

    @property
    def profile(self) -> Profile:
        return load_profile(self.profile_name)


# Each says what it changes of `local`; it connects to nothing.
ENVIRONMENTS: dict[str, Callable[[Environment], Differences]] = {
    "local": lambda env: Differences(),
    "ray": ray_environment,
    "k8s": k8s_environment,
}


def environment(profile: str | None = None) -> Environment:
    """The environment as the variables say (README, "Settings"); `profile` overrides the variable's."""
    variables = os.environ
    home = Path(variables.get("COSMOS_HOME") or PROJECT / ".cosmos").absolute()
    name = variables.get("COSMOS_ENV") or "local"
    if name not in ENVIRONMENTS:
        raise UserError(f"COSMOS_ENV is {name!r}; this version knows {', '.join(ENVIRONMENTS)}")
    lake = variables.get("COSMOS_LAKE") or str(home / "lake")
    tracking = for_sqlalchemy(variables.get(TRACKING_URI) or "") or f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
    url = lake.rstrip("/") if "://" in lake else None
    recipes, gates = variables.get("COSMOS_RECIPES"), variables.get("COSMOS_GATES")
    mlflow_port = _port(variables.get("COSMOS_MLFLOW_PORT"), "COSMOS_MLFLOW_PORT")
    return Environment(
        home=home,
        lake_root=home / "lake" if url else Path(lake).absolute(),
        lake_url=url,
        dagster_home=Path(variables.get("DAGSTER_HOME") or home / "dagster").absolute(),
        tracking_uri=tracking,
        artifact_root=f"{url}/{ARTIFACTS}" if url else str(home / "mlflow" / "artifacts"),
        # A database has no pages of its own: links lead to where `make dev` serves them.
        mlflow_url=without_password(
            variables.get("COSMOS_MLFLOW_URL") or (tracking if tracking.startswith("http") else f"http://{LOOPBACK}:{mlflow_port or MLFLOW_PORT}")
        ),
        profile_name=profile or variables.get("COSMOS_PROFILE") or "nano",
        recipes_folder=Path(recipes).absolute() if recipes else None,
        gates_file=Path(gates).absolute() if gates else None,
        promotion_webhook=variables.get(_PROMOTION_WEBHOOK) or None,
        alert_webhook=variables.get(_ALERT_WEBHOOK) or None,
        webhook_secret=variables.get(_WEBHOOK_SECRET) or None,
        device=variables.get("COSMOS_DEVICE") or "auto",
        precision=variables.get("COSMOS_PRECISION") or "auto",
        name=name,
        dagster_port=_port(variables.get("COSMOS_DAGSTER_PORT"), "COSMOS_DAGSTER_PORT"),
        mlflow_port=mlflow_port,
        ray=ray_settings(variables),
        k8s=k8s_settings(variables),
        dagster_postgres=_dagster_postgres(variables.get(DAGSTER_POSTGRES), tracking),
    )


def _dagster_postgres(value: str | None, tracking: str) -> str | None:
    if not value:
        return None
    if not is_postgres(value):
        raise UserError(f"{DAGSTER_POSTGRES} is not an address of a PostgreSQL database; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    if same_database(value, tracking):
        # Either keeps the version of its tables under one name, and upgrades the other's to nothing.
        raise UserError(f"{DAGSTER_POSTGRES} and {TRACKING_URI} name one database, {without_password(value)}; give Dagster and MLflow a database each")
    return for_sqlalchemy(value)


def differences(env: Environment) -> Differences:
    """What the chosen environment changes. Raises `UserError` for a setting that cannot work."""
    return ENVIRONMENTS[env.name](env)


def _port(value: str | None, variable: str) -> int | None:
    if not value:
        return None
    if not value.isdigit() or not 0 < int(value) < 65536:
        raise UserError(f"{variable} is {value!r}; a port is a number from 1 to 65535")
    return int(value)


def prepare(env: Environment) -> None:
    """Make the state folders and tell child processes where they are. Safe to call again."""
    for folder in (env.dagster_home, env.lake.landing, env.home / "mlflow" / "artifacts"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder} cannot be made ({error.strerror}); set COSMOS_HOME to a folder that can be written") from None
    write_settings(env.dagster_home, PROJECT / SETTINGS, DAGSTER_POSTGRES if env.dagster_postgres else None)
    if not env.tracking_uri.startswith("http"):
        os.environ["MLFLOW_BACKEND_STORE_URI"] = env.tracking_uri  # what `mlflow server` serves
    if env.dagster_postgres:
        os.environ[DAGSTER_POSTGRES] = env.dagster_postgres
    # A queue for jobs of MLflow's GenAI pages: eight processes beside the server, which nothing here uses.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    # Two steps may run side by side; two thread teams on the same cores spend most of their time waiting for each other.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    os.environ.update(
        COSMOS_HOME=str(env.home),
        COSMOS_LAKE=env.lake_url or str(env.lake_root),
        DAGSTER_HOME=str(env.dagster_home),
        COSMOS_PROFILE=env.profile_name,
        MLFLOW_TRACKING_URI=env.tracking_uri,
        COSMOS_MLFLOW_URL=env.mlflow_url,
        # Both only write to the log, and their import-time checks reach for the network.
        DAGSTER_DISABLE_TELEMETRY="true",
        MLFLOW_DISABLE_TELEMETRY="true",
    )


def resources(env: Environment) -> dict[str, Any]:
    """Resource instances of this environment, by the names assets ask for."""
    from assets.resources import GpuResource, LakeResource, NoticesResource, SecretResource, TrackingResource, TrainingLauncher, WorkersResource

    return {
        "lake": LakeResource(
            root=str(env.lake_root),
            upstream=env.lake_url or "",
            profile_name=env.profile_name,
            recipes_folder=str(env.recipes_folder or ""),
            gates_file=str(env.gates_file or ""),
        ),
        "tracking": TrackingResource(tracking_uri=_tracking_uri(env), artifact_root=env.artifact_root, ui_url=env.mlflow_url),
        "gpu": GpuResource(device_name=env.device, precision_name=env.precision),
        "launcher": TrainingLauncher(),
        "workers": WorkersResource(),
        # By its name: Dagster stores the settings of resources, and reads a variable only where a step asks for it.
        "caption_key": _secret(SecretResource, _caption_variable(env)),
        "judge_key": _secret(SecretResource, _judge_variable(env)),
        # By their names too: the path of a chat service's webhook is as good as a password.
        "notices": NoticesResource(promotion_url=_named(_PROMOTION_WEBHOOK), alert_url=_named(_ALERT_WEBHOOK), secret=_named(_WEBHOOK_SECRET)),
        **differences(env).resources,
    }


def notices() -> Any:
    """The webhooks with their addresses, for sensors and the command line."""
    from assets.resources import NoticesResource

    env = environment()
    return NoticesResource(promotion_url=env.promotion_webhook or "", alert_url=env.alert_webhook or "", secret=env.webhook_secret or "")


def alert_url() -> str | None:
    """Where alerts go, if anywhere; to know whether their sensor should run."""
    return os.environ.get(_ALERT_WEBHOOK) or None


def _named(variable: str) -> Any:
    import dagster as dg

    return dg.EnvVar(variable) if os.environ.get(variable) else ""


def _tracking_uri(env: Environment) -> Any:
    """By its name where it holds a password."""
    return _named(TRACKING_URI) if has_password(env.tracking_uri) else env.tracking_uri


def _secret(kind: type, variable: str | None) -> Any:
    """Resource that holds the value of an environment variable, nothing where none is named or set."""
    import dagster as dg

    return kind(value=dg.EnvVar(variable) if variable and os.environ.get(variable) else "")


def _caption_variable(env: Environment) -> str | None:
    """The variable that the profile names for its captions' endpoint. A profile that cannot be read is the run's to report."""
    try:
        captions = env.profile.captions
    except UserError:
        return None
    return captions.vlm.key_variable if "vlm" in captions.models else None


def _judge_variable(env: Environment) -> str | None:
    """The variable that the profile names for its judge."""
    try:
        judge = env.profile.evaluation.judge
    except UserError:
        return None
    return judge.key_variable if judge is not None else None
