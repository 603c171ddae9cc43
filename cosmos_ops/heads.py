"""Which version of each model-half product is current for a profile: how one step of a run tells the next, and what `train` hands to `evaluate`.

Kept in the lake, not in Dagster's storage, so that losing the latter loses nothing.
"""

import json
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.store.notes import read_pointer, update_pointer


class Heads:
    """Named pointers of one profile, e.g. `dataset` or `scores/lora-r8`, each a folder key or null."""

    def __init__(self, lake: Lake, profile_name: str):
        self.path = lake.root / "heads" / f"{profile_name}.json"

    def read(self) -> dict[str, Any]:
        """All pointers; empty where nothing was made yet."""
        text = read_pointer(self.path)
        return json.loads(text) if text is not None else {}

    def get(self, name: str) -> Any:
        """One pointer, or None."""
        return self.read().get(name)

    def require(self, name: str, remedy: str) -> Any:
        """One pointer; a `UserError` with the remedy where it is not set."""
        value = self.get(name)
        if value is None:
            raise UserError(f"there is no {name} yet; {remedy}")
        return value

    def set(self, **pointers: Any) -> None:
        """Set pointers (`__` in a keyword stands for `/`); None removes one."""
        self.update({name.replace("__", "/"): value for name, value in pointers.items()})

    def update(self, pointers: dict[str, Any]) -> None:
        """Set pointers by full name; None removes one. Writes nothing when nothing changes."""

        def merged(stored: dict | None) -> dict | None:
            found = {name: value for name, value in ((stored or {}) | pointers).items() if value is not None}
            return found if found or stored is not None else None

        update_pointer(self.path, merged)
