"""Training as a job of a Ray cluster: the same program, on a node that has what it needs or on several, under Dagster Pipes."""

import contextlib
import shlex
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import PipesEnvContextInjector, open_pipes_session

from assets.materialize import stop_if_orphaned
from assets.resources.launcher import EXIT_RETRY, TrainingLauncher
from assets.resources.ray_cluster import client_of, has
from cosmos_ops.hashing import digest

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_WHAT = "cosmos_training"
"""Key of a job's metadata: which training it is."""
_SILENCE_S = 120.0
"""The dashboard may restart; a training that nobody can ask about for longer is given up, not stopped."""
_ENDING_S = 30.0


class RayTrainingLauncher(TrainingLauncher):
    """Submits the training program, forwards its progress as observations, and stops the job on a cancel.

    A step that died leaves its job running; the next one for the same training takes it over. The lake is seen at the same path by every node.
    """

    address: str
    jobs_url: str = ""
    nodes: int = 1
    gpus_per_node: int = 1
    """Of each node, where the cluster has any; 0: CPUs."""

    def run(self, context: dg.AssetExecutionContext, command: Sequence[str]) -> list[dict]:
        """As `TrainingLauncher.run`. A node that is lost is a reason to try again: training continues from its checkpoint.

        Raises `UserError` or `WorkFailed` where the cluster takes no jobs.
        """
        from dagster_ray import PipesRayJobMessageReader
        from dagster_ray.core.pipes import PIPES_LAUNCHED_EXTRAS_RAY_ADDRESS_KEY, PIPES_LAUNCHED_EXTRAS_RAY_JOB_ID_KEY

        client = client_of(self.address, self.jobs_url)
        # Pipes itself comes from dagster-ray; its blocking `PipesRayJobClient.run` shows no progress, and no exit code when it fails.
        with open_pipes_session(context, PipesEnvContextInjector(), PipesRayJobMessageReader()) as session:
            job = self._running(client, command) or self._submit(client, command, session.get_bootstrap_env_vars())
            context.log.info(f"training is Ray job {job}, at {client.get_address()}")
            session.report_launched({"extras": {PIPES_LAUNCHED_EXTRAS_RAY_JOB_ID_KEY: job, PIPES_LAUNCHED_EXTRAS_RAY_ADDRESS_KEY: client.get_address()}})
            try:
                seen = self._wait(context, session, client, job)
            except dg.Failure:
                raise  # out of reach: whether it runs is not known, and the next try takes it over
            except BaseException:
                self._stop_job(context, client, job)
                raise
        self._observe(context, session, seen)
        messages = list(session.get_custom_messages())
        # Of several nodes torchrun keeps the exit code to itself; the training program says it in its last message too.
        return self._outcome(EXIT_RETRY if messages and messages[-1].get("retry") else self._exit_code(client, job), messages)

    def _wait(self, context: dg.AssetExecutionContext, session: Any, client: "JobSubmissionClient", job: str) -> int:
        """Until the job has ended; returns how many messages were logged."""
        seen, answered = 0, time.monotonic()
        while True:
            stop_if_orphaned()
            seen = self._observe(context, session, seen)
            try:
                if client.get_job_status(job).is_terminal():
                    return seen
                answered = time.monotonic()
            except (RuntimeError, OSError) as error:
                if time.monotonic() - answered > _SILENCE_S:
                    told = f"the Ray cluster tells nothing of job {job} for {_SILENCE_S:.0f} s ({error}); the next try takes the job over where it runs"
                    raise dg.Failure(description=told, allow_retries=True) from None
            time.sleep(self.poll_s)

    def _running(self, client: "JobSubmissionClient", command: Sequence[str]) -> str | None:
        """A job of this very training that a step which died has left."""
        from ray.job_submission import JobStatus

        alive = (JobStatus.PENDING, JobStatus.RUNNING)
        return next((job.submission_id for job in client.list_jobs() if job.status in alive and (job.metadata or {}).get(_WHAT) == digest(list(command))), None)

    def _submit(self, client: "JobSubmissionClient", command: Sequence[str], bootstrap: dict[str, str]) -> str:
        what, gpus = digest(list(command)), self.gpus_per_node if has(self.address, "GPU") else 0
        several = self.nodes > 1 or gpus > 1
        if several:
            # `torchrun` takes what follows `python`; the program that starts it on the nodes needs no GPU itself.
            nodes = ("--nodes", str(self.nodes), "--gpus", str(gpus))
            command = [command[0], "-m", "cosmos_ops.training.ray_nodes", *nodes, "--", *command[1:]]
        variables = {
            **bootstrap,
            "PYTHONUNBUFFERED": "1",  # messages are lines of the job's log
            "RAY_JOB_STOP_WAIT_TIME_S": str(round(self.grace_s)),
        }
        return client.submit_job(
            entrypoint=shlex.join(command),
            submission_id=f"cosmos-{what}-{uuid.uuid4().hex[:8]}",
            metadata={_WHAT: what},
            runtime_env={"env_vars": variables},
            entrypoint_num_cpus=0 if several else 1,
            entrypoint_num_gpus=0 if several else gpus,
        )

    def _exit_code(self, client: "JobSubmissionClient", job: str) -> int:
        """Of the program. Raises the retryable `dagster.Failure` where it has none: its node is gone, or somebody stopped it."""
        info = client.get_job_info(job)
        if info.driver_exit_code is not None:
            return info.driver_exit_code
        why = " ".join((info.message or "").split())[:300]
        raise dg.Failure(description=f"Ray job {job} ended as {info.status}: {why}; the next try continues from the last checkpoint", allow_retries=True)

    def _stop_job(self, context: dg.AssetExecutionContext, client: "JobSubmissionClient", job: str) -> None:
        context.log.info(f"stopping Ray job {job}; it has {self.grace_s:.0f} s to save its state")
        client.stop_job(job)
        deadline = time.monotonic() + self.grace_s + _ENDING_S
        with contextlib.suppress(RuntimeError, OSError):
            while not client.get_job_status(job).is_terminal() and time.monotonic() < deadline:
                time.sleep(min(self.poll_s, 0.5))
