"""The Dagster instance of an environment, its databases made by one process at a time."""

import dagster as dg

from cosmos_ops.lake import locked
from pipelines.environments import Environment


def open_instance(env: Environment) -> dg.DagsterInstance:
    """The instance in `DAGSTER_HOME`; call `prepare` before.

    Two processes that make the databases of a new home at the same moment leave each two versions of its schema, and Dagster never opens them again.
    """
    with locked(env.dagster_home):
        instance = dg.DagsterInstance.get()
        instance.get_runs_count()
        instance.all_instigator_state()
        instance.get_dynamic_partitions("drops")
    return instance
