"""What was trained and scored, as MLflow runs: one for each adapter, one for base on each evaluation set, one for each leaderboard.

Every run is found again by its tags, so recording twice, or once more after a kill, completes what is there and adds nothing.
"""

import contextlib
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import canonical_json
from cosmos_ops.lake import MANIFEST, Lake, Manifest, locked
from cosmos_ops.profiles import Profile
from cosmos_ops.registry import names
from cosmos_ops.registry.adapter_model import adapter_model, log_adapter_model
from cosmos_ops.registry.connection import connect, database_folder, local_folder, talking_to
from cosmos_ops.registry.dataset_facts import DatasetFacts, read_dataset_facts
from cosmos_ops.registry.provenance import Provenance
from cosmos_ops.registry.run_content import adapter_tags, curve_points, score_metrics, summary_metrics, training_params

_METRICS_A_BATCH = 1000
_PARAMS_A_BATCH = 100


class Tracking:
    """MLflow at `tracking_uri`. `artifact_root` (folder or URL) is where artifacts go when that is a database, not a server."""

    def __init__(self, tracking_uri: str, artifact_root: str | Path):
        self.tracking_uri = tracking_uri
        self.artifact_root = str(artifact_root)

    @functools.cached_property
    def client(self) -> MlflowClient:
        """The MLflow client, connected at first use. Raises `UserError` where nothing answers."""
        return connect(self.tracking_uri)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[MlflowClient]:
        """Talk to MLflow alone among the processes that share a local artifact root or database; MLflow itself has no locks. Do not nest."""
        folder = local_folder(self.artifact_root) or database_folder(self.tracking_uri)
        with locked(folder / name) if folder else contextlib.nullcontext(), talking_to(self.tracking_uri):
            yield self.client

    def record_adapter(self, lake: Lake, profile: Profile, adapter: Manifest, made_by: Provenance) -> tuple[str, str]:
        """One run for an adapter: recipe, lineage tags, loss curve, dataset, and the PEFT files as its LoggedModel. Returns (run id, experiment id).

        The provenance of the first recording stays. Raises `UserError` where the lake lacks the adapter's dataset.
        """
        facts = read_dataset_facts(lake, adapter.meta["dataset_version"])
        name = names.model_name(profile, lake)
        tags = adapter_tags(profile, adapter, facts, made_by)
        with self.exclusive(name):
            experiment = self._experiment(name)
            run = self._run(experiment, f"{tags[names.RECIPE]} on {facts.version[:8]}", _adapter_identity(adapter), tags)
            if names.RECORDED not in run.data.tags:
                self._log_training(run, adapter)
                self._log_dataset(run, name, facts)
                self._finish(run)
            log_adapter_model(self.client, run, profile, adapter)
            return run.info.run_id, experiment

    def record_decision(self, lake: Lake, profile: Profile, adapters: list[Manifest], decision: Manifest) -> None:
        """The gate's decision (`decision/decision.json`) with the runs of the adapters that it is about; a later one replaces it."""
        with self.exclusive(names.model_name(profile, lake)):
            experiment = self._experiment(names.model_name(profile, lake))
            for adapter in adapters:
                run = self._find(experiment, _adapter_identity(adapter))
                if run is not None and run.data.tags.get(names.DECISION) != decision.key:
                    self.client.log_artifact(run.info.run_id, str(decision.file("decision.json")), "decision")
                    self.client.set_tag(run.info.run_id, names.DECISION, decision.key)

    def record_scores(
        self, lake: Lake, profile: Profile, contender: str, adapter: Manifest | None, scoreboard: dict[str, Any], leaderboard: Manifest, base_revision: str
    ) -> str:
        """Scores of one contender as metrics (`eval/psnr`, `eval/psnr_low`, ...), and the leaderboard's report. Returns the run id.

        `adapter` None is the base model, which has one run an evaluation set. An adapter's scores go to its own run; on any
        further evaluation set to a run of their own below it. Raises `UserError` where the adapter was never recorded.
        """
        evaluation_set = leaderboard.meta["evaluation_set"]
        name = names.model_name(profile, lake)
        metrics = score_metrics(scoreboard, contender)
        shared = {names.EVALUATION_SET: evaluation_set, names.BASE_MODEL: profile.base_model.source, names.BASE_REVISION: base_revision}
        with self.exclusive(name):
            experiment = self._experiment(name)
            self._record_leaderboard(experiment, leaderboard, shared)
            if adapter is None:
                identity = {names.KIND: "base", names.EVALUATION_SET: evaluation_set, names.BASE_REVISION: base_revision}
                run, model = self._run(experiment, f"base on {evaluation_set[:8]}", identity, shared), None
            else:
                run = self._scores_run(experiment, contender, adapter, evaluation_set)
                model = adapter_model(self.client, run.data.tags.get("mlflow.parentRunId", run.info.run_id))
            now = int(time.time() * 1000)
            # With the model and the evaluation set, so that MLflow's page of models compares like with like.
            about = {"model_id": model.model_id, "dataset_name": f"{name} evaluation set", "dataset_digest": evaluation_set} if model else {}
            new = [Metric(metric, value, now, 0, **about) for metric, value in metrics.items() if run.data.metrics.get(metric) != value]
            self._log_metrics(run, new)
            self._finish(run)
            return run.info.run_id

    def adapter_run(self, lake: Lake, profile: Profile, adapter: Manifest) -> Run | None:
        """The run of an adapter, or None where it was never recorded."""
        with talking_to(self.tracking_uri):
            experiment = self._experiment(names.model_name(profile, lake))
            return self._find(experiment, _adapter_identity(adapter))

    def leaderboard_run(self, lake: Lake, profile: Profile, leaderboard: Manifest) -> Run | None:
        """The run that holds a leaderboard's report and tables as artifacts, or None where nothing of it was recorded."""
        with talking_to(self.tracking_uri):
            return self._find(self._experiment(names.model_name(profile, lake)), _leaderboard_identity(leaderboard))

    def _scores_run(self, experiment: str, contender: str, adapter: Manifest, evaluation_set: str) -> Run:
        own = self._find(experiment, _adapter_identity(adapter))
        if own is None:
            raise UserError(f"adapter {adapter.key} of {contender} has no MLflow run; record it first (materialize its `adapter` asset)")
        first = own.data.tags.get(names.EVALUATION_SET)
        if first is None:
            self.client.set_tag(own.info.run_id, names.EVALUATION_SET, evaluation_set)
        if first in (None, evaluation_set):
            return own
        identity = {names.KIND: "scores", names.ADAPTER_KEY: adapter.key, names.ADAPTER_VERSION: adapter.data_version, names.EVALUATION_SET: evaluation_set}
        return self._run(experiment, f"{own.info.run_name} scored on {evaluation_set[:8]}", identity, {"mlflow.parentRunId": own.info.run_id})

    def _record_leaderboard(self, experiment: str, leaderboard: Manifest, tags: dict[str, str]) -> None:
        run = self._run(experiment, f"leaderboard {leaderboard.key[:8]}", _leaderboard_identity(leaderboard), tags)
        if names.RECORDED in run.data.tags:
            return
        for file in sorted(leaderboard.files):
            self.client.log_artifact(run.info.run_id, str(leaderboard.file(file)), str(Path(file).parent) if "/" in file else None)
        self._finish(run)

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage != "active":
                remedy = f"restore it (mlflow experiments restore -x {found.experiment_id}) or delete it for good (mlflow gc)"
                raise UserError(f"MLflow experiment {name!r} is deleted; {remedy}")
            return found.experiment_id
        # A server decides itself where artifacts lie; a database would take the working directory.
        location = None if self.tracking_uri.startswith("http") else _below(self.artifact_root, name)
        try:
            return self.client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return self.client.get_experiment_by_name(name).experiment_id

    def _run(self, experiment: str, run_name: str, identity: dict[str, str], tags: dict[str, str]) -> Run:
        """The run with these identity tags, made in one call with all its tags where there is none."""
        return self._find(experiment, identity) or self.client.create_run(experiment, tags=tags | identity, run_name=run_name)

    def _find(self, experiment: str, identity: dict[str, str]) -> Run | None:
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
        found = self.client.search_runs([experiment], wanted, order_by=["attributes.start_time ASC"], max_results=1)
        return found[0] if found else None

    def _log_training(self, run: Run, adapter: Manifest) -> None:
        params = [Param(key, value) for key, value in training_params(adapter).items()]
        for start in range(0, len(params), _PARAMS_A_BATCH):
            self.client.log_batch(run.info.run_id, params=params[start : start + _PARAMS_A_BATCH])
        # Times derived from the run's start, so that logging again after a kill meets the same rows.
        start = run.info.start_time
        self._log_metrics(run, [Metric(name, value, start + step, step) for name, value, step in curve_points(adapter)])
        self._log_metrics(run, [Metric(name, value, start, 0) for name, value in summary_metrics(adapter).items()])

    def _log_metrics(self, run: Run, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), _METRICS_A_BATCH):
            self.client.log_batch(run.info.run_id, metrics=metrics[start : start + _METRICS_A_BATCH])

    def _log_dataset(self, run: Run, name: str, facts: DatasetFacts) -> None:
        profile = canonical_json({"clips": facts.clips, "drops": len(facts.drops), "episodes": {split: len(ids) for split, ids in facts.episodes.items()}})
        dataset = Dataset(name, facts.version, "cosmos-ops lake", canonical_json({"manifest": f"datasets/{facts.version}/{MANIFEST}"}), profile=profile)
        self.client.log_inputs(run.info.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def _finish(self, run: Run) -> None:
        if names.RECORDED in run.data.tags:
            return
        self.client.set_terminated(run.info.run_id, "FINISHED")
        self.client.set_tag(run.info.run_id, names.RECORDED, "yes")


def _leaderboard_identity(leaderboard: Manifest) -> dict[str, str]:
    return {names.KIND: "leaderboard", "cosmos.leaderboard": leaderboard.key}


def _adapter_identity(adapter: Manifest) -> dict[str, str]:
    # The content too: the same recipe on the same data, trained again elsewhere, need not give the same weights.
    return {names.KIND: "adapter", names.ADAPTER_KEY: adapter.key, names.ADAPTER_VERSION: adapter.data_version}


def _below(root: str, name: str) -> str:
    folder = local_folder(root)
    return (folder / name).absolute().as_uri() if folder else f"{root.rstrip('/')}/{name}"
