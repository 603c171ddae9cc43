"""Build one folder of a lake in a process of its own, so that a test can kill it: `build_one.py ROOT URL`."""

import sys

from cosmos_ops.lake import Lake


def main(root: str, url: str) -> None:
    from tests.store.test_folders import build

    build(Lake(root, url))


if __name__ == "__main__":
    main(*sys.argv[1:])
