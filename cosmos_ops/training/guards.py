"""Checks that stop a training run that would only look like one."""

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence

import torch

from cosmos_ops.base_models import WorldModel
from cosmos_ops.errors import WorkFailed
from cosmos_ops.training.adapters import adapter_off
from cosmos_ops.training.data import Batch
from cosmos_ops.training.objective import Draw, arithmetic

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
"""Largest relative difference of outputs that rounding explains; DoRA divides a norm by itself."""

_RECENT, _ENOUGH, _MOST_IN_A_ROW = 100, 20, 5
"""Updates that a spike is told by, fewest of them, and how many in a row are skipped before it is divergence."""


@torch.no_grad()
def check_starts_from_base(model: WorldModel, batch: Batch, drawn: Draw) -> None:
    """A fresh adapter must leave the output as it is. Raises `WorkFailed` otherwise."""
    inputs = (drawn.noise, drawn.sigma, batch.text, batch.clean, drawn.conditioning_frames)
    with arithmetic(model):
        adapted = model.velocity(*inputs).float()
        with adapter_off(model.denoiser):
            base = model.velocity(*inputs).float()
    if not torch.isfinite(base).all():
        raise WorkFailed(f"the base model's own output is not finite for clips {', '.join(batch.clip_ids)}; its weights or these latents are damaged")
    difference = float((adapted - base).norm() / base.norm().clamp_min(1e-12))
    if difference > _TOLERANCE[next(model.denoiser.parameters()).dtype]:
        raise WorkFailed(f"a fresh adapter changes the base model's output by {difference:.2g} (relative): it was not initialised as the identity")


def check_gradients(parameters: Mapping[str, torch.nn.Parameter]) -> None:
    """After the first backward pass: every B matrix must have a gradient. Raises `WorkFailed` naming the layers without.

    A dead one means that A is all zeros, that the layer is not used, or that gradients are switched off.
    """
    dead = [name for name, parameter in parameters.items() if ".lora_B." in name and (parameter.grad is None or not parameter.grad.any())]
    if dead:
        layers = sorted({name.split(".lora_B.")[0] for name in dead})
        shown = ", ".join(layers[:3]) + (f" and {len(layers) - 3} more" if len(layers) > 3 else "")
        raise WorkFailed(f"no gradient reaches the adapter on {shown}; leave these layers out of the recipe's targets")


def check_moved(parameters: Mapping[str, torch.nn.Parameter]) -> None:
    """After the first update: no B matrix may be what it was, all zeros. Raises `WorkFailed` naming the first."""
    still = [name for name, parameter in parameters.items() if ".lora_B." in name and not parameter.any()]
    if still:
        raise WorkFailed(
            f"the first update left {still[0]} and {len(still) - 1} more at zero; the learning rate is too small or the optimizer holds other weights"
        )


def is_spike(norm: float, recent: Sequence[float], factor: float | None) -> bool:
    """Whether a gradient norm stands out from those of recent updates; never while there are fewer than `_ENOUGH`."""
    return factor is not None and len(recent) >= _ENOUGH and norm > factor * statistics.median(recent)


def remember(recent: Sequence[float], norm: float) -> tuple[float, ...]:
    """Recent norms with one more, the oldest forgotten."""
    return (*recent, norm)[-_RECENT:]


def check_spikes(in_a_row: int, step: int, clip_ids: tuple[str, ...]) -> None:
    """Raises `WorkFailed` when updates are skipped one after another: that is divergence, not a bad clip."""
    if in_a_row >= _MOST_IN_A_ROW:
        raise WorkFailed(
            f"{in_a_row} updates in a row, up to step {step}, had gradients far above all before (last clips {', '.join(clip_ids)}): training diverges; "
            "lower learning_rate, or set spike_factor: null to go on regardless"
        )


def check_finite(value: float, what: str, clip_ids: tuple[str, ...], step: int) -> None:
    """Raise `WorkFailed` naming the clips when a loss or gradient norm is NaN or infinite."""
    if value != value or value in (float("inf"), float("-inf")):
        raise WorkFailed(
            f"{what} is {value} at step {step} with clips {', '.join(clip_ids)}; nothing was updated. "
            "Look at these clips' latents, or lower the recipe's learning_rate"
        )


@contextlib.contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Deterministic kernels on a CPU inside the block; an accelerator keeps its fast ones."""
    before = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(before or device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = fill
