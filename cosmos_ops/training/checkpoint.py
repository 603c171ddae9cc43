"""The state of a training run in one file, so that a kill at any moment loses minutes and changes nothing.

Adapter weights, their average where there is one, optimizer moments and the place in the data order. The schedule follows from the number of
updates, and every random number from the recipe's seed and a place in the order, so neither needs a state of its own.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cosmos_ops.errors import WorkFailed
from cosmos_ops.lake import atomic_write

FOLDER = ".checkpoints"
"""Beside the adapter, hidden so that no manifest lists it; removed when the adapter is whole."""
_STATE = "state.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_HEADER = "state"


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
    folder: Path, state: State, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.AdamW, average: dict[str, torch.Tensor] | None = None
) -> None:
    """Write the checkpoint atomically over the last one and forget best weights that it does not name."""
    tensors = {f"adapter/{name}": parameter for name, parameter in parameters.items()}
    tensors |= {f"average/{name}": tensor for name, tensor in (average or {}).items()}
    for name, parameter in parameters.items():
        for moment in _MOMENTS:
            if parameter in optimizer.state:
                tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    _write(folder / _STATE, tensors, json.dumps(dataclasses.asdict(state)))
    for path in folder.glob("best-*.safetensors"):
        if path != _best(folder, state.best_step):
            path.unlink()


def load_state(
    folder: Path, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.AdamW, average: dict[str, torch.Tensor] | None = None
) -> State | None:
    """Put the last checkpoint into parameters, optimizer and average; None where there is none. Raises `WorkFailed` when it is damaged."""
    path = folder / _STATE
    if not path.is_file():
        return None
    tensors, header = _read(path)
    values = json.loads(header)
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
    tensors, _ = _read(_best(folder, step))
    _copy(parameters, tensors)


def _best(folder: Path, step: int | None) -> Path:
    return folder / f"best-{step}.safetensors"


def _copy(parameters: dict[str, torch.nn.Parameter], tensors: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def _write(path: Path, tensors: dict[str, torch.Tensor], header: str) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as part:
        save_file(plain, part, metadata={_HEADER: header})


def _read(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    try:
        with safe_open(path, framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata()[_HEADER]
    except (OSError, SafetensorError) as error:
        raise WorkFailed(f"{path}: damaged checkpoint ({error}); remove {path.parent}, training starts again") from None
