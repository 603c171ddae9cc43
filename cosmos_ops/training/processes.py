"""Several training processes as one: each takes its share of the samples, gradients are averaged, and the first alone writes.

Gradients of an adapter are small (0.2 GB at rank 32 in the 2B model), so they are averaged once an update, whatever the accumulation, and no
wrapper is put around the model: what is saved, loaded and merged is the same for one process and for many.
"""

import contextlib
import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_TIMEOUT = datetime.timedelta(minutes=30)
"""Longest wait for another process: the first validates while the others wait."""


@dataclass(frozen=True)
class Processes:
    """This process's place. One alone needs no group."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Number on this machine: which of its GPUs is used."""

    @property
    def first(self) -> bool:
        """Whether this process writes, validates and reports."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The device of this process: with several, `cuda` becomes the GPU of the local rank."""
        return f"cuda:{self.local_rank}" if self.world > 1 and name.startswith("cuda") else name

    def average_gradients(self, parameters: "Iterable[torch.nn.Parameter]") -> None:
        """Replace each gradient by its mean over all processes. A parameter that got none here counts as zeros."""
        if self.world == 1:
            return
        import torch
        from torch import distributed

        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        together = torch.cat([parameter.grad.flatten() for parameter in parameters])
        distributed.all_reduce(together)
        together /= self.world
        parts = together.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad.copy_(part.view_as(parameter))

    def total(self, values: list[float], device: "torch.device") -> list[float]:
        """Sums over all processes, the same on each."""
        if self.world == 1:
            return values
        import torch
        from torch import distributed

        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(tensor)
        return tensor.tolist()

    def from_first(self, value: object) -> object:
        """The first process's value on all."""
        if self.world == 1:
            return value
        from torch import distributed

        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]


@contextlib.contextmanager
def process_group(processes: Processes, device: str) -> Iterator[None]:
    """Connect the processes inside the block, by NCCL on GPUs and Gloo on CPUs. Addresses come from the launcher, as torch reads them."""
    if processes.world == 1:
        yield
        return
    import torch
    from torch import distributed

    if device.startswith("cuda"):
        torch.cuda.set_device(processes.local_rank)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", rank=processes.rank, world_size=processes.world, timeout=_TIMEOUT)
    try:
        yield
    finally:
        distributed.destroy_process_group()
