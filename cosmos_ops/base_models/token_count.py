"""How long a caption is for a base model's text encoder: counted with its own tokenizer, no model loaded and no torch imported."""

from collections.abc import Callable
from dataclasses import dataclass

from cosmos_ops.profiles import BaseModelSpec


@dataclass(frozen=True)
class TokenCounter:
    """Counts a caption's tokens."""

    name: str
    """Which tokenizer: changes with its content."""
    room: int
    """Longest caption, in tokens, that the encoder does not cut."""
    count: Callable[[str], int]


def token_counter(spec: BaseModelSpec) -> TokenCounter | None:
    """The counter of a profile's base model, None for a family that brings none. Raises `UserError` where the tokenizer is not to be had."""
    if spec.family != "cosmos-predict2.5":
        return None
    from cosmos_ops.base_models.cosmos_prompt import cosmos_counter

    return cosmos_counter(spec)
