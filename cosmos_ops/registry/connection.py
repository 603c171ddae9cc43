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

_PROBE_S = 5


def connect(tracking_uri: str) -> MlflowClient:
    """A client for a database (`sqlite:///...`) or a server (`http://...`).

    Makes the folder of a SQLite file. Raises `UserError` when the address is unusable or a server does not answer within seconds
    (MLflow's own client would retry for minutes).
    """
    try:
        scheme = urlparse(tracking_uri).scheme
    except ValueError as error:
        raise UserError(f"tracking URI {tracking_uri!r} is not an address ({error}); use sqlite:////path/mlflow.db or http://host:port") from None
    if scheme in ("", "file"):
        raise UserError(f"tracking URI {tracking_uri!r} is a folder, which MLflow no longer supports; use sqlite:////path/mlflow.db or http://host:port")
    if scheme in ("http", "https"):
        _probe(tracking_uri)
    try:
        if scheme == "sqlite":
            Path(tracking_uri.split("?")[0].removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        login = scheme in ("http", "https") and any(f"error code {code}" in str(error) for code in (401, 403))
        remedy = "log in with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN" if login else "check the tracking URI"
        raise UserError(f"MLflow at {tracking_uri} cannot be used ({_line(error)}); {remedy}") from None
    return client


@contextlib.contextmanager
def talking_to(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow raises inside the block into `WorkFailed` with one line."""
    try:
        yield
    except MlflowException as error:
        raise WorkFailed(f"MLflow at {tracking_uri} refused ({error.error_code}): {_line(error)}") from error


def local_folder(uri: str) -> Path | None:
    """The folder an artifact root names on this machine, or None for a remote one."""
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if parts.scheme == "" and uri else None


def _probe(tracking_uri: str) -> None:
    try:
        urllib.request.urlopen(f"{tracking_uri.rstrip('/')}/health", timeout=_PROBE_S).close()
    except urllib.error.HTTPError:
        return  # Somebody answers; a proxy or a login in front of MLflow is not judged here.
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"MLflow at {tracking_uri} does not answer ({reason}); start the server or correct the tracking URI") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
