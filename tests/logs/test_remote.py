"""Logs at a URL: a real web server on loopback that also misbehaves, and fsspec's file, memory and zip."""

import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake
from cosmos_ops.logs.drops import check_unchanged, load_drop, register_drop
from cosmos_ops.logs.fingerprint import fingerprint, scan
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.logs.mapping import NAME
from cosmos_ops.logs.remote import bring, local_copy, register_remote
from cosmos_ops.logs.remote_files import is_remote, list_remote
from tests.fixtures.hdf5_factory import write_aloha
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import small_profile

ROOT = Path(__file__).parents[2]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with or without parts of files; `cuts` are how many bytes each of the next answers for a video may have.

    A cut answer that is not a part ends when what was sent has `arrived`.
    """

    protocol_version = "HTTP/1.1"
    ranges, cuts, asked, arrived = True, [], [], threading.Event()

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Range")))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            super().do_GET()
            return
        content, status, start = path.read_bytes(), 200, 0
        if self.ranges and "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            start, status = int(first), 206
            content = content[start : int(last) + 1] if last else content[start:]
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(content) - 1}/{path.stat().st_size}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = self.cuts.pop(0) if self.cuts and path.suffix == ".mp4" else len(content)
        self.arrived.clear()
        self.wfile.write(content[:cut])
        if cut < len(content):
            if status == 200:
                self.arrived.wait(timeout=30)
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """(URL, handler class) of a server for `tmp_path / "served"`."""
    handler = type("Handler", (Handler,), {"cuts": [], "asked": [], "arrived": threading.Event()})
    (tmp_path / "served").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(tmp_path / "served"))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", handler
        running.shutdown()
        thread.join()


@pytest.fixture
def drop(tmp_path):
    return write_lerobot(tmp_path / "served/my drop", episodes=2, frames=24, height=48, width=64)


def same(one: Path, other: Path) -> bool:
    return fingerprint(scan(one)) == fingerprint(scan(other))


def test_what_is_a_url():
    assert all(map(is_remote, ("s3://bucket/x", "gs://b", "zip://a::s3://b/c.zip", "file:///x", "memory://x")))
    assert not any(map(is_remote, ("/data/x", "x", "./a::b", "a:b", "", Path("s3:/x"), "1://x")))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_folder_on_a_web_server(server, drop, tmp_path, ranges):
    url, handler = server
    handler.ranges = ranges
    (drop / ".hidden").write_text("not part of a drop")
    told = []
    here = bring(list_remote(f"{url}/my%20drop"), tmp_path / "here", lambda *told_now: told.append(told_now))
    assert same(here, drop) and not (here / ".hidden").exists()
    assert told[-1][0] == told[-1][1] == sum(size for size, _, _ in scan(drop).values())
    found = inspect_log(f"{url}/my%20drop/", small_profile())
    assert (found["format"], found["found_episodes"], found["accepted_episodes"]) == ("lerobot", 2, 2)


@pytest.mark.parametrize("ranges", [True, False])
def test_an_answer_that_breaks_off_is_gone_on_with(server, drop, tmp_path, ranges):
    url, handler = server
    handler.ranges = ranges
    handler.cuts[:] = [500, 100] if ranges else [500]
    assert same(bring(list_remote(f"{url}/my%20drop"), tmp_path / "here", lambda *_: handler.arrived.set(), pause_s=0), drop)
    asked = [part for path, part in handler.asked if path.endswith("000000.mp4")]
    assert asked[0] is None and asked[1].startswith("bytes=500-")  # the rest
    assert (None in asked[2:]) is not ranges  # without parts, from the beginning again


def test_a_server_that_never_sends_a_file_whole_is_given_up_and_taken_up_again(server, drop, tmp_path):
    url, handler = server
    handler.cuts[:] = [300] * 50
    with pytest.raises(WorkFailed, match="did not come whole in 4 attempts") as caught:
        bring(list_remote(f"{url}/my%20drop"), tmp_path / "here", lambda *_: handler.arrived.set(), pause_s=0)
    assert "\n" not in str(caught.value) and "try again" in str(caught.value)
    handler.cuts.clear()
    handler.asked.clear()
    assert same(bring(list_remote(f"{url}/my%20drop"), tmp_path / "here", pause_s=0), drop)
    assert not [path for path, _ in handler.asked if path.endswith("info.json")]  # it was there already


def test_a_file_that_changed_meanwhile_is_brought_anew(server, drop, tmp_path):
    url, _ = server
    bring(list_remote(f"{url}/my%20drop"), tmp_path / "here")
    (drop / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "something longer than before, to be sure"}\n')
    (drop / "meta/stats.json").write_text("{}")
    next(drop.rglob("*.parquet")).unlink()
    assert same(bring(list_remote(f"{url}/my%20drop"), tmp_path / "here"), drop)


def test_a_log_is_registered_as_a_copy_and_not_brought_twice(server, drop, tmp_path):
    url, handler = server
    lake = Lake(tmp_path / "lake")
    made, new = register_remote(lake, f"{url}/my%20drop", "monday")
    assert new and made.copied and Path(made.uri).is_relative_to(lake.drop("monday").resolve()) and same(Path(made.uri), drop)
    check_unchanged(lake, made)
    assert not [path for path in lake.staging.rglob("*") if not path.name.endswith(".lock")]
    assert json.loads((lake.drop("monday") / "origin.json").read_text())["url"] == f"{url}/my%20drop"
    handler.asked.clear()
    assert register_remote(lake, f"{url}/my%20drop", "monday") == (made, False)
    assert not [path for path, _ in handler.asked if Path(path).suffix in (".json", ".jsonl", ".mp4", ".parquet")]
    (drop / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "another task"}\n')
    with pytest.raises(UserError, match="registered with other content.*monday-2"):
        register_remote(lake, f"{url}/my%20drop", "monday")


def test_a_drop_whose_source_is_gone_is_replaced_by_what_is_at_the_url(drop, tmp_path):
    lake, elsewhere = Lake(tmp_path / "lake"), tmp_path / "elsewhere"
    shutil.copytree(drop, elsewhere)
    register_drop(lake, elsewhere, "monday")
    shutil.rmtree(elsewhere)
    made, new = register_remote(lake, f"file://{drop}", "monday")
    assert made.copied and not new and same(Path(made.uri), drop)
    check_unchanged(lake, load_drop(lake, "monday"))


def test_one_file_and_its_mapping(server, tmp_path):
    url, _ = server
    path = write_aloha(tmp_path / "served/run.hdf5", 24)
    path.with_name(f"run.hdf5.{NAME}").write_text("robot: aloha\nfps: 10\n")
    made, _ = register_remote(Lake(tmp_path / "lake"), f"{url}/run.hdf5")
    assert (made.name, made.robot, sorted(made.files)) == ("run.hdf5", "aloha", ["run.hdf5", f"run.hdf5.{NAME}"])


@pytest.mark.parametrize("kind", ["file", "memory", "zip"])
def test_other_protocols(tmp_path, drop, kind):
    urls = {"file": f"file://{drop}", "memory": "memory://logs/monday", "zip": f"zip://::file://{tmp_path}/drop.zip"}
    if kind == "memory":
        fsspec.filesystem("memory").put(str(drop), "/logs/monday", recursive=True)
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "drop.zip", "w") as archive:
            for path in drop.rglob("*.*"):
                archive.write(path, path.relative_to(drop))
    with local_copy(urls[kind]) as here:
        assert same(here, drop)
    assert not here.exists()


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "..\\evil.txt", "a\nb.txt"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "drop.zip", "w") as archive:
        archive.writestr("meta/info.json", "{}")
        archive.writestr(name, "gotcha")
    with pytest.raises(UserError, match="leads out of the log|no plain file name") as caught:
        inspect_log(f"zip://::file://{tmp_path}/drop.zip", small_profile())
    assert "\n" not in str(caught.value) and not list(tmp_path.rglob("evil.txt"))


def test_a_listing_that_leads_out_is_refused(server, tmp_path):
    url, _ = server
    (tmp_path / "served/drop").mkdir()
    (tmp_path / "served/secret.txt").write_text("password")
    (tmp_path / "served/drop/index.html").write_text('<a href="?C=N;O=D">Name</a> <a href="/">Parent</a> <a href="a%2F..%2F..%2Fsecret.txt">x</a>')
    with pytest.raises(UserError, match="leads out of the log"):
        inspect_log(f"{url}/drop/", small_profile())


def test_a_link_is_refused(tmp_path, drop):
    (drop / "meta/more.json").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="is a link"):
        list_remote(f"file://{drop}")


def test_a_log_larger_than_the_disk_is_refused_before_it_is_brought(tmp_path, drop):
    log = list_remote(f"file://{drop}")
    with pytest.raises(UserError, match="GB are free"):
        bring(replace(log, files=(replace(log.files[0], size_bytes=1 << 60), *log.files[1:])), tmp_path / "here")
    assert not (tmp_path / "here/log").exists()


def test_what_is_here_already_of_a_large_file_needs_no_room_again(tmp_path, monkeypatch):
    (tmp_path / "served").mkdir()
    (tmp_path / "served/big.mcap").write_bytes(bytes(12 << 20))
    log, here = list_remote(f"file://{tmp_path}/served"), tmp_path / "here"

    def stop(done, total, note):
        if done >= 8 << 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(log, here, stop)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=(256 + 6) << 20))
    assert same(bring(log, here), tmp_path / "served")


def test_a_file_takes_the_place_of_a_folder_that_is_gone(drop, tmp_path):
    (drop / "notes").mkdir()
    (drop / "notes/monday.txt").write_text("fine")
    bring(list_remote(f"file://{drop}"), tmp_path / "here")
    shutil.rmtree(drop / "notes")
    (drop / "notes").write_text("fine")
    assert same(bring(list_remote(f"file://{drop}"), tmp_path / "here"), drop)


@pytest.mark.parametrize(
    ("url", "kind", "what"),
    [
        ("gs://bucket/drop", UserError, "needs the package gcsfs"),
        ("nonsense://bucket/drop", UserError, "no URL that can be read"),
        ("file:///nowhere/at/all", UserError, "does not exist"),
        ("SERVER/nothing", UserError, "does not exist"),
        ("SERVER/.hidden.mcap", UserError, "is a hidden file"),
        ("SERVER/empty/", UserError, "holds no file"),
        ("http://127.0.0.1:9/drop", WorkFailed, "cannot be listed"),
    ],
)
def test_what_cannot_be_had_is_one_line(server, tmp_path, url, kind, what):
    (tmp_path / "served/empty").mkdir()
    (tmp_path / "served/.hidden.mcap").write_text("not part of a drop")
    with pytest.raises(kind, match=what) as caught:
        inspect_log(url.replace("SERVER", server[0]), small_profile())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["http://user:s3cret@{host}/drop", "http://{host}/drop?X-Amz-Signature=s3cret", "zip://x::https://a:s3cret@{host}/b.zip"])
def test_a_url_that_holds_a_password_is_refused_and_not_repeated(server, tmp_path, form):
    """It would be kept beside the drop."""
    url = form.format(host=server[0].removeprefix("http://"))
    for call in (lambda: inspect_log(url, small_profile()), lambda: register_remote(Lake(tmp_path / "lake"), url)):
        with pytest.raises(UserError, match="holds a password or a signature; keep those in") as caught:
            call()
        assert "s3cret" not in str(caught.value)
    assert not [path for path in (tmp_path / "lake").rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_errors_name_the_url_and_not_the_copy(server, tmp_path):
    url, _ = server
    (tmp_path / "served/notes").mkdir()
    (tmp_path / "served/notes/readme.txt").write_text("no robot here")
    with pytest.raises(UserError, match=f"^{url}/notes is in no known log format"):
        inspect_log(f"{url}/notes", small_profile())
    with pytest.raises(UserError, match=f"^{url}/notes is in no known log format"):
        register_remote(Lake(tmp_path / "lake"), f"{url}/notes")


@pytest.mark.slow
def test_the_command_line(server, drop, tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "COSMOS_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> dict:
        command = [sys.executable, "-m", "pipelines", *arguments, "--json"]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    url = f"{server[0]}/my%20drop"
    assert run("inspect", url)["found_episodes"] == 2
    first = run("ingest", url, "--drop", "web")
    assert (first["drop"], first["unchanged"], first["episodes"], first["quarantined"]) == ("web", False, 2, []) and first["clips"] > 0
    assert run("ingest", url, "--drop", "web") == {**first, "unchanged": True}
