"""Finished folders on S3: what goes up, in which order, what comes down, and what no fault may break."""

import errno
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import MANIFEST, Lake, Output, read_manifest, resume_folder
from cosmos_ops.store import objects
from cosmos_ops.store.folders import UNSENT
from cosmos_ops.store.notes import share
from cosmos_ops.store.place import UPSTREAM, attach, located
from tests.store.on_a_machine import LARGE, build

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(objects, "FIRST_PAUSE_S", 0.01)


def never(folder: Path) -> Output:
    raise AssertionError("it is made already")


def key_of(lake_url: str, name: str) -> tuple[str, str]:
    bucket, _, prefix = lake_url.removeprefix("s3://").partition("/")
    return bucket, f"{prefix}/{name}"


def test_a_folder_goes_up_files_first_and_comes_down_as_it_is_read(copy, store, lake_url):
    manifest = build(copy("one"))
    sent = [request.path for request in store.requests if request.method == "PUT"]
    assert sent[-1].endswith(f"scores/s1/{MANIFEST}") and len(sent) == 3
    assert json.loads(store.object(*key_of(lake_url, f"scores/s1/{MANIFEST}")))["files"] == manifest.files
    other = copy("other")
    found = build(other, never)
    assert found.unchanged and (found.data_version, found.files, found.meta) == (manifest.data_version, manifest.files, manifest.meta)
    assert [path.name for path in found.path.iterdir()] == [MANIFEST]
    store.counts()
    assert found.file("large.bin").read_bytes() == LARGE and store.counts() == {"GET": 1}
    assert found.file("large.bin").read_bytes() == LARGE and store.counts() == {}, "brought once"
    assert (found.whole() / "inner/small.txt").read_text() == "small"
    assert read_manifest(other.scores("nothing")) is None


def test_a_local_lake_and_one_with_an_upstream_write_the_same(copy, tmp_path, store, lake_url):
    build(Lake(tmp_path / "plain"))
    build(copy("one"))
    for name in (MANIFEST, "large.bin", "inner/small.txt"):
        local = (tmp_path / "plain/scores/s1" / name).read_bytes()
        assert (tmp_path / "one/lake/scores/s1" / name).read_bytes() == local == store.object(*key_of(lake_url, f"scores/s1/{name}"))


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"reset": True}, {"keep_bytes": 100_000}, {"flip_byte": 12345}, {"pause_s": 0.2}])
def test_what_comes_through_a_bad_network_is_whole(copy, store, fault):
    build(copy("one"))
    found = read_manifest(copy("other").scores("s1"))
    met = store.fault(lambda request: request.method == "GET" and request.path.endswith("large.bin"), 1 if "flip_byte" in fault else 2, **fault)
    store.fault(lambda request: request.path.endswith("small.txt"), 1, **{name: value % 4 if name == "keep_bytes" else value for name, value in fault.items()})
    found.whole()
    assert met.done.is_set() or "pause_s" in fault
    assert found.file("large.bin").read_bytes() == LARGE and found.file("inner/small.txt").read_text() == "small"
    assert not [path for path in found.path.rglob("*") if ".part-" in path.name]


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"reset": True}])
def test_what_goes_up_through_a_bad_network_is_whole(copy, store, lake_url, fault):
    store.fault(lambda request: request.method == "PUT", 3, **fault)
    store.fault(lambda request: request.method == "PUT" and request.path.endswith(MANIFEST), 2, **fault)
    build(copy("one"))
    assert read_manifest(copy("other").scores("s1")).file("large.bin").read_bytes() == LARGE


def test_an_answer_that_got_lost_after_the_write_is_no_conflict(copy, store, lake_url):
    """The manifest is written only where there is none; asked again because the answer was cut, it is there: our own."""
    store.fault(lambda request: request.method == "PUT" and request.path.endswith(MANIFEST), 1, lose=True)
    build(copy("one"))
    assert read_manifest(copy("other").scores("s1")).file("large.bin").read_bytes() == LARGE


def test_a_damaged_object_is_one_line_and_nothing_of_it_stays(copy, store, lake_url):
    build(copy("one"))
    store.put(*key_of(lake_url, "scores/s1/large.bin"), LARGE[:-1] + b"x")
    found = read_manifest(copy("other").scores("s1"))
    with pytest.raises(WorkFailed, match=f"{lake_url}/scores/s1/large.bin is damaged") as failure:
        found.file("large.bin")
    assert "\n" not in str(failure.value) and [path.name for path in found.path.iterdir()] == [MANIFEST]
    store.put(*key_of(lake_url, "scores/s1/large.bin"), None)
    with pytest.raises(WorkFailed, match="is gone"):
        found.file("large.bin")
    store.put(*key_of(lake_url, f"scores/s1/{MANIFEST}"), b'{"stage": "sco')
    with pytest.raises(WorkFailed, match="is damaged"):
        read_manifest(copy("third").scores("s1"))


