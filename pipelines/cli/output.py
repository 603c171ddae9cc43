"""Where words go: results to stdout, progress and logs to stderr, one JSON object last when asked."""

import json
import sys
from typing import Any


class Output:
    """Printer of one command."""

    def __init__(self, json: bool):
        self.json = json
        self.code = 0
        """Exit code of a command that ends well; one whose answer is no sets it."""
        self.known: dict[str, Any] = {}
        """What a failed command's JSON object holds beside the error."""

    def say(self, text: str = "") -> None:
        """A result for people; on stderr when stdout is for a program."""
        print(text, file=sys.stderr if self.json else sys.stdout, flush=True)

    def note(self, text: str) -> None:
        """Progress."""
        print(text, file=sys.stderr, flush=True)

    def progress(self, done: int, total: int, text: str) -> None:
        """A `Progress` callback."""
        if done == total or sys.stderr.isatty():
            self.note(f"  {done}/{total} {text}")

    def finish(self, value: dict[str, Any]) -> None:
        """The command's JSON object."""
        if self.json:
            print(json.dumps(value, default=str, allow_nan=False), flush=True)

    def fail(self, line: str) -> None:
        """One clear line."""
        line = " ".join(line.split())
        print(f"cosmos-ops: {line}", file=sys.stderr, flush=True)
        if self.json:
            print(json.dumps({"error": line, **self.known}, default=str, allow_nan=False), flush=True)

    def table(self, head: list[str], rows: list[list[Any]]) -> None:
        """An aligned table."""
        cells = [head, *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
        for number, row in enumerate(cells):
            self.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
            if number == 0:
                self.say("  ".join("-" * width for width in widths))
