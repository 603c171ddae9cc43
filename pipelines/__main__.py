"""`python -m pipelines` is `cosmos-ops`."""

import sys

from pipelines.cli import main

sys.exit(main())
