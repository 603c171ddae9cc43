"""An adapter's files in MLflow: a LoggedModel that its run made, which registered versions point at and `mlflow.pyfunc` loads."""

import tempfile
from pathlib import Path

from mlflow import MlflowClient, artifacts
from mlflow.entities import LoggedModel, LoggedModelStatus, Run

from cosmos_ops.lake import Manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.registry import names
from cosmos_ops.registry.run_content import adapter_files, training_params
from cosmos_ops.registry.video_model import write_video_model

_TYPE = "video world model adapter"


def log_adapter_model(client: MlflowClient, run: Run, profile: Profile, adapter: Manifest) -> None:
    """The model of an adapter's run, whole: made, or completed where an earlier call was killed. The run's tag `cosmos.model_id` is set last."""
    if names.MODEL_ID in run.data.tags:
        return
    model = _begun(client, run) or client.create_logged_model(
        run.info.experiment_id,
        name=run.data.tags[names.RECIPE],
        source_run_id=run.info.run_id,
        tags={key: value for key, value in run.data.tags.items() if key.startswith("cosmos.") or key == names.DAGSTER_RUN},
        params=training_params(adapter),
        model_type=_TYPE,
    )
    for path, folder in adapter_files(adapter):
        client.log_model_artifact(model.model_id, str(path), folder)
    with tempfile.TemporaryDirectory() as folder:
        for path in write_video_model(Path(folder), profile, adapter.meta["base"]["revision"], run.info.run_id, model.model_id):
            client.log_model_artifact(model.model_id, str(path))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.set_tag(run.info.run_id, names.MODEL_ID, model.model_id)


def adapter_model(client: MlflowClient, run_id: str) -> LoggedModel | None:
    """The finished model of an adapter's run; None for a run without one. Raises `MlflowException` where the model was deleted."""
    model_id = client.get_run(run_id).data.tags.get(names.MODEL_ID)
    return client.get_logged_model(model_id) if model_id else None


def stored_files(client: MlflowClient, run_id: str) -> set[str]:
    """Names of the files at the top of an adapter's model. Raises `MlflowException` or `OSError` where they cannot be listed."""
    model = adapter_model(client, run_id)
    return {entry.path for entry in client.list_logged_model_artifacts(model.model_id)} if model else set()


def download(client: MlflowClient, run_id: str, folder: Path, name: str = "") -> Path | None:
    """Copy an adapter's model, or one of its files, into a folder; where it lies then, or None where the run has no model.

    Raises `MlflowException` or `OSError` where MLflow does not hold it any more.
    """
    model = adapter_model(client, run_id)
    if model is None:
        return None
    # By its address: `models:/ID` would be looked up at MLflow's global tracking URI, not at this client's.
    address = f"{model.artifact_location}/{name}" if name else model.artifact_location
    return Path(artifacts.download_artifacts(artifact_uri=address, dst_path=str(folder), tracking_uri=client.tracking_uri))


def _begun(client: MlflowClient, run: Run) -> LoggedModel | None:
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'", max_results=1)
    return found[0] if found else None
