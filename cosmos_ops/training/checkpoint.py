"""The state of a training run in one file, so that a kill at any moment loses minutes and changes nothing.

The last few files are kept: where the newest turns out damaged, training goes on from the one before, to the same bits.
Adapter weights, their average where there is one, optimizer moments and the place in the data order. The schedule follows from the number of
updates, and every random number from the recipe's seed and a place in the order, so neither needs a state of its own.
"""

import dataclasses
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from cosmos_ops.errors import WorkFailed
from cosmos_ops.tensors import write_tensors

FOLDER = ".checkpoints"
"""Beside the adapter, hidden so that no manifest lists it; removed when the adapter is whole."""
_STATE = re.compile(r"state-(\d+)\.safetensors")
_MOMENTS = ("exp_avg", "exp_avg_sq")
_HEADER = "state"
_CHECKSUM = "crc32"


@dataclass(frozen=True)
class State:
    """How far a run is."""

    step: int = 0
    """Optimizer updates done."""
    position: int = 0
    """Samples taken from the order by all processes."""
    seconds: float = 0.0
    """Wall time of all attempts that counts towards this state."""
    step_seconds: float = 0.0
    """The part of it spent in updates, without validation and loading."""
    start_loss: float | None = None
    """Validation loss of the base model."""
    validation_loss: float | None = None
    """The latest."""
    best_loss: float | None = None
    """Lowest after an update."""
    best_step: int | None = None
    worse: int = 0
    """Validations in a row that were not the best."""
    recent_norms: tuple[float, ...] = ()
    """Gradient norms of the last updates, which a spike is told by."""
    skipped: int = 0
    """Updates that were left out for their spikes."""
    skipped_in_a_row: int = 0


def save_state(
    folder: Path,
    state: State,
    parameters: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.AdamW,
    average: dict[str, torch.Tensor] | None = None,
    keep: int = 1,
) -> None:
    """Write the checkpoint atomically and forget all but the last `keep`, and best weights that none of these names."""
    tensors = {f"adapter/{name}": parameter for name, parameter in parameters.items()}
    tensors |= {f"average/{name}": tensor for name, tensor in (average or {}).items()}
    for name, parameter in parameters.items():
        for moment in _MOMENTS:
            if parameter in optimizer.state:
                tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    _write(_path(folder, state.step), tensors, json.dumps(dataclasses.asdict(state)))
    steps = _steps(folder)
    kept = [step for step in steps if step <= state.step][:keep]  # one of a later step was damaged, or training would have gone on from it
    for step in set(steps) - set(kept):
        _path(folder, step).unlink()
    named = {_best(folder, _best_step(_path(folder, step))) for step in kept}
    for path in folder.glob("best-*.safetensors"):
        if path not in named:
            path.unlink()


def load_state(
    folder: Path,
    parameters: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.AdamW,
    average: dict[str, torch.Tensor] | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> State | None:
    """Put the last whole checkpoint into parameters, optimizer and average; None where there is none. `warn` is told of each damaged one.

    Raises `WorkFailed` when all are damaged, and for those of another adapter.
    """
    steps = _steps(folder)
    if not steps:
        return None
    for step in steps:
        path = _path(folder, step)
        try:
            tensors, header = _read(path)
            values = json.loads(header)
            if values["best_step"] is not None:
                _read(_best(folder, values["best_step"]))
            break
        except _Damaged as error:
            if step == steps[-1]:
                raise WorkFailed(f"{error}; remove {folder}, training starts again") from None
            warn(f"{error}; training went on from the checkpoint before it")
    state = State(**values | {"recent_norms": tuple(values.get("recent_norms", ()))})
    if {f"adapter/{name}" for name in parameters} != {name for name in tensors if name.startswith("adapter/")}:
        raise WorkFailed(f"{path}: the checkpoint belongs to another adapter; remove {folder}, training starts again")
    _copy(parameters, {name: tensors[f"adapter/{name}"] for name in parameters})
    for name, tensor in (average or {}).items():
        tensor.copy_(tensors[f"average/{name}"])
    if state.step > state.skipped:
        for name, parameter in parameters.items():
            moments = {moment: torch.empty_like(parameter).copy_(tensors[f"{moment}/{name}"]) for moment in _MOMENTS}
            optimizer.state[parameter] = {"step": torch.tensor(float(state.step - state.skipped), device=parameter.device), **moments}
    return state


def save_best(folder: Path, step: int, parameters: dict[str, torch.nn.Parameter]) -> None:
    """Keep these weights as the best, under the step's own name: the checkpoint says which one counts."""
    _write(_best(folder, step), dict(parameters), str(step))


def load_best(folder: Path, step: int, parameters: dict[str, torch.nn.Parameter]) -> None:
    """Put the best weights, those of `step`, into the parameters."""
    try:
        tensors, _ = _read(_best(folder, step))
    except _Damaged as error:
        raise WorkFailed(f"{error}; remove {folder}, training starts again") from None
    _copy(parameters, tensors)


def _best(folder: Path, step: int | None) -> Path:
    return folder / f"best-{step}.safetensors"


class _Damaged(Exception):
    """A file that is missing or not what was written."""


def _path(folder: Path, step: int) -> Path:
    return folder / f"state-{step:08d}.safetensors"


def _steps(folder: Path) -> list[int]:
    """Steps there are checkpoints of, the newest first."""
    found = [_STATE.fullmatch(path.name) for path in folder.glob("state-*")]
    return sorted((int(match[1]) for match in found if match), reverse=True)


def _best_step(path: Path) -> int | None:
    """The best step that a checkpoint names, without reading its tensors."""
    try:
        with safe_open(path, framework="pt") as stream:
            return json.loads(stream.metadata()[_HEADER])["best_step"]
    except (OSError, SafetensorError):
        return None


def _copy(parameters: dict[str, torch.nn.Parameter], tensors: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def _write(path: Path, tensors: dict[str, torch.Tensor], header: str) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_tensors(path, plain, {_HEADER: header, _CHECKSUM: str(_checksum(plain))})


def _read(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    try:
        with safe_open(path, framework="pt") as stream:
            tensors, header = {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata()
        if str(_checksum(tensors)) != header[_CHECKSUM]:
            raise OSError("its content differs from its checksum")
        return tensors, header[_HEADER]
    except (OSError, SafetensorError) as error:
        raise _Damaged(f"{path}: damaged checkpoint ({error})") from None


def _checksum(tensors: dict[str, torch.Tensor]) -> int:
    """Of the bytes, against a disk that returns other ones."""
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), value)
    return value