def test_a_lost_network_is_one_line_and_the_same_call_goes_on(copy, store, lake_url):
    lake = copy("one")
    lost = store.fault(lambda request: request.path.endswith("large.bin") and request.method == "PUT", 99, reset=True)
    with pytest.raises(WorkFailed, match="nothing is lost: run the same command again") as failure:
        build(lake)
    assert "\n" not in str(failure.value) and "planted-secret" not in str(failure.value)
    assert store.object(*key_of(lake_url, f"scores/s1/{MANIFEST}")) is None
    assert read_manifest(lake.scores("s1")) is None, "what is not upstream does not count as done"
    assert lost.count < 99
    store.mend()
    assert build(lake, never).data_version == "v1"
    assert read_manifest(copy("other").scores("s1")).file("large.bin").read_bytes() == LARGE
    assert not (lake.scores("s1") / UNSENT).exists()


def test_a_full_disk_is_one_line(copy, store, monkeypatch):
    build(copy("one"))
    found = read_manifest(copy("other").scores("s1"))

    def full(self, name, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(objects.Objects, "fetch", full)
    with pytest.raises(WorkFailed, match="No space left on device.*make room there"):
        found.file("large.bin")


def test_killed_in_mid_upload_the_same_command_completes(tmp_path, store, lake_url):
    """kill -9 while the last file is on its way; what is up already is not sent again."""
    going, may_go = threading.Event(), threading.Event()

    def small(request) -> bool:
        if request.method == "PUT" and request.path.endswith("inner/small.txt"):
            going.set()
            return True
        return False

    store.fault(small, 1, hold=may_go)
    process = subprocess.Popen([sys.executable, "-m", "tests.store.on_a_machine", "build", str(tmp_path / "one/lake"), lake_url], cwd=ROOT)
    assert going.wait(60)
    process.kill()
    process.wait()
    may_go.set()
    assert store.object(*key_of(lake_url, f"scores/s1/{MANIFEST}")) is None
    store.counts()
    lake = Lake(tmp_path / "one/lake", lake_url)
    large_is_up = store.object(*key_of(lake_url, "scores/s1/large.bin")) is not None
    assert build(lake, never).data_version == "v1"
    assert sum(request.method == "PUT" and request.path.endswith("large.bin") for request in store.requests) == (not large_is_up)
    assert read_manifest(Lake(tmp_path / "other/lake", lake_url).scores("s1")).file("inner/small.txt").read_text() == "small"


def test_another_key_replaces_the_folder_and_is_never_seen_half(copy, store, lake_url):
    one, other = copy("one"), copy("other")
    build(one)
    build(other, never).whole()

    def newer(folder: Path) -> Output:
        (folder / "large.bin").write_bytes(LARGE[::-1])
        return Output("v2", 1)

    store.counts()
    build(other, newer, "k2")
    order = [(request.method, request.path.rpartition("/")[2]) for request in store.requests if request.method in ("PUT", "DELETE")]
    assert order == [("DELETE", MANIFEST), ("DELETE", "small.txt"), ("PUT", "large.bin"), ("PUT", MANIFEST)]
    assert store.object(*key_of(lake_url, "scores/s1/inner/small.txt")) is None
    # The first machine still holds the old folder, finds the newer one instead of making it, and reads it.
    found = build(one, never, "k2")
    assert found.data_version == "v2" and found.file("large.bin").read_bytes() == LARGE[::-1]


def test_a_folder_made_anew_elsewhere_is_told_and_the_next_call_reads_it(copy, store):
    one, other = copy("one"), copy("other")
    build(one)
    stale = build(other, never)

    def newer(folder: Path) -> Output:
        (folder / "large.bin").write_bytes(LARGE[::-1])
        return Output("v2", 1)

    build(one, newer, "k2")
    with pytest.raises(WorkFailed, match="made anew by another machine"):
        stale.file("large.bin")
    assert read_manifest(other.scores("s1")).file("large.bin").read_bytes() == LARGE[::-1]


def test_two_machines_that_make_the_same_end_with_one_whole_folder(copy, store):
    """Each makes other bytes, as a GPU might; the one that is later takes over what is there."""
    lakes = [copy(name) for name in ("one", "other")]
    ready = threading.Barrier(2)

    def own(number: int):
        def write(folder: Path) -> Output:
            (folder / "large.bin").write_bytes(LARGE + bytes([number]))
            ready.wait(30)
            return Output(f"v{number}", 1)

        return write

    threads = [threading.Thread(target=build, args=(lake, own(number))) for number, lake in enumerate(lakes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_manifest(copy("third").scores("s1"))
    assert found.file("large.bin").read_bytes() == LARGE + found.data_version[1:].encode().translate(bytes.maketrans(b"01", b"\0\1"))


def test_resumable_work_goes_on_on_another_machine(copy, store):
    def some(stop_after: int):
        def write(folder: Path) -> Output:
            for number in range(4):
                if not (folder / f"part-{number}").exists():
                    if number == stop_after:
                        raise WorkFailed("the machine went away")
                    (folder / f"part-{number}").write_text(f"made with {stop_after}")
                    share(folder / f"part-{number}")
            return Output("v1", 4)

        return write

    with pytest.raises(WorkFailed):
        resume_folder(copy("one").adapter("a1"), "adapter", "k", some(2))
    assert read_manifest(copy("third").adapter("a1")) is None
    manifest = resume_folder(copy("other").adapter("a1"), "adapter", "k", some(9))
    assert [manifest.file(f"part-{number}").read_text() for number in range(4)] == ["made with 2", "made with 2", "made with 9", "made with 9"]
    # Of another key nothing is taken over, and nothing stays.
    again = resume_folder(copy("fourth").adapter("a1"), "adapter", "k2", some(8))
    assert {again.file(f"part-{number}").read_text() for number in range(4)} == {"made with 8"}


def test_a_manifest_that_leads_out_of_its_folder_is_refused(copy, store, lake_url, tmp_path):
    build(copy("one"))
    bucket, key = key_of(lake_url, f"scores/s1/{MANIFEST}")
    stored = json.loads(store.object(bucket, key))
    stored.pop("manifest_sha256")
    store.put(bucket, key, json.dumps(stored | {"files": {"../../../escaped": "0" * 64}}).encode())
    with pytest.raises(WorkFailed, match="leads out"):
        read_manifest(copy("other").scores("s1"))


def test_a_working_copy_is_told_by_its_root_alone(copy, tmp_path, lake_url):
    lake = copy("one")
    assert json.loads((lake.root / UPSTREAM).read_text()) == {"url": lake_url}
    code = f"from cosmos_ops.store.place import located; print(located({str(lake.scores('s1'))!r}))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert told == f"{lake_url}/scores/s1"
    assert located(lake.models() / "nano") is None and located(lake.landing) is None and located(tmp_path / "elsewhere") is None


def test_a_folder_that_is_another_lake_is_refused(copy, tmp_path, lake_url):
    build(Lake(tmp_path / "plain"))
    with pytest.raises(UserError, match="holds a lake of its own"):
        attach(tmp_path / "plain", lake_url)
    lake = copy("one")
    with pytest.raises(UserError, match="working copy of"):
        attach(lake.root, f"{lake_url}-2")
    for url in ("s3://key:secret@bucket/lake", "s3://"):
        with pytest.raises(UserError, match="credentials|protocol"):
            attach(tmp_path / "new", url)
    with pytest.raises(UserError, match="give its path"):
        attach(tmp_path / "new", f"file://{tmp_path}/x")
    with pytest.raises(UserError, match="no bucket"):
        build(Lake(tmp_path / "astray", "s3://no-such-bucket/lake"))


def test_the_working_copy_may_be_removed(copy, store):
    lake = copy("one")
    build(lake)
    shutil.rmtree(lake.root)
    again = build(Lake(lake.root, located(lake.root).url), never)
    assert again.file("large.bin").read_bytes() == LARGE


def test_a_lake_without_an_upstream_asks_nothing(tmp_path, store, monkeypatch):
    lake = Lake(tmp_path / "plain")
    manifest = build(lake)
    looked = []
    monkeypatch.setattr("os.path.exists", lambda path: looked.append(path) or False)
    read_manifest(lake.scores("s1")).file("large.bin")
    manifest.whole()
    assert located(lake.drops / "a/b/c") is None and not looked and store.counts() == {}
