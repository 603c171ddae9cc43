"""Drops, shards and what is registered, in a lake on S3 that several machines use."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.heads import Heads
from cosmos_ops.lake import Lake, read_manifest
from cosmos_ops.logs.drops import check_unchanged, load_drop, register_drop
from cosmos_ops.logs.index import index_drop
from cosmos_ops.logs.remote import register_remote
from cosmos_ops.shards import write
from cosmos_ops.shards.dataset import build_dataset
from cosmos_ops.shards.exclusions import drop_order
from cosmos_ops.shards.read import iterate_shard, read_clip
from cosmos_ops.shards.validated import is_validated, read_outcomes, write_outcomes
from cosmos_ops.shards.write import write_shards
from cosmos_ops.store import objects
from cosmos_ops.store.notes import update_pointer
from cosmos_ops.verify import verify_lake
from cosmos_ops.workers import LocalWorkers
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import ready_for_shards, small_profile

PROFILE = small_profile(clips_per_shard=4)
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(objects, "FIRST_PAUSE_S", 0.01)


@pytest.fixture(scope="session")
def small_log(tmp_path_factory) -> Path:
    return write_lerobot(tmp_path_factory.mktemp("log") / "monday", episodes=3, frames=24, height=48, width=64)


@pytest.fixture
def plain(tmp_path, small_log) -> Lake:
    """A lake on this machine with one drop in shards."""
    lake = ready_for_shards(tmp_path / "plain", small_log, PROFILE)
    write_shards(lake, "toy", PROFILE)
    return lake


def shards_of(lake: Lake) -> Path:
    return lake.drop_stage("toy", "shards", PROFILE.data_fingerprint)


def test_a_lake_on_s3_has_the_bytes_and_manifests_of_a_local_one(plain, copy, store, small_log, lake_url):
    one = copy("one")
    ready_for_shards(one.root, small_log, PROFILE)
    write_shards(one, "toy", PROFILE)
    bucket = lake_url.removeprefix("s3://").partition("/")[0]
    compared = 0
    for path in sorted(plain.drop("toy").rglob("*")):
        name = path.relative_to(plain.root)
        if path.is_file() and not any(part.startswith(".") for part in name.parts) and path.name != "drop.json":
            assert store.object(bucket, f"lake/{name}") == path.read_bytes(), name
            compared += 1
    assert compared > 12 and len(list(shards_of(plain).glob("*.tar"))) > 1


def test_another_machine_reads_clips_it_never_made(copy, store, small_log):
    one, other = copy("one"), copy("other")
    ready_for_shards(one.root, small_log, PROFILE)
    write_shards(one, "toy", PROFILE)
    version = build_dataset(one, ["toy"], PROFILE).data_version
    assert build_dataset(other, other.drop_names(), PROFILE).unchanged
    import pyarrow.parquet as pq

    rows = pq.read_table(read_manifest(other.dataset(version)).file("samples.parquet")).to_pylist()
    store.counts()
    clip = read_clip(other, rows[0]["shard_path"], rows[0]["key"], verify=True)
    assert (clip.frames == read_clip(one, rows[0]["shard_path"], rows[0]["key"]).frames).all()
    assert store.counts() == {"GET": 1}, "the shard; its index was read for the dataset"
    assert [found.key for found in iterate_shard(other, rows[-1]["shard_path"], verify=True)]
    with pytest.raises(UserError, match="leads out"):
        read_clip(other, "../elsewhere.tar", "x")


def test_a_shard_half_written_on_one_machine_goes_on_on_another(copy, plain, small_log, monkeypatch):
    one, other = copy("one"), copy("other")
    ready_for_shards(one.root, small_log, PROFILE)

    def gone(done: int, total: int, note: str) -> None:
        if done > 4:
            raise WorkFailed("the machine went away")

    with pytest.raises(WorkFailed, match="went away"):
        write_shards(one, "toy", PROFILE, gone, workers=LocalWorkers(1))
    encoded = []
    first = write._write_shard
    monkeypatch.setattr(write, "_write_shard", lambda folder, shard, pairs: encoded.append(shard) or first(folder, shard, pairs))
    manifest = write_shards(other, "toy", PROFILE, workers=LocalWorkers(1))
    assert encoded and "shard-00000.tar" not in encoded
    assert manifest.files == read_manifest(shards_of(plain)).files


def test_requests_do_not_grow_with_the_lake(copy, store, tmp_path, small_log):
    """One more drop after 3, and after 30: equally many requests of each kind, and no listing that meets other drops."""
    source = copy("source")
    counted = {}
    for number in range(31):
        log = tmp_path / f"log-{number}"
        shutil.copytree(small_log, log)
        (log / "note.txt").write_text(f"{number}")
        store.counts()
        name = f"drop-{number:02d}"
        register_drop(source, log, name)
        index_drop(source, name)
        if number in (3, 30):
            listed = [request.query for request in store.requests if request.kind == "LIST"]
            assert all("drop-" in query for query in listed), listed
            counted[number] = store.counts()
    assert counted[3] == counted[30] and counted[3]["GET"] < 10
    newcomer = copy("newcomer")
    store.counts()
    log = tmp_path / "log-new"
    shutil.copytree(small_log, log)
    (log / "note.txt").write_text("new")
    register_drop(newcomer, log, "drop-new")
    index_drop(newcomer, "drop-new")
    assert store.counts() == counted[3], "an empty working copy pays no more"


def test_one_name_and_one_content_are_one_drop_for_all_machines(copy, tmp_path, small_log):
    one, other = copy("one"), copy("other")
    drop, new = register_drop(one, small_log, "monday")
    assert new and register_drop(other, small_log, "monday") == (drop, False)
    with pytest.raises(UserError, match="in the lake already, as drop monday"):
        register_drop(copy("third"), small_log, "tuesday")
    changed = shutil.copytree(small_log, tmp_path / "changed")
    (changed / "note.txt").write_text("changed")
    with pytest.raises(UserError, match="registered with other content.*--drop monday-2"):
        register_drop(copy("fourth"), changed, "monday")
    assert other.drop_names() == ["monday"]


def test_where_a_log_lies_is_each_machines_own_knowledge(copy, tmp_path, small_log):
    here, there = (shutil.copytree(small_log, tmp_path / name / "monday") for name in ("here", "there"))
    one, other = copy("one"), copy("other")
    register_drop(one, here)
    shutil.move(here, tmp_path / "away")
    assert register_drop(other, there)[1] is False
    assert (load_drop(one, "monday").uri, load_drop(other, "monday").uri) == (str(here), str(there))
    check_unchanged(other, load_drop(other, "monday"))


def test_registrations_that_cross_end_in_one(copy, small_log, monkeypatch):
    """Between a machine's look at the catalog and its entry another one enters the same content under another name."""
    one, other = copy("one"), copy("other")
    from cosmos_ops.logs import drops

    first = drops._store_new

    def late(lake, new):
        if lake.root == one.root:
            register_drop(other, small_log, "theirs")
        first(lake, new)

    monkeypatch.setattr(drops, "_store_new", late)
    with pytest.raises(UserError, match="as drop theirs"):
        register_drop(one, small_log, "mine")
    assert copy("third").drop_names() == ["theirs"]
    assert not (one.drop("mine") / "drop.json").exists()


