"""Latents, training and what is made after it, by machines that hold nothing of a lake on S3 but its URL."""

import dataclasses
import json
import threading
from pathlib import Path

import pytest
import torch

from cosmos_ops.base_models.base import identify_world_model
from cosmos_ops.base_models.latent_store import LatentStore
from cosmos_ops.base_models.latents import encode_latents
from cosmos_ops.errors import WorkFailed
from cosmos_ops.lake import Lake, read_manifest
from cosmos_ops.profiles import ClipGeometry, Profile, ShardSettings, load_profile
from cosmos_ops.recipes import resolve_recipe
from cosmos_ops.registry.dataset_check import check_dataset
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.usage import lineage_of_episode
from cosmos_ops.shards.dataset import build_dataset
from cosmos_ops.shards.write import write_shards
from cosmos_ops.store import objects
from cosmos_ops.training.checkpoint import FOLDER
from cosmos_ops.training.config import read_config
from cosmos_ops.training.loop import Interrupted
from cosmos_ops.training.run import TrainingJob, finished_adapter, prepare_training, train_inline
from cosmos_ops.training.work import train_adapter
from cosmos_ops.verify import verify_lake
from tests.fixtures.lerobot_factory import write_lerobot
from tests.fixtures.object_store import ObjectStore
from tests.shards.lakes import ready_for_shards

