"""The training program: `python -m cosmos_ops.training --config X.json`.

Runs from a shell (progress on stderr), under Dagster Pipes (custom messages), and as several processes where `torchrun` or `accelerate launch`
starts it (their RANK, WORLD_SIZE and LOCAL_RANK are read here; the first process reports). Exit codes: 0 done, 1 the work failed, 2 bad config,
75 interrupted after saving, so that running it again continues.

Custom messages, from the first update on: {"step", "steps", "loss", "validation_loss", "samples_per_s", "eta_s"} about every 2 s and at the end,
and {"error", "retry"} when it ends otherwise.
"""

import argparse
import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.training.config import TrainingConfig, read_config
from cosmos_ops.training.processes import Processes

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 75
_MESSAGE_S = 2.0
_BAR_CHARACTERS = 24
_LINE_S = 10.0
"""Where stderr is no terminal, a progress line is printed no more often than this."""


def main(arguments: list[str] | None = None) -> int:
    """Run one job; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cosmos_ops.training", description="Train one adapter, or continue where it stopped.")
    parser.add_argument("--config", required=True, type=Path, help="JSON file written when the training was prepared")
    parser.add_argument("--parent-pid", type=int, help="stop as on SIGTERM once this process is not the parent any more")
    options = parser.parse_args(arguments)
    processes = _processes()
    # Of several processes the launcher is the parent, and it ends them itself.
    stop = _StopRequest(options.parent_pid if processes.world == 1 else None)
    with _pipes(processes) as send:
        try:
            return _run(read_config(options.config), send, stop, processes)
        except UserError as error:
            return _end(send, BAD_INPUT, str(error))
        except (WorkFailed, OSError) as error:
            return _end(send, FAILED, str(error))
        except KeyboardInterrupt:
            return _end(send, FAILED, "ended at once; the same command continues from the last checkpoint")


def _processes() -> Processes:
    """This process's place as its launcher says."""
    rank, world, local_rank = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    return Processes(rank, world, local_rank)


def _run(config: TrainingConfig, send: Callable[[dict[str, Any]], None], stop: "_StopRequest", processes: Processes) -> int:
    if processes.first:
        _say(f"{config.recipe.name} on dataset {config.dataset_version}: loading")
    from cosmos_ops.training.loop import Interrupted
    from cosmos_ops.training.work import train_adapter

    display = _Display(send)
    try:
        manifest = train_adapter(config, display.show, stop, processes)
    except Interrupted as interruption:
        return _end(send, INTERRUPTED, str(interruption))
    finally:
        display.finish()
    if not processes.first:
        return DONE
    meta = manifest.meta
    losses = meta["validation_loss"]
    send(
        {
            "step": meta["steps"],
            "steps": meta["steps"],
            "loss": meta["train_loss"],
            "validation_loss": losses["final"],
            "samples_per_s": meta["samples_per_s"],
            "eta_s": 0.0,
        }
    )
    validation = "no validation clips" if losses["start"] is None else f"validation loss {losses['start']:.4f} -> {losses['best']:.4f}"
    for warning in meta["warnings"]:
        _say(f"warning: {warning}")
    _say(f"{'already done' if manifest.unchanged else 'done'}: {manifest.path} ({meta['steps']} steps, {validation})")
    return DONE


class _Display:
    """Shows reports on stderr and sends them, neither too often."""

    def __init__(self, send: Callable[[dict[str, Any]], None]):
        self._send = send
        self._terminal = sys.stderr.isatty()
        self._sent_at = self._shown_at = float("-inf")
        self._open = False

    def show(self, report: Any) -> None:
        """Take one report."""
        now = time.monotonic()
        if report.loss is not None and now - self._sent_at >= _MESSAGE_S:
            self._sent_at = now
            self._send(dataclasses.asdict(report))
        last = report.step == report.steps
        if self._terminal and (last or now - self._shown_at >= 0.2):
            self._shown_at, self._open = now, True
            print(f"\r\x1b[K{_bar(report)}", end="", file=sys.stderr, flush=True)
        elif not self._terminal and (last or now - self._shown_at >= _LINE_S):
            self._shown_at = now
            _say(_line(report))

    def finish(self) -> None:
        """End the line that is rewritten in place."""
        if self._open:
            print(file=sys.stderr, flush=True)


class _StopRequest:
    """True once SIGTERM or SIGINT arrived or the parent is gone; a second SIGINT ends the program at once."""

    def __init__(self, parent_pid: int | None):
        self._parent_pid = parent_pid
        self._signalled = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)

    def __call__(self) -> bool:
        return self._signalled or self._parent_pid not in (None, os.getppid())

    def _take(self, number: int, frame: Any) -> None:
        if self._signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signalled = True
        os.write(2, b"\nstopping after this step\n")  # print is not safe in a signal handler


@contextlib.contextmanager
def _pipes(processes: Processes) -> Iterator[Callable[[dict[str, Any]], None]]:
    """How messages reach Dagster: not at all outside a Pipes process, and from the first process alone."""
    if "DAGSTER_PIPES_CONTEXT" not in os.environ or not processes.first:
        yield lambda message: None
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        yield pipes.report_custom_message


def _end(send: Callable[[dict[str, Any]], None], code: int, message: str) -> int:
    line = " ".join(message.split())
    send({"error": line, "retry": code == INTERRUPTED})
    _say(line)
    return code


def _bar(report: Any) -> str:
    """How far, as a picture, before the line that says it in numbers."""
    done = _BAR_CHARACTERS * report.step // report.steps
    return f"[{'#' * done}{'.' * (_BAR_CHARACTERS - done)}] {_line(report)}"


def _line(report: Any) -> str:
    parts = [f"step {report.step}/{report.steps}"]
    parts += [f"loss {report.loss:.4f}"] if report.loss is not None else []
    parts += [f"validation {report.validation_loss:.4f}"] if report.validation_loss is not None else []
    parts += [f"{report.samples_per_s:.2f} samples/s"] if report.samples_per_s is not None else []
    parts += [f"{_duration(report.eta_s)} left"] if report.eta_s is not None else []
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