def test_a_kill_between_registration_and_catalog_is_made_good(copy, store, tmp_path, small_log):
    lake, first = copy("one"), shutil.copytree(small_log, tmp_path / "first")
    (first / "note.txt").write_text("first")
    register_drop(lake, first)
    store.fault(lambda request: request.method == "PUT" and request.path.endswith("catalog.json"), 99, reset=True)
    with pytest.raises(WorkFailed, match="nothing is lost"):
        register_drop(lake, small_log, "monday")
    assert lake.drop_names() == ["first"]
    store.mend()
    assert register_drop(lake, small_log, "monday")[0].name == "monday"
    assert copy("other").drop_names() == ["first", "monday"]


def test_a_copied_drop_is_there_for_a_machine_without_the_log(copy, tmp_path, small_log):
    log = shutil.copytree(small_log, tmp_path / "monday")
    drop, _ = register_drop(copy("one"), log, copy=True)
    shutil.rmtree(log)
    other = copy("other")
    check_unchanged(other, load_drop(other, "monday"))
    assert index_drop(other, "monday").rows == 3
    assert load_drop(other, "monday").fingerprint == drop.fingerprint


def test_a_log_on_s3_goes_into_a_lake_on_s3(copy, store, small_log):
    bucket = store.bucket()
    for path in sorted(small_log.rglob("*")):
        if path.is_file():
            store.put(bucket, f"deliveries/monday/{path.relative_to(small_log)}", path.read_bytes())
    drop, new = register_remote(copy("one"), f"s3://{bucket}/deliveries/monday")
    assert new and drop.copied
    found, new = register_remote(copy("other"), f"s3://{bucket}/deliveries/monday")
    assert not new and found.fingerprint == drop.fingerprint


def test_a_lake_that_was_copied_to_its_store_is_a_lake_there(plain, copy, store, lake_url):
    """What `aws s3 sync` would bring up: files and manifests as they lie, and no catalog."""
    bucket = lake_url.removeprefix("s3://").partition("/")[0]
    for path in sorted(plain.root.rglob("*")):
        if path.is_file():
            store.put(bucket, f"lake/{path.relative_to(plain.root)}", path.read_bytes())
    lake = copy("one")
    assert lake.drop_names() == ["toy"] and write_shards(lake, "toy", PROFILE).unchanged
    assert build_dataset(lake, ["toy"], PROFILE).rows
    assert verify_lake(lake).ok


