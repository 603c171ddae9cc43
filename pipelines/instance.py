"""The Dagster instance of an environment, its databases made by one process at a time, and what is said when they go away."""

import contextlib
from collections.abc import Iterator

import dagster as dg

from cosmos_ops.errors import WorkFailed
from cosmos_ops.lake import locked
from cosmos_ops.postgres import hide_password, opening, place
from pipelines.environments import DAGSTER_POSTGRES, Environment, environment


def open_instance(env: Environment) -> dg.DagsterInstance:
    """The instance in `DAGSTER_HOME`; call `prepare` before. Raises `UserError` where its PostgreSQL does not answer or refuses the login.

    Two processes that make the databases of a new home at the same moment leave each two versions of its schema, and Dagster never opens them again.
    """
    with locked(env.dagster_home), opening(env.dagster_postgres, DAGSTER_POSTGRES) if env.dagster_postgres else contextlib.nullcontext():
        instance = dg.DagsterInstance.get()
        instance.get_runs_count()
        instance.all_instigator_state()
        instance.get_dynamic_partitions("drops")
    return instance


@contextlib.contextmanager
def lost_database() -> Iterator[None]:
    """Turn what Dagster raises when its PostgreSQL goes away during the block into `WorkFailed` with one line."""
    try:
        yield
    except Exception as error:
        cause, address = database_failure(error), environment().dagster_postgres
        if cause is None or address is None:
            raise
        line = hide_password(" ".join(str(cause).split()), address)[:160]
        what = f"Dagster's database, PostgreSQL at {place(address)}, went away during the work ({line})"
        raise WorkFailed(f"{what}; once it answers, run the same command again: it goes on where it stopped") from None


def database_failure(error: Exception) -> Exception | None:
    """What SQLAlchemy raised, which Dagster after some tries wraps into an exception of its own; None where it is something else."""
    from sqlalchemy.exc import SQLAlchemyError

    return next((found for found in (error, error.__cause__) if isinstance(found, SQLAlchemyError)), None)
