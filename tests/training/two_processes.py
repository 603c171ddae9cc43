"""The training program on the tiny world, for a launcher that starts several processes of it."""

import sys

from cosmos_ops.training.__main__ import main
from tests.training import tiny_world  # noqa: F401  registers the family

if __name__ == "__main__":
    sys.exit(main())
