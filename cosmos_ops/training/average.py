"""The exponential moving average of the adapter's weights: steadier than the weights themselves, and what is validated and kept where a recipe asks."""

import contextlib
from collections.abc import Iterator, Mapping

import torch


class WeightAverage:
    """average <- decay * average + (1 - decay) * weights after every update.

    Early on the decay is (1 + n) / (10 + n) where that is less, or the start would weigh for thousands of updates.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], decay: float):
        self._parameters = parameters
        self._decay = decay
        self.tensors = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        """By parameter name."""

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update number `step`, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self.tensors[name].lerp_(parameter, 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the average inside the block and its own weights again after it."""
        own = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._put(self.tensors)
        try:
            yield
        finally:
            self._put(own)

    def keep(self) -> None:
        """Leave the average in the model."""
        self._put(self.tensors)

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(tensors[name])
