"""The registry in a real PostgreSQL: straight, and through an `mlflow server` whose backend store it is; and what is said when it is not there."""

import multiprocessing
import uuid
from dataclasses import replace

import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.registry.connection import connect
from cosmos_ops.registry.promote import champion, promote, rollback
from cosmos_ops.registry.tracking import Tracking
from tests.fixtures.postgres_server import PASSWORD, postgres_server
from tests.registry.conftest import FIRST, SECOND
from tests.registry.test_promote import MODEL, held, run
from tests.registry.test_server import server


@pytest.fixture
def database(postgres) -> str:
    name = f"mlflow-{uuid.uuid4().hex[:8]}"
    postgres.create(name)
    return postgres.url(name)


@pytest.mark.slow
def test_the_alias_moves_in_postgres_alone_and_behind_a_server(house, database, postgres, tmp_path):
    alone = replace(house, tracking=Tracking(database, tmp_path / "artifacts"))
    run(alone, {"lora-r8": 0.3}, alone.dataset(FIRST))
    assert held(alone)["champion"] == 1
    place = database.rpartition("/")[2]
    assert postgres.query(place, "select alias, version from registered_model_aliases where name = %s and alias = 'champion'", MODEL) == [("champion", 1)]
    run(alone, {"dora-r8": 0.5}, alone.dataset(FIRST, SECOND))
    assert rollback(alone.lake, alone.tracking, alone.profile)["version"] == 1
    # The server is told its store as `make dev` tells it: not on a command line that everybody can read.
    with server("", tmp_path, MLFLOW_BACKEND_STORE_URI=database.replace("postgresql", "postgresql+psycopg2")) as address:
        served = replace(house, tracking=Tracking(address, tmp_path / "unused"))
        assert champion(served.tracking, served.profile, served.lake)["version"] == 1
        assert promote(served.lake, served.tracking, served.profile, "2")["version"] == 2
    assert held(alone)["champion"] == 2
    said = (tmp_path / "server.log").read_text()
    assert PASSWORD not in said and "p%40ss" not in said


def _open(address: str) -> int:
    return len(connect(address).search_experiments())


@pytest.mark.slow
def test_a_new_database_is_opened_by_several_processes_at_once(database, postgres):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(_open, [database] * 3, chunksize=1) == [1, 1, 1]
    assert len(postgres.query(database.rpartition("/")[2], "select version_num from alembic_version")) == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda server: server.url("postgres", "not-it"), "refuses the login (wrong user or password); correct MLFLOW_TRACKING_URI"),
        (lambda server: server.url("not-there"), "answers and has no such database or user"),
        (lambda server: server.url("postgres").replace(str(server.port), "1"), "does not answer"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_the_password(postgres, change, line):
    with pytest.raises(UserError) as told:
        connect(change(postgres))
    assert line in str(told.value) and not any(secret in str(told.value) for secret in ("not-it", "p%40ss", "ss/w"))


@pytest.mark.slow
def test_a_database_that_dies_in_between_is_one_line_and_answers_again(house, tmp_path):
    with postgres_server() as mortal:
        mortal.create("mlflow")
        there = replace(house, tracking=Tracking(mortal.url("mlflow"), tmp_path / "artifacts"))
        run(there, {"lora-r8": 0.3}, there.dataset(FIRST))
        mortal.kill()
        with pytest.raises(WorkFailed) as told:
            promote(there.lake, there.tracking, there.profile, "1")
        assert str(told.value).startswith("MLflow") and "p%40ss" not in str(told.value) and "\n" not in str(told.value)
        mortal.start()
        assert held(there)["champion"] == 1
