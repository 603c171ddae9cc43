"""`verify_lake` on a real lake, every file of which is spoiled in turn."""

import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import file_sha256
from cosmos_ops.heads import Heads
from cosmos_ops.lake import Lake, Output, build_folder, write_json
from cosmos_ops.shards.dataset import build_dataset, build_evaluation_set
from cosmos_ops.shards.plan import plan_clips
from cosmos_ops.shards.validated import write_outcomes
from cosmos_ops.shards.write import write_shards
from cosmos_ops.tables import write_table
from cosmos_ops.verify import verify_lake
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import ready_for_shards, small_profile

PROFILE = small_profile()
UNHASHED = ("drop.json", "drop-order.json", "nano.json", "shards.json")
"""Small files that change, or have no hash: whole JSON is all that can be asked of them."""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with a log and a lake that holds one thing of every kind. Tests copy it."""
    home = tmp_path_factory.mktemp("verify")
    lake = ready_for_shards(home / "lake", write_lerobot(home / "log"), PROFILE)
    manifest = write_shards(lake, "toy", PROFILE)
    write_outcomes(lake, "toy", PROFILE.data_fingerprint, "shards", manifest.data_version, [])
    version = build_dataset(lake, ["toy"], PROFILE).data_version
    evaluation = build_evaluation_set(lake, version, PROFILE).data_version
    for folder in (lake.generations("g" * 16), lake.scores("s" * 16), lake.adapter("a" * 16)):
        build_folder(folder, folder.parent.name, folder.name, made)
    add_latents(lake.latents("model-and-size"), version)
    Heads(lake, "nano").set(dataset=version, evaluation_set=evaluation, generations__base="g" * 16, latents=f"latents/model-and-size/{version}")
    return home


def made(folder: Path) -> Output:
    (folder / "result.bin").write_bytes(bytes(range(256)) * 8)
    return Output("v1", 1)


def add_latents(store: Path, version: str) -> None:
    """Laid out as `base_models/latent_store.py` says."""
    files = {}
    for name in ("a" * 64, f"text/{'b' * 64}"):
        path = store / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 20)
        write_json(path.with_suffix(".json"), {"sha256": file_sha256(path), "names": ["clip"], "bytes": path.stat().st_size})
        files[path.relative_to(store).as_posix()] = file_sha256(path)
    schema = pa.schema([("file", pa.string()), ("sha256", pa.string())])

    def write(folder: Path) -> Output:
        for table, (name, sha256) in zip(("latents", "text"), files.items(), strict=True):
            write_table(folder / f"{table}.parquet", [{"file": name, "sha256": sha256}], schema)
        return Output("v1", 1)

    build_folder(store / version, "latents", "k", write)


@pytest.fixture
def lake(tmp_path, built) -> Lake:
    return Lake(shutil.copytree(built / "lake", tmp_path / "lake"))


def tree(root: Path) -> list:
    return sorted((str(path), os.lstat(path).st_mtime_ns, os.lstat(path).st_ino, os.lstat(path).st_size) for path in [root, *root.rglob("*")])


def visible(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def test_a_sound_lake_is_said_to_be_and_left_as_it_is(built):
    lake, steps, before = Lake(built / "lake"), [], tree(built)
    report = verify_lake(lake, progress=lambda done, total, note: steps.append((done, total)))
    assert report.ok and report.damaged == () and report.unfinished == () and report.busy == ()
    source = visible(built / "log")
    assert report.checked == len(visible(lake.root)) + len(source), "the drop's own files are hashed too"
    assert report.checked_bytes == sum(path.stat().st_size for path in [*visible(lake.root), *source])
    assert tree(built) == before
    assert steps[-1] == (report.checked, report.checked) and all(done < total for done, total in steps[:-1]) and len(steps) == report.checked + 1


def test_every_file_that_is_spoiled_is_named_whatever_is_done_to_it(lake):
    for path in visible(lake.root):
        content, stat = path.read_bytes(), path.stat()
        ways = {"gone": path.unlink, "short": lambda path=path, content=content: path.write_bytes(content[: len(content) // 2])}
        if path.name not in UNHASHED and not (path.suffix == ".json" and "latents" in path.parts and path.name != "manifest.json"):
            ways["flipped"] = lambda path=path, content=content: flip(path, len(content) // 2)
        if path.name in ("nano.json", "drop-order.json", "shards.json") or (path.parent.name == "text" and path.suffix == ".json"):
            del ways["gone"]  # nothing says that they must be there
        for way, spoil in ways.items():
            spoil()
            report = verify_lake(lake)
            name = path.relative_to(lake.root).as_posix()
            named = [damage for damage in report.damaged if damage.path == name]
            if "latents" in path.parts and way == "gone" and path.suffix == ".json" and path.name != "manifest.json":
                assert report.ok  # its tensors are listed, with their hash, by a dataset version
            else:
                assert named and not report.ok, (name, way, report.damaged)
                assert named[0].remedy and "\n" not in named[0].remedy
                others = [
                    damage for damage in report.damaged if not damage.path.startswith((path.parent.relative_to(lake.root).as_posix(), "datasets", "latents"))
                ]
                assert not others, (name, way, others)
            path.write_bytes(content)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert verify_lake(lake).ok


def test_the_clips_of_a_damaged_shard_are_named_and_its_remedy_mends_it(lake):
    folder = lake.drop_stage("toy", "shards", PROFILE.data_fingerprint)
    rows = [row for row in pq.read_table(folder / "index.parquet").to_pylist() if row["shard"] == "shard-00001.tar"]
    shard, before = folder / "shard-00001.tar", file_sha256(folder / "shard-00001.tar")
    untouched = (folder / "shard-00000.tar").stat().st_ino
    for row in (rows[2], rows[5]):
        flip(shard, row["offset_bytes"] + 520)  # the JSON beside the video
    (damage,) = verify_lake(lake).damaged
    assert damage.clips == (rows[2]["clip_id"], rows[5]["clip_id"]) and all(clip in damage.what for clip in damage.clips) and "2 clips are lost" in damage.what
    assert damage.remedy.startswith(f"remove {folder / 'manifest.json'} and run `cosmos-ops ingest ") and "--drop toy`" in damage.remedy

    shard.unlink()
    (damage,) = [found for found in verify_lake(lake).damaged if found.path.startswith("drops")]
    assert damage.what.startswith("missing") and damage.clips == tuple(row["clip_id"] for row in rows)
    (folder / "manifest.json").unlink()
    write_shards(lake, "toy", PROFILE)
    assert file_sha256(shard) == before and (folder / "shard-00000.tar").stat().st_ino == untouched
    assert verify_lake(lake).ok


def test_a_stage_that_is_removed_as_told_is_made_again_the_same(lake):
    folder = lake.drop_stage("toy", "clips", PROFILE.data_fingerprint)
    flip(folder / "clips.parquet", 100)
    (damage,) = verify_lake(lake).damaged
    assert damage.remedy.startswith(f"remove {folder} and run `cosmos-ops ingest ")
    shutil.rmtree(folder)
    plan_clips(lake, "toy", PROFILE)
    assert verify_lake(lake).ok


def test_files_that_nothing_lists_are_extra(lake):
    folder = lake.drop_stage("toy", "shards", PROFILE.data_fingerprint)
    for path in (folder / "copy of shard-00000.tar", lake.scores("s" * 16) / "deep" / "notes.txt", lake.latents("model-and-size") / f"{'c' * 64}.safetensors"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"?")
    (folder / ".hidden").write_bytes(b"?")
    report = verify_lake(lake)
    assert sorted(Path(damage.path).name for damage in report.damaged) == sorted(["copy of shard-00000.tar", "notes.txt", f"{'c' * 64}.safetensors"])
    assert all(damage.what.startswith("extra") and "remove" in damage.remedy for damage in report.damaged)


def test_a_shard_that_a_dataset_lists_must_be_that_one(lake):
    folder = lake.drop_stage("toy", "shards", PROFILE.data_fingerprint)
    shutil.rmtree(folder)
    report = verify_lake(lake)
    assert {damage.path.split("/")[0] for damage in report.damaged} == {"datasets"}
    assert all("shard-0000" in damage.what and "ingest that drop again" in damage.remedy for damage in report.damaged)


def test_a_source_that_changed_or_is_gone_is_named(tmp_path, built):
    shutil.copytree(built / "log", tmp_path / "log")
    lake = ready_for_shards(tmp_path / "lake", tmp_path / "log", PROFILE)
    assert verify_lake(lake, drop="toy").ok
    video, table = sorted((tmp_path / "log").rglob("*.mp4"))[0], sorted((tmp_path / "log").rglob("episode*.parquet"))[0]
    stat = video.stat()
    flip(video, 300)
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as bit rot would: size and time as registered
    table.unlink()
    (tmp_path / "log" / "new.txt").write_text("?")
    found = {damage.path: damage.what.split(":")[0] for damage in verify_lake(lake, drop="toy").damaged}
    assert found == {str(video): "damaged", str(table): "missing", str(tmp_path / "log" / "new.txt"): "extra"}
    shutil.rmtree(tmp_path / "log")
    (damage,) = verify_lake(lake, drop="toy").damaged
    assert damage.path == str(tmp_path / "log") and damage.what.startswith("missing")


def test_what_a_killed_run_left_is_unfinished_not_damaged(lake):
    folder = lake.generations("h" * 16)
    folder.mkdir()
    (folder / ".key").write_text("h" * 16)
    (folder / "sample.mp4").write_bytes(b"?")
    (lake.root / "generations" / f".{'i' * 16}.tmp-12345678").mkdir()
    report = verify_lake(lake)
    assert report.ok and report.unfinished == (f"generations/{'h' * 16}",)
    (lake.generations("g" * 16) / "manifest.json").unlink()
    (lake.generations("g" * 16) / ".key").write_text("g" * 16)
    (damage,) = verify_lake(lake).damaged
    assert damage.path == f"generations/{'g' * 16}/manifest.json", "the current generations were finished once"


def test_what_another_process_writes_to_is_left_alone(lake):
    folder = lake.scores("s" * 16)
    flip(folder / "result.bin", 5)
    with open(folder.parent / f".{folder.name}.lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        report = verify_lake(lake)
        assert report.ok and report.busy == (f"scores/{'s' * 16}",)
    assert not verify_lake(lake).ok


def test_a_manifest_that_leads_out_of_its_folder_is_refused(lake, tmp_path):
    path = lake.scores("s" * 16) / "manifest.json"
    stored = json.loads(path.read_text())
    del stored["manifest_sha256"]
    stored["files"]["../../../secret"] = hashlib.sha256(b"").hexdigest()
    path.write_text(json.dumps(stored))
    (damage,) = verify_lake(lake).damaged
    assert damage.path.endswith("manifest.json") and "leads out" in damage.what


def test_no_lake_and_no_such_drop_say_so(tmp_path, lake):
    with pytest.raises(UserError, match="there is no lake"):
        verify_lake(Lake(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="drop 'monday' is not in the lake; there are toy"):
        verify_lake(lake, drop="monday")
