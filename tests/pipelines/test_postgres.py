"""Dagster's storage in a real PostgreSQL: runs and events lie there, several processes open it at once, and it may die in the middle of the work."""

import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, replace

import pytest

from cosmos_ops.errors import UserError
from pipelines.environments import environment
from pipelines.instance import open_instance
from tests.faults.conftest import recovered  # noqa: F401  a fixture
from tests.fixtures.postgres_server import PASSWORD, PostgresServer, postgres_server
from tests.pipelines.conftest import ROOT, Home

_DEADLINE_S = 300.0


@dataclass(frozen=True)
class StoredHome(Home):
    """A home whose Dagster keeps its storage in PostgreSQL."""

    database: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"COSMOS_DAGSTER_POSTGRES": self.database}


@pytest.fixture
def stored(home, postgres) -> StoredHome:
    name = f"dagster-{uuid.uuid4().hex[:8]}"
    postgres.create(name)
    return StoredHome(home.path, home.profile, postgres.url(name))


def database_of(home: StoredHome) -> str:
    return home.database.rpartition("/")[2]


def succeeded(server: PostgresServer, database: str) -> list[str]:
    """Steps that the event log holds as done, in order."""
    return [step for (step,) in server.query(database, "select step_key from event_logs where dagster_event_type = 'STEP_SUCCESS' order by id")]


@pytest.mark.slow
def test_a_drop_is_ingested_and_its_events_lie_in_postgres(stored, postgres, log):
    told = stored.json("ingest", str(log))
    assert (told["drop"], told["clips"], told["unchanged"]) == ("monday", 12, False)
    database = database_of(stored)
    assert succeeded(postgres, database) == ["landing", "episodes", "quality", "clips", "captions", "shards"]
    assert postgres.query(database, "select status from runs") == [("SUCCESS",)]
    assert postgres.query(database, "select partition from dynamic_partitions") == [("monday",)]
    assert not list((stored.path / "dagster").rglob("*.db")), "nothing is kept in SQLite"
    assert stored.json("ingest", str(log))["unchanged"]
    found = {finding["name"]: finding for finding in stored.json("doctor")["findings"]}
    assert found["dagster"]["ok"] and f"PostgreSQL at cosmos@127.0.0.1:{postgres.port}/{database}, 1 runs, 1 drops" in found["dagster"]["detail"]


