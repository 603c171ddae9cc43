"""Reaching MLflow: one client a store, a quick answer when nobody is there, and its failures as one clear line."""

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.postgres import for_sqlalchemy, hide_password, is_postgres, opening, without_password

_PROBE_S = 5


def connect(tracking_uri: str) -> MlflowClient:
    """A client for a database (`sqlite:///...`, `postgresql://...`) or a server (`http://...`).

    Makes the folder of a SQLite file. Raises `UserError` when the address is unusable or a server does not answer within seconds
    (MLflow's own client would retry for minutes).
    """
    shown = without_password(tracking_uri)
    try:
        scheme = urlparse(tracking_uri).scheme
    except ValueError as error:
        raise UserError(f"tracking URI {shown!r} is not an address ({error}); use sqlite:////path/mlflow.db or http://host:port") from None
    if scheme in ("", "file"):
        raise UserError(f"tracking URI {shown!r} is a folder, which MLflow no longer supports; use sqlite:////path/mlflow.db or http://host:port")
    if scheme in ("http", "https"):
        _probe(tracking_uri)
    try:
        if scheme == "sqlite":
            database_folder(tracking_uri).mkdir(parents=True, exist_ok=True)
        # MLflow tries a database for minutes, and two processes that make its tables at once leave one of them with an error.
        with opening(tracking_uri, "MLFLOW_TRACKING_URI") if is_postgres(tracking_uri) else contextlib.nullcontext():
            store = for_sqlalchemy(tracking_uri)
            client = MlflowClient(tracking_uri=store, registry_uri=store)
            client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        login = scheme in ("http", "https") and any(f"error code {code}" in str(error) for code in (401, 403))
        remedy = "log in with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN" if login else "check the tracking URI"
        raise UserError(f"MLflow at {shown} cannot be used ({_line(error, tracking_uri)}); {remedy}") from None
    return client


@contextlib.contextmanager
def talking_to(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow raises inside the block into `WorkFailed` with one line."""
    try:
        yield
    except MlflowException as error:
        raise WorkFailed(f"MLflow at {without_password(tracking_uri)} refused ({error.error_code}): {_line(error, tracking_uri)}") from error
    except SQLAlchemyError as error:
        raise WorkFailed(f"MLflow's database {without_password(tracking_uri)} went away: {_line(error, tracking_uri)}") from error


def local_folder(uri: str) -> Path | None:
    """The folder an artifact root names on this machine, or None for a remote one."""
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if parts.scheme == "" and uri else None


def database_folder(tracking_uri: str) -> Path | None:
    """The folder that a SQLite database is in, None for any other address."""
    return Path(tracking_uri.split("?")[0].removeprefix("sqlite:///")).parent if tracking_uri.startswith("sqlite:///") else None


def _probe(tracking_uri: str) -> None:
    try:
        urllib.request.urlopen(f"{tracking_uri.rstrip('/')}/health", timeout=_PROBE_S).close()
    except urllib.error.HTTPError:
        return  # Somebody answers; a proxy or a login in front of MLflow is not judged here.
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"MLflow at {without_password(tracking_uri)} does not answer ({reason}); start the server or correct the tracking URI") from None


def _line(error: Exception, tracking_uri: str) -> str:
    return hide_password(" ".join(str(error).split()), tracking_uri)[:300]
