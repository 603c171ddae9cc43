"""What tests have done in processes of their own: `on_a_machine.py build|heads ROOT URL [NAME COUNT]`."""

import sys
from pathlib import Path

from cosmos_ops.heads import Heads
from cosmos_ops.lake import Lake, Output, build_folder

LARGE = bytes(range(256)) * 8192  # 2 MiB


def made(folder: Path) -> Output:
    """A folder with a large file and a small one further in."""
    (folder / "large.bin").write_bytes(LARGE)
    (folder / "inner").mkdir()
    (folder / "inner/small.txt").write_text("small")
    return Output("v1", 2, {"fact": 1})


def build(lake: Lake, write=made, key: str = "k"):
    return build_folder(lake.scores("s1"), "scores", key, write)


def set_heads(lake: Lake, name: str, count: int) -> None:
    for number in range(count):
        Heads(lake, "nano").update({f"{name}/{number}": "x"})


if __name__ == "__main__":
    lake = Lake(sys.argv[2], sys.argv[3])
    build(lake) if sys.argv[1] == "build" else set_heads(lake, sys.argv[4], int(sys.argv[5]))