@pytest.mark.slow
def test_a_new_database_is_opened_by_several_processes_at_once(stored, postgres, tmp_path):
    """Of different homes, as on different machines: no lock on a disk is between them."""
    opens = "from pipelines.environments import environment, prepare; from pipelines.instance import open_instance; env = environment(); prepare(env); "
    opens += "print(open_instance(env).get_runs_count())"
    homes = [replace(stored, path=tmp_path / f"machine-{number}") for number in range(3)]
    started = [
        subprocess.Popen([sys.executable, "-c", opens], env=home.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for home in homes
    ]
    told = [process.communicate(timeout=300) for process in started]
    assert [out for out, _ in told] == ["0\n"] * 3, told
    assert len(postgres.query(database_of(stored), "select version_num from alembic_version")) == 1


def test_two_instances_read_what_either_writes(stored, monkeypatch):
    import dagster as dg

    for name, value in (stored.environment | {"MLFLOW_TRACKING_URI": "", "DAGSTER_HOME": ""}).items():
        if name.startswith(("COSMOS_", "MLFLOW_", "DAGSTER_")):
            monkeypatch.setenv(name, value)
    prepare_in(monkeypatch)
    first, second = open_instance(environment()), open_instance(environment())
    first.add_dynamic_partitions("drops", ["tuesday"])
    run = second.create_run_for_job(dg.job(name="nothing")(lambda: None))
    assert second.get_dynamic_partitions("drops") == ["tuesday"] and first.get_run_by_id(run.run_id) is not None
    for instance in (first, second):
        instance.dispose()


def prepare_in(monkeypatch) -> None:
    """`prepare`, with the variables it sets put back after the test."""
    from pipelines.environments import prepare

    for name in ("COSMOS_LAKE", "COSMOS_MLFLOW_URL", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    prepare(environment())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda server: server.url("postgres", "not-it"), "refuses the login (wrong user or password); correct COSMOS_DAGSTER_POSTGRES"),
        (lambda server: server.url("not-there"), "answers and has no such database or user"),
        (lambda server: server.url("postgres").replace(str(server.port), "1"), "does not answer"),
        (
            lambda server: f"postgresql://cosmos:{PASSWORD}@127.0.0.1:{server.port}/postgres",
            "is not an address of a PostgreSQL database; write postgresql://USER",
        ),
        (lambda server: server.url("postgres").rpartition("/")[0], "is not an address"),
        (lambda server: server.url("postgres").replace("127.0.0.1", "no-such-host.invalid"), "does not answer"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_the_password(stored, postgres, monkeypatch, change, line):
    for name, value in (stored.environment | {"COSMOS_DAGSTER_POSTGRES": change(postgres), "MLFLOW_TRACKING_URI": "", "DAGSTER_HOME": ""}).items():
        if name.startswith(("COSMOS_", "MLFLOW_", "DAGSTER_")):
            monkeypatch.setenv(name, value)
    prepare_in(monkeypatch)
    began = time.monotonic()
    with pytest.raises(UserError) as told:
        open_instance(environment())
    said = str(told.value)
    assert line in said and "\n" not in said and "COSMOS_DAGSTER_POSTGRES" in said and time.monotonic() - began < 30
    for secret in ("not-it", PASSWORD, PASSWORD.split("@")[1], "p%40ss"):
        assert secret not in said


@pytest.mark.slow
def test_a_command_without_its_database_is_one_line(stored, log):
    broken = replace(stored, database=stored.database.replace("cosmos:", "nobody:"))
    told = broken.run("ingest", str(log), code=2).stderr
    assert "Traceback" not in told and "ss%2Fw" not in told
    assert "refuses the login" in told.strip().splitlines()[-1]


@pytest.fixture
def mortal(home):
    """A PostgreSQL that may be killed, and a home on it."""
    with postgres_server() as server:
        server.create("dagster")
        yield server, StoredHome(home.path, home.profile, server.url("dagster"))


def wait_for_step(server: PostgresServer, command: subprocess.Popen, step: str) -> None:
    """Until the event log holds the start of a step."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        assert time.monotonic() < deadline and command.poll() is None, "the step did not start"
        if server.query("dagster", "select to_regclass('event_logs')") == [(None,)]:
            continue
        if server.query("dagster", "select 1 from event_logs where dagster_event_type = 'STEP_START' and step_key = %s", step):
            return


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_in_the_middle_of_a_run_and_started_at_once(mortal, log, recovered):  # noqa: F811
    """Whatever becomes of the command that was running, the same command completes and nothing is lost."""
    server, home = mortal
    command = home.start("ingest", str(log), "--json")
    wait_for_step(server, command, "episodes")
    before = succeeded(server, "dagster")
    server.kill()
    began = time.monotonic()
    back_s = server.start()
    _, err = command.communicate(timeout=_DEADLINE_S)
    assert command.returncode in (0, 1), err[-3000:]
    ended_s = time.monotonic() - began
    told = home.json("ingest", str(log))
    recovered_s = time.monotonic() - began
    recovered("Postgres killed and started at once, to its answer", back_s)
    recovered(f"the same, to the end of the command that was running (exit code {command.returncode})", ended_s)
    recovered("the same, to the end of the same command once more", recovered_s)
    assert told["clips"] == 12 and set(before) <= set(succeeded(server, "dagster"))
    assert [status for (status,) in server.query("dagster", "select status from runs order by id desc limit 1")] == ["SUCCESS"]
    assert home.json("verify")["ok"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_for_longer_than_anybody_waits(mortal, log, recovered):  # noqa: F811
    """The command ends with one line; with the database back the same command goes on, and the run that died is not left as running."""
    server, home = mortal
    command = home.start("ingest", str(log))
    wait_for_step(server, command, "episodes")
    server.kill()
    began = time.monotonic()
    _, err = command.communicate(timeout=_DEADLINE_S)
    ended_s = time.monotonic() - began
    last = err.strip().splitlines()[-1]
    assert command.returncode == 1 and "ss%2Fw" not in err, err[-3000:]
    assert last.startswith("cosmos-ops: Dagster's database, PostgreSQL at cosmos@127.0.0.1") and last.endswith("it goes on where it stopped"), err[-3000:]
    began = time.monotonic()
    server.start()
    told = home.json("ingest", str(log))
    recovered("Postgres gone, to the command's one line", ended_s)
    recovered("Postgres back, to the end of the same command", time.monotonic() - began)
    assert told["clips"] == 12 and not told["unchanged"]
    assert sorted(status for (status,) in server.query("dagster", "select status from runs")) == ["FAILURE", "SUCCESS"]
    assert home.json("verify")["ok"]
