"""The optimizer, and how its learning rate moves. Both count optimizer updates, never batches or processes."""

from collections.abc import Iterable

import torch

from cosmos_ops.recipes import Recipe


def multiplier(recipe: Recipe, update: int) -> float:
    """Factor on the learning rate for update number `update`, counted from 0.

    Linear from f_max / warmup_steps up to `f_max` at the end of the warm-up, then linear down to `f_min` at `decay_steps`
    (which counts from the first update), then constant.
    """
    if update < recipe.warmup_steps:
        return recipe.f_max * (update + 1) / recipe.warmup_steps
    left = max(0.0, (recipe.decay_steps - update) / (recipe.decay_steps - recipe.warmup_steps))
    return recipe.f_min + (recipe.f_max - recipe.f_min) * left


def learning_rate(recipe: Recipe, update: int) -> float:
    """The learning rate of update number `update`, counted from 0."""
    return recipe.learning_rate * multiplier(recipe, update)


def make_optimizer(recipe: Recipe, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.AdamW:
    """AdamW with the recipe's weight decay; the rate is set before every update by `set_learning_rate`."""
    return torch.optim.AdamW(list(parameters), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use this rate in the next update."""
    for group in optimizer.param_groups:
        group["lr"] = rate
