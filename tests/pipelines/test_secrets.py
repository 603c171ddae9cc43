"""Secrets are planted in every variable that may hold one; then a drop is ingested, adapters are trained, judged and promoted, a run fails, the servers
run. Nothing that any of it wrote, told or showed in a process list holds one of them."""

import json
import re
import shutil
import subprocess
import threading
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
import yaml

from tests.captions.vision_server import completion, send, serving
from tests.fixtures.postgres_server import USER, PostgresServer, postgres_server
from tests.fixtures.servers import make_dev
from tests.fixtures.webhook_receiver import receiving
from tests.pipelines.conftest import ROOT, Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PLAIN = ("COSMOS_WEBHOOK_SECRET", "TOY_CAPTION_KEY", "TOY_JUDGE_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY",
         "AWS_SESSION_TOKEN", "HF_TOKEN", "RAY_AUTH_TOKEN")  # fmt: skip


@dataclass(frozen=True)
class Planted(Home):
    """A home with a secret in every variable."""

    variables: dict[str, str]
    secrets: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.variables


class Watch:
    """Every command line on the machine while the block runs."""

    def __init__(self, secrets: tuple[str, ...]):
        self.secrets, self.seen = secrets, []
        self._over = threading.Event()

    @contextmanager
    def looking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            for process in psutil.process_iter():
                try:
                    line = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                self.seen += [line for secret in self.secrets if secret in line]


@pytest.fixture
def databases() -> Iterator[PostgresServer | None]:
    """A PostgreSQL of the test's own, None where its programs are missing: SQLite is looked through then."""
    try:
        with postgres_server() as server:
            server.create("dagster", "mlflow")
            yield server
    except pytest.skip.Exception:
        yield None


@pytest.fixture
def planted(home, databases, tmp_path) -> Iterator[Planted]:
    values = {name: f"planted{uuid.uuid4().hex}" for name in PLAIN}
    judge_says = completion(json.dumps({"score": 3, "reason": "it moves"}))
    with receiving() as webhooks, serving() as captions, serving(lambda server, number, asked, handler: send(handler, 200, judge_says)) as judge:
        path = f"planted{uuid.uuid4().hex}"
        values |= {f"COSMOS_{what}_WEBHOOK": f"http://127.0.0.1:{webhooks.server_port}/{path}" for what in ("PROMOTION", "ALERT")}
        secrets = [values[name] for name in PLAIN] + [path]
        if databases is not None:
            password = f"planted{uuid.uuid4().hex}"
            databases.query("postgres", f"alter role {USER} password '{password}'")
            databases.password = password
            values |= {"COSMOS_DAGSTER_POSTGRES": databases.url("dagster", password), "MLFLOW_TRACKING_URI": databases.url("mlflow", password)}
            secrets.append(password)
        settings = yaml.safe_load(home.profile.read_text())
        endpoint = {"model": "toy", "frames": 1, "image_px": 32, "backoff_s": 0.01}
        settings["captions"] = {"captioner": "vlm", "vlm": endpoint | {"base_url": captions.base_url, "key_variable": "TOY_CAPTION_KEY"}}
        settings["evaluation"]["judge"] = endpoint | {"base_url": judge.base_url, "key_variable": "TOY_JUDGE_KEY", "seeds": [0]}
        settings["recipes"] = ["lora-r8"]
        profile = tmp_path / "planted.yaml"
        profile.write_text(yaml.safe_dump(settings))
        yield Planted(home.path, profile, values, tuple(secrets))
        # Not a search for what was never used: each endpoint got its key, and the webhook its signature.
        assert {asked.authorization for asked in captions.asked} == {f"Bearer {values['TOY_CAPTION_KEY']}"}
        assert any("X-Cosmos-Signature" in headers for headers, _ in webhooks.got)


def found(content: bytes, secrets: tuple[str, ...]) -> list[str]:
    return [secret for secret in secrets for spelling in {secret, quote(secret, safe="")} if spelling.encode() in content]


