"""Builds and inspects each case of `hostile_factory` in a process of its own, and prints what became of it as a line of JSON; to be run as a program."""

import json
import os
import signal
import sys
import time
from pathlib import Path

# Before the first case: what libraries take is no case's.
import cv2  # noqa: F401
import h5py  # noqa: F401
import mcap.reader  # noqa: F401
import rosbags.typesys  # noqa: F401

from cosmos_ops.errors import UserError
from cosmos_ops.logs.inspect import inspect_log
from tests.fixtures.hostile_factory import CASES
from tests.shards.lakes import small_profile

LIMIT_S = 120


def main(home: Path) -> None:
    for case in CASES:
        root = home / case.__name__
        root.mkdir()
        apart(lambda case=case, root=root: case(root))
        before = time.monotonic()
        told = apart(lambda root=root: outcome(root)) or json.dumps({"outcome": "killed"})
        print(json.dumps({"case": case.__name__, "seconds": time.monotonic() - before, **json.loads(told)}), flush=True)


def outcome(root: Path) -> str:
    try:
        found = inspect_log(root, small_profile())
        reasons = [problem["message"] for episode in found["episodes"] for problem in episode["problems"]]
    except UserError as error:
        reasons = [str(error)]
    except Exception as error:
        reasons = []
        return json.dumps({"outcome": f"{type(error).__name__}: {error}"})
    status = Path("/proc/self/status").read_text()
    most = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return json.dumps({"outcome": "told" if reasons else "nothing said", "reasons": reasons, "most_bytes": int(most) * 1024})


def apart(work) -> str:
    """What `work` returns in a process that is ended after a while; empty where it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        try:
            os.write(writing, str(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return answer.decode()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