CLIP = ClipGeometry(frames=9, height=32, width=48, max_fps=8.0)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(objects, "FIRST_PAUSE_S", 0.01)


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread):
    """For all of these tests."""


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A lake on S3 up to its latents, made by a machine that is gone, and the same one on this machine."""

    url: str
    plain: Lake
    profile: Profile
    version: str
    models: Path

    def copy(self, root: Path) -> Lake:
        """An empty working copy; the base model's weights are each machine's own."""
        lake = Lake(root, self.url)
        lake.models().symlink_to(self.models)
        return lake

    def job(self, lake: Lake, **settings) -> TrainingJob:
        recipe = dataclasses.replace(
            resolve_recipe("lora-r8", self.profile), **{"steps": 6, "batch_size": 2, "warmup_steps": 1, "validate_every": 3} | settings
        )
        latents = encode_latents(lake, self.version, self.profile)
        revision = identify_world_model(self.profile.base_model, lake.models()).revision
        return prepare_training(lake, self.profile, recipe, self.version, latents, revision, "cpu", threads=1)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, server: ObjectStore, reachable) -> Encoded:
    folder = tmp_path_factory.mktemp("encoded")
    log = write_lerobot(folder / "monday", episodes=6, frames=24, height=32, width=48)
    profile = dataclasses.replace(load_profile("nano"), clip=CLIP, shards=ShardSettings(clips_per_shard=2))
    url, plain = f"s3://{server.bucket()}/lake", Lake(folder / "plain")
    for lake in (plain, Lake(folder / "gone/lake", url)):
        ready_for_shards(lake.root, log, profile)
        write_shards(lake, "toy", profile)
        version = build_dataset(lake, ["toy"], profile).data_version
        if lake is not plain:
            lake.models().symlink_to(plain.models())
        encode_latents(lake, version, profile)
    return Encoded(url, plain, profile, version, plain.models())


@pytest.fixture(scope="module")
def trained(encoded) -> str:
    """Data version of an adapter trained in the lake on this machine."""
    return train_inline(encoded.job(encoded.plain)).data_version


def test_training_streams_latents_that_are_only_upstream(encoded, trained, tmp_path, store):
    lake = encoded.copy(tmp_path / "one/lake")
    manifest = train_inline(encoded.job(lake))
    assert manifest.data_version == trained, "the same bits as from a lake on this machine"
    assert not list(lake.drops.rglob("*.tar")), "training needs no shard"
    other = encoded.copy(tmp_path / "other/lake")
    found = finished_adapter(other, manifest.key)
    assert found.files == manifest.files and found.file("adapter_model.safetensors").read_bytes() == manifest.file("adapter_model.safetensors").read_bytes()
    assert not any(FOLDER in request.path for request in store.requests if request.kind == "GET") and verify_lake(other).ok


def test_training_goes_on_on_another_machine(encoded, tmp_path):
    """Interrupted on one, continued on the other from its checkpoint, to the same bits."""
    one, other = encoded.copy(tmp_path / "one/lake"), encoded.copy(tmp_path / "other/lake")
    job = encoded.job(one, seed=7, checkpoint_minutes=0.0)
    steps = []
    with pytest.raises(Interrupted):
        train_adapter(read_config(job.config_path), lambda report: steps.append(report.step), lambda: len(steps) >= 3)
    job = encoded.job(other, seed=7, checkpoint_minutes=0.0)
    went_on = []
    manifest = train_adapter(read_config(job.config_path), lambda report: went_on.append(report.step), lambda: False)
    assert went_on[0] > 1, "not from the beginning"
    steps_logged = [row["step"] for row in map(json.loads, manifest.file("log.jsonl").read_text().splitlines()) if "learning_rate" in row]
    assert steps_logged == list(range(1, 7))
    plain = train_inline(encoded.job(encoded.plain, seed=7, checkpoint_minutes=0.0))
    assert manifest.data_version == plain.data_version
    assert not [name for name in objects.Objects(encoded.url).below(f"adapters/{manifest.key}") if FOLDER in name]


def test_the_next_files_are_brought_while_one_is_used(encoded, tmp_path, store):
    lake = encoded.copy(tmp_path / "one/lake")
    latents = LatentStore(lake, encode_latents(lake, encoded.version, encoded.profile))
    files = {clip_id: latents.folder / name for clip_id, name in latents._clips.items()}
    assert len(set(files.values())) >= 3 and not any(path.exists() for path in files.values())
    may_go = threading.Event()
    slow = store.fault(lambda request: request.path.endswith(".safetensors"), 2, hold=may_go)
    latents.expect(latents.clip_ids)
    assert slow.done.wait(30), "two are on their way at once, and nobody waits for them"
    may_go.set()
    here = latents.clip(latents.clip_ids[0])
    assert torch.equal(here, LatentStore(encoded.plain, encode_latents(encoded.plain, encoded.version, encoded.profile)).clip(latents.clip_ids[0]))
    for clip_id in latents.clip_ids:
        latents.clip(clip_id)
    asked = [request.path for request in store.requests if request.path.endswith(".safetensors")]
    assert len(asked) == len(set(asked)) == len(set(files.values())), "each file once"


def test_a_latent_file_damaged_here_is_brought_anew_and_one_damaged_there_is_named(encoded, tmp_path, store):
    lake = encoded.copy(tmp_path / "one/lake")
    manifest = encode_latents(lake, encoded.version, encoded.profile)
    latents = LatentStore(lake, manifest)
    clip_id = latents.clip_ids[0]
    whole, path = latents.clip(clip_id), latents.folder / latents._clips[clip_id]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 0xFF]))
    assert torch.equal(LatentStore(lake, manifest).clip(clip_id), whole) and path.read_bytes() == content
    path.unlink()
    store.fault(lambda request: request.path.endswith(path.name), 2, flip_byte=-1)
    with pytest.raises(WorkFailed, match=path.name):
        LatentStore(lake, manifest).clip(clip_id)
    assert torch.equal(LatentStore(lake, manifest).clip(clip_id), whole), "the object itself is whole: read again, it is there"


def test_nothing_is_encoded_twice_by_two_machines(encoded, tmp_path, store):
    lake = encoded.copy(tmp_path / "one/lake")
    assert encode_latents(lake, encoded.version, encoded.profile).unchanged
    store.mend()
    # A dataset version that no machine has encoded yet, of clips that one has.
    from cosmos_ops.store.notes import update_pointer

    episode = read_manifest(lake.drop_stage("toy", "episodes"))
    import pyarrow.parquet as pq

    first = pq.read_table(episode.file("episodes.parquet"))["episode_id"][0].as_py()
    update_pointer(lake.root / "forgotten.json", lambda stored: {first: "a test"})
    smaller = build_dataset(lake, ["toy"], encoded.profile)
    meta = encode_latents(lake, smaller.data_version, encoded.profile).meta
    assert meta["encoded"] == 0 and meta["reused"] == smaller.rows
    update_pointer(lake.root / "forgotten.json", lambda stored: {})


def test_lineage_and_the_check_of_a_dataset_need_nothing_here(encoded, trained, tmp_path, store):
    lake = encoded.copy(tmp_path / "one/lake")
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"))
    import pyarrow.parquet as pq

    episode = pq.read_table(read_manifest(lake.drop_stage("toy", "episodes")).file("episodes.parquet"))["episode_id"][0].as_py()
    plain = lineage_of_episode(encoded.plain, tracking, episode)
    store.counts()
    found = lineage_of_episode(lake, tracking, episode)
    names = ("drop", "clips", "shards", "latents", "splits")
    assert {name: found[name] for name in names if name != "splits"} == {name: plain[name] for name in names if name != "splits"}
    assert encoded.version in found["splits"]
    listed = [request.query for request in store.requests if request.kind == "LIST"]
    assert listed and all("delimiter=%2F" in query for query in listed), "folder by folder, never all that is below"
    assert check_dataset(lake, encoded.version) == check_dataset(encoded.plain, encoded.version)
