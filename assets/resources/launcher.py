"""Training as a process of its own: `python -m cosmos_ops.training` under Dagster Pipes, in its own process group."""

import os
import signal
import subprocess
import warnings
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster import PipesEnvContextInjector, PipesTempFileMessageReader, open_pipes_session

from assets.materialize import stop_if_orphaned

# Dagster marks parts of its own Pipes client as previews each time they are used; a user can do nothing about it.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

EXIT_RETRY = 75
"""EX_TEMPFAIL: the trainer saved its state and stopped; starting it again continues."""


class TrainingLauncher(dg.ConfigurableResource):
    """Runs the training program, forwards its progress as observations, and stops its whole process group on a cancel."""

    poll_s: float = 1.0
    grace_s: float = 60.0
    """Time the trainer has to save a checkpoint after SIGINT, and again after SIGTERM, before SIGKILL."""

    def run(self, context: dg.AssetExecutionContext, command: Sequence[str]) -> list[dict]:
        """Run to the end and return the trainer's messages.

        Raises `dagster.Failure`, retryable when the trainer says so (exit code 75) or was killed: it then continues from its last checkpoint.
        """
        seen = 0
        with open_pipes_session(context, PipesEnvContextInjector(), PipesTempFileMessageReader()) as session:
            environment = {**os.environ, **session.get_bootstrap_env_vars()}
            # A session of its own: signals sent to the step's group do not reach it twice, and children of the trainer die with it.
            process = subprocess.Popen([*command, "--parent-pid", str(os.getpid())], env=environment, start_new_session=True)
            try:
                while True:
                    stop_if_orphaned()
                    seen = self._observe(context, session, seen)
                    try:
                        code = process.wait(timeout=self.poll_s)
                        break
                    except subprocess.TimeoutExpired:
                        continue
            except BaseException:
                self._stop(context, process)
                raise
        self._observe(context, session, seen)
        return self._outcome(code, list(session.get_custom_messages()))

    def _outcome(self, code: int, messages: list[dict], where: str = "its log is in the step's stderr") -> list[dict]:
        """The messages of a training that ended well; the failure of another, which says `where` to look."""
        if code == 0:
            return messages
        if code == EXIT_RETRY:
            raise dg.Failure(description="training was interrupted and saved its state; the next try continues from there", allow_retries=True)
        if code < 0:
            killed = f"the training program was killed by signal {-code} (the system does so when memory runs out)"
            raise dg.Failure(description=f"{killed}; trained again, it continues from its last checkpoint", metadata={"exit_code": code}, allow_retries=True)
        line = next(
            (message["error"] for message in reversed(messages) if "error" in message),
            f"the training program exited with code {code}; {where}",
        )
        raise dg.Failure(description=line, metadata={"exit_code": code}, allow_retries=False)

    def _observe(self, context: dg.AssetExecutionContext, session: Any, seen: int) -> int:
        messages = list(session.get_custom_messages())
        for message in messages[seen:]:
            self._log(context, message)
        return len(messages)

    def _log(self, context: dg.AssetExecutionContext, message: dict) -> None:
        if "step" not in message:
            return
        context.log_event(dg.AssetObservation(asset_key=context.asset_key, metadata={name: value for name, value in message.items() if value is not None}))
        speed = f", {message['samples_per_s']:.2f} samples/s, {message['eta_s']:.0f} s left" if message.get("samples_per_s") else ""
        context.log.info(f"training: step {message['step']}/{message['steps']} loss {message['loss']:.4f}{speed}")

    def _stop(self, context: dg.AssetExecutionContext, process: subprocess.Popen) -> None:
        for name in ("SIGINT", "SIGTERM", "SIGKILL"):
            if process.poll() is not None:
                return
            context.log.info(f"stopping training (process group {process.pid}) with {name}")
            try:
                os.killpg(process.pid, getattr(signal, name))
                process.wait(timeout=self.grace_s)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
