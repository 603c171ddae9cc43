"""Our step without one of its optimisations, for the lines that say what each brought."""

import contextlib
from collections.abc import Iterator

from torch import nn

from cosmos_ops.training import dora


@contextlib.contextmanager
def pefts_dora() -> Iterator[None]:
    """Adapters that are attached inside the block keep PEFT's own DoRA modules."""
    ours, dora.speed_up = dora.speed_up, lambda model, adapter_name: None
    try:
        yield
    finally:
        dora.speed_up = ours


def modulate_by_token(transformer: nn.Module) -> nn.Module:
    """Give a Cosmos transformer its stock way to compute back, in place."""
    for module in transformer.modules():
        module.__dict__.pop("forward", None)
    return transformer
