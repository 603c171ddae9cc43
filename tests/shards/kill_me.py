"""Write shards and stop for ever at a given place, so that a test can kill this process there: `kill_me.py HOME PLACE`.

`clip`: between two clips of the second shard. `tar`: the second tar is written but not in its place. `index`: every tar is whole, the index is not.
"""

import sys
from pathlib import Path

from cosmos_ops.lake import Lake
from cosmos_ops.shards import write
from cosmos_ops.workers import LocalWorkers
from tests.shards.lakes import small_profile


def stop() -> None:
    print("here", flush=True)
    sys.stdin.read()


def stopping(function, when):
    def wrapped(*arguments, **named):
        result = function(*arguments, **named)
        if when(*arguments):
            stop()
        return result

    return wrapped


def main(home: str, place: str) -> None:
    if place == "tar":
        write.file_sha256 = stopping(write.file_sha256, lambda path: "shard-00001" in path.name)
    if place == "index":
        write.write_table = stopping(write.write_table, lambda *_: True)
    progress = (lambda done, total, note: stop() if done > 12 else None) if place == "clip" else (lambda done, total, note: None)
    write.write_shards(Lake(Path(home)), "toy", small_profile(), progress, workers=LocalWorkers(2))


if __name__ == "__main__":
    main(*sys.argv[1:])
