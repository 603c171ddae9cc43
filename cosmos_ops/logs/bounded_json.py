"""JSON as input from outside: two bytes of it can become an object of a hundred."""

import json
from collections.abc import Callable
from typing import Any

MOST_VALUES = 1_000_000


def parse_json(text: str | bytes, most_values: int = MOST_VALUES, object_hook: Callable[[dict], Any] | None = None) -> Any:
    """What `text` says. Raises `ValueError` in one line for what is no JSON, is nested too deep, or holds too much."""
    marks = ("[", "{", ",") if isinstance(text, str) else (b"[", b"{", b",")
    if sum(map(text.count, marks)) > most_values:
        raise ValueError(f"it holds more than {most_values} values")
    try:
        return json.loads(text, object_hook=object_hook)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
