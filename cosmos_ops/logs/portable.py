"""A log that can be sent to another process: only its place travels, and it is opened again where it arrives."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from cosmos_ops.logs.base import open_log


class PortableLog:
    """The `LogReader` of what lies at `root`, which the receiver must see at the same place. Raises what `open_log` raises."""

    def __init__(self, root: Path | str):
        self.root = str(root)
        self.reader = open_log(root)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reader, name)

    def __reduce__(self) -> tuple:
        return _arrive, (self.root,)


@lru_cache(maxsize=1)
def _arrive(root: str) -> PortableLog:
    """Opened once a process: a drop does not change, and its parts come one after another."""
    return PortableLog(root)
