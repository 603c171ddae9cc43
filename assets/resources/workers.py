"""Who does the independent parts of a stage."""

import dagster as dg

from cosmos_ops.workers import LOCAL, Workers


class WorkersResource(dg.ConfigurableResource):
    """Threads of the step's own process; an environment may put others in their place."""

    def open(self) -> Workers:
        """The workers, ready."""
        return LOCAL
