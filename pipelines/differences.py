"""What an environment changes of `local`."""

from dataclasses import dataclass, field
from typing import Any

import dagster as dg


@dataclass(frozen=True)
class Differences:
    """Nothing in it: the environment is `local`."""

    resources: dict[str, Any] = field(default_factory=dict)
    """Instances that stand in for those of `local` of the same names."""
    executor: dg.ExecutorDefinition | None = None
    """Where steps run; None: in processes on the machine of their run."""
