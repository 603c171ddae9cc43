"""How long work reports itself: a callable of (done, total, note). The caller decides where it is shown."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, note: str) -> None:
    """Report nowhere."""