def unpacked(path: Path) -> bytes:
    """A file's bytes; of a table its values, which may be packed."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    import pyarrow.parquet as pq

    return path.read_bytes() + str(pq.read_table(path).to_pylist()).encode() + str(pq.read_schema(path).metadata).encode()


def rows(home: Planted, server: PostgresServer | None) -> bytes:
    """Everything in both databases; what Dagster packs of a job's definition is unpacked."""
    text = b""
    if server is None:
        import sqlite3

        for path in home.path.rglob("*.db"):
            with sqlite3.connect(path) as stored:
                text += "\n".join(stored.iterdump()).encode()
                if stored.execute("select 1 from sqlite_master where name = 'snapshots'").fetchone():
                    text += b"".join(zlib.decompress(body) for (body,) in stored.execute("select snapshot_body from snapshots"))
        return text
    for database in ("dagster", "mlflow"):
        for (table,) in server.query(database, "select table_name from information_schema.tables where table_schema = 'public'"):
            text += str(server.query(database, f'select t::text from "{table}" t')).encode()
    bodies = server.query("dagster", "select snapshot_body from snapshots")
    assert len(bodies) > 2
    return text + b"".join(zlib.decompress(bytes(body)) for (body,) in bodies)


def test_no_secret_is_written_told_or_listed(planted, databases, log, built_models):
    shutil.copytree(built_models, planted.lake / "models")
    watch, told = Watch(planted.secrets), ""
    with watch.looking():
        for arguments in (
            ("ingest", str(log)),
            ("run",),
            ("promote", "1", "--force", "--reason", "to see the webhook"),
            ("lineage", "champion"),
            ("leaderboard",),
            ("doctor",),
        ):
            done = planted.run(*arguments, "--json")
            told += done.stdout + done.stderr
        # A run that fails tells more than one that does not.
        broken = Planted(
            planted.path, planted.profile, planted.variables | {"MLFLOW_TRACKING_URI": "postgresql://x:" + planted.secrets[0] + "@127.0.0.1:9/x"}, ()
        )
        told += broken.run("history", code=2).stderr
        with make_dev(planted.environment) as (process, _):
            check_addresses(process)
    assert not found(told.encode(), planted.secrets) and not watch.seen
    leaks = {str(path): found(unpacked(path), planted.secrets) for path in planted.path.rglob("*") if path.is_file()}
    assert len(leaks) > 50 and not {path: secrets for path, secrets in leaks.items() if secrets}
    everything = rows(planted, databases)
    assert len(everything) > 100_000 and b"COSMOS_WEBHOOK_SECRET" in everything, "the variable's name is what Dagster keeps"
    assert not found(everything, planted.secrets)


def check_addresses(process: subprocess.Popen) -> None:
    """No process of these listens on an address that other machines reach."""
    listening = []
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        try:
            listening += [connection.laddr for connection in one.net_connections(kind="inet") if connection.status == psutil.CONN_LISTEN]
        except psutil.NoSuchProcess:
            continue
    assert len({address.port for address in listening}) >= 2
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}


def test_this_list_knows_every_variable_of_the_project():
    """Each variable that the project reads and that sounds like a secret is planted above."""
    text = "".join(path.read_text() for path in [*(ROOT / "pipelines").rglob("*.py"), ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:SECRET|PASSWORD|TOKEN|WEBHOOK|KEY|SECRET_ACCESS_KEY)\b", text))
    assert {"COSMOS_WEBHOOK_SECRET", "COSMOS_ALERT_WEBHOOK", "MLFLOW_TRACKING_PASSWORD"} <= named
    examples = {"JUDGE_KEY", "OPENAI_API_KEY", "VLM_API_KEY", "CAPTION_KEY", "VLM_KEY"}
    assert named - examples <= {*PLAIN, "COSMOS_PROMOTION_WEBHOOK", "COSMOS_ALERT_WEBHOOK", "MLFLOW_FLASK_SERVER_SECRET_KEY"}, named
