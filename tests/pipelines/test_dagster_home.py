"""Where Dagster is told to keep its storage: back and forth between SQLite and PostgreSQL, and a file that somebody else wrote."""

import pytest
import yaml

from cosmos_ops.errors import UserError
from pipelines.dagster_home import left_behind, write_settings
from pipelines.environments import PROJECT, environment, prepare

VARIABLE = "COSMOS_DAGSTER_POSTGRES"
ADDRESS = "postgresql://cosmos:s3cret-w0rd@db.example:5432/dagster"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An environment of its own whose changes to the process's variables end with the test."""
    for name in (
        "COSMOS_HOME",
        "COSMOS_LAKE",
        "DAGSTER_HOME",
        "COSMOS_PROFILE",
        "MLFLOW_TRACKING_URI",
        "COSMOS_MLFLOW_URL",
        "MLFLOW_BACKEND_STORE_URI",
        VARIABLE,
    ):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("COSMOS_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "dagster" / "dagster.yaml"


def prepared(monkeypatch, address: str | None) -> None:
    monkeypatch.setenv(VARIABLE, address or "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    prepare(environment())


def test_storage_goes_back_and_forth(home, monkeypatch):
    project = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    prepared(monkeypatch, None)
    assert home.is_symlink() and home.resolve() == PROJECT / "dagster.yaml"
    prepared(monkeypatch, ADDRESS)
    assert not home.is_symlink()
    assert yaml.safe_load(home.read_text()) == project | {"storage": {"postgres": {"postgres_url": {"env": VARIABLE}}}}
    assert yaml.safe_load((PROJECT / "dagster.yaml").read_text()) == project, "the project's own file is what the link leads to"
    first = home.stat().st_mtime_ns
    prepared(monkeypatch, ADDRESS)
    assert home.stat().st_mtime_ns == first
    prepared(monkeypatch, None)
    assert home.is_symlink() and home.resolve() == PROJECT / "dagster.yaml"
    assert [path.name for path in home.parent.iterdir()] == ["dagster.yaml"]


def test_no_secret_reaches_the_file_or_the_environments_picture(home, monkeypatch):
    prepared(monkeypatch, ADDRESS)
    assert "s3cret" not in home.read_text() and "s3cret" not in repr(environment())


def test_a_file_of_an_older_version_is_written_again(tmp_path):
    project, home = tmp_path / "project.yaml", tmp_path / "home"
    home.mkdir()
    project.write_text("telemetry: {enabled: true}\n")
    write_settings(home, project, VARIABLE)
    project.write_text("telemetry: {enabled: false}\n")
    write_settings(home, project, VARIABLE)
    assert yaml.safe_load((home / "dagster.yaml").read_text())["telemetry"] == {"enabled": False}


def test_a_file_of_ones_own_stays_and_is_told_where_it_says_otherwise(home, monkeypatch):
    home.parent.mkdir(parents=True)
    own = "storage:\n  sqlite:\n    base_dir: /somewhere\n"
    home.write_text(own)
    prepared(monkeypatch, None)
    assert home.read_text() == own
    with pytest.raises(UserError, match=r"COSMOS_DAGSTER_POSTGRES is set and .*dagster\.yaml is a file of your own with other storage; put `storage: "):
        prepared(monkeypatch, ADDRESS)
    assert home.read_text() == own
    own = f"storage: {{postgres: {{postgres_url: {{env: {VARIABLE}}}}}}}\ntelemetry: {{enabled: true}}\n"
    home.write_text(own)
    prepared(monkeypatch, ADDRESS)
    assert home.read_text() == own
    home.write_text("storage: [")
    with pytest.raises(UserError, match="not readable as YAML"):
        prepared(monkeypatch, ADDRESS)


def test_history_in_sqlite_is_told_once_storage_has_moved(tmp_path):
    assert not left_behind(tmp_path, postgres=True)
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "runs.db").touch()
    assert left_behind(tmp_path, postgres=True) and not left_behind(tmp_path, postgres=False)


@pytest.mark.parametrize(
    ("dagster", "mlflow", "line"),
    [
        ("sqlite:////tmp/x.db", "", "COSMOS_DAGSTER_POSTGRES is not an address of a PostgreSQL database"),
        (ADDRESS, ADDRESS, "name one database, postgresql://cosmos@db.example:5432/dagster; give Dagster and MLflow a database each"),
        (ADDRESS, "postgresql+psycopg2://other:pw@db.example/dagster?sslmode=require", "name one database"),
    ],
)
def test_addresses_that_cannot_be_meant(home, monkeypatch, dagster, mlflow, line):
    monkeypatch.setenv(VARIABLE, dagster)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow)
    with pytest.raises(UserError) as told:
        environment()
    assert line in str(told.value) and "s3cret" not in str(told.value)


def test_a_password_in_the_tracking_uri_stays_out_of_what_dagster_stores(home, monkeypatch):
    from pipelines.environments import resources

    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    stored = str(resources(environment())["tracking"].get_resource_definition().config_schema.default_value)
    assert "s3cret" not in stored and "MLFLOW_TRACKING_URI" in stored