def test_outcomes_of_checks_are_the_lakes(copy, small_log):
    one, other = copy("one"), copy("other")
    write_outcomes(one, "toy", "f", "shards", "v1", [{"success": True, "severity": "error"}])
    assert read_outcomes(other, "toy", "f", "shards", "v1") == [{"success": True, "severity": "error"}]
    write_outcomes(one, "toy", "f", "shards", "v2", [])
    assert read_outcomes(other, "toy", "f", "shards", "v2") == [], "another version is asked for again"
    assert read_outcomes(other, "toy", "f", "clips", "v1") is None and not is_validated(other, "toy", "f")


def test_heads_that_several_machines_set_at_once_are_all_kept(tmp_path, lake_url, store):
    names = ("one", "two", "three")
    command = [sys.executable, "-m", "tests.store.on_a_machine", "heads"]
    machines = [subprocess.Popen([*command, str(tmp_path / name), lake_url, name, "8"], cwd=ROOT) for name in names]
    assert [machine.wait(120) for machine in machines] == [0, 0, 0]
    assert sorted(Heads(Lake(tmp_path / "four", lake_url), "nano").read()) == sorted(f"{name}/{number}" for name in names for number in range(8))


def test_the_order_of_drops_is_one_for_all_machines(copy):
    one, other = copy("one"), copy("other")
    assert drop_order(one, ["b"]) == ["b"]
    assert drop_order(other, ["a", "b"]) == ["b", "a"] and drop_order(one, ["a", "b"]) == ["b", "a"]


def test_a_pointer_is_written_over_what_was_read_only(copy, store, lake_url):
    lake = copy("one")
    path = lake.root / "heads/nano.json"
    bucket = lake_url.removeprefix("s3://").partition("/")[0]
    seen = []

    def change(stored):
        if not seen:
            store.put(bucket, "lake/heads/nano.json", b'{"theirs": 1}')
        seen.append(stored)
        return (stored or {}) | {"mine": 2}

    assert update_pointer(path, change) == {"theirs": 1, "mine": 2}
    assert seen == [None, {"theirs": 1}] and json.loads(store.object(bucket, "lake/heads/nano.json")) == {"theirs": 1, "mine": 2}


def test_a_pointer_that_was_removed_meanwhile_is_made_anew(copy, store, lake_url):
    lake = copy("one")
    path, bucket = lake.root / "heads/nano.json", lake_url.removeprefix("s3://").partition("/")[0]
    update_pointer(path, lambda stored: {"first": 1})

    def change(stored):
        store.put(bucket, "lake/heads/nano.json", None)
        return (stored or {}) | {"mine": 2}

    assert update_pointer(path, change) == {"mine": 2} == json.loads(store.object(bucket, "lake/heads/nano.json"))


def test_verify_names_what_is_damaged_upstream(copy, store, small_log, lake_url):
    lake = copy("one")
    ready_for_shards(lake.root, small_log, PROFILE)
    write_shards(lake, "toy", PROFILE)
    version = build_dataset(lake, ["toy"], PROFILE).data_version
    Heads(lake, "nano").set(dataset=version)
    assert verify_lake(copy("other")).ok
    bucket, shard = lake_url.removeprefix("s3://").partition("/")[0], f"{shards_of(lake).relative_to(lake.root)}/shard-00000.tar"
    content = bytearray(store.object(bucket, f"lake/{shard}"))
    content[len(content) // 2] ^= 0xFF
    store.put(bucket, f"lake/{shard}", bytes(content))
    store.put(bucket, f"lake/datasets/{version}/exclusions.parquet", None)
    store.put(bucket, "lake/drops/toy/clips/extra/stray.bin", b"x")
    store.put(bucket, "lake/drops/toy/episodes/manifest.json", b"{")
    report = verify_lake(copy("third"))
    found = {damage.path: damage for damage in report.damaged}
    assert set(found) == {f"{lake_url}/{name}" for name in (shard, f"datasets/{version}/exclusions.parquet", "drops/toy/episodes/manifest.json")}
    assert "damaged" in found[f"{lake_url}/{shard}"].what and len(found[f"{lake_url}/{shard}"].clips) == 1
    assert report.unfinished == (f"{lake_url}/drops/toy/clips/extra",)
    # The machine that made it has whole copies, and one of them it damages itself.
    (lake.root / shard).write_bytes(b"x")
    assert any(damage.path == shard for damage in verify_lake(lake, "toy").damaged)
