"""Encoding dataset versions: equal to the model itself, incremental, resumable, verified."""

import hashlib
import shutil
from dataclasses import replace

import pytest
import torch

from cosmos_ops.base_models import identify_world_model
from cosmos_ops.base_models.latents import LatentStore, encode_latents, latents_fingerprint
from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import load_profile
from cosmos_ops.shards.read import read_clip
from tests.base_models.lake_factory import CAPTIONS, add_dataset, add_shard, small


@pytest.fixture(scope="module")
def profile(spec):
    return small(load_profile("nano"), spec)


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


@pytest.fixture
def first(lake):
    return add_shard(lake, "first", clips=3, seed=0)


def store_files(manifest):
    return {str(path.relative_to(manifest.path.parent)): path.stat().st_mtime_ns for path in manifest.path.parent.rglob("*.safetensors")}


def test_cached_equals_uncached(lake, first, profile, model):
    seen = []
    manifest = encode_latents(lake, add_dataset(lake, first), profile, "cpu", lambda *report: seen.append(report[:2]))
    store = LatentStore(lake, manifest)
    assert store.clip_ids == sorted(row["clip_id"] for row in first)
    for row in first:
        frames = torch.from_numpy(read_clip(lake, row["shard_path"], row["key"]).frames)[None]
        assert torch.equal(store.clip(row["clip_id"]), model.encode_video(frames)[0])
        assert torch.equal(store.text(row["caption"]), model.encode_text([row["caption"]])[0])
    assert torch.equal(store.dropped_text(), model.dropped_text()[0])
    assert store.clip(first[0]["clip_id"]).dtype == torch.float32
    assert {name: manifest.meta[name] for name in ("encoded", "reused", "texts_encoded", "texts_reused")} == {
        "encoded": 3,
        "reused": 0,
        "texts_encoded": len(CAPTIONS) + 1,
        "texts_reused": 0,
    }
    assert seen[:4] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_conditioning_can_be_taken_from_cached_latents(lake, first, profile, model):
    store = LatentStore(lake, encode_latents(lake, add_dataset(lake, first), profile))
    frames = torch.from_numpy(read_clip(lake, first[0]["shard_path"], first[0]["key"]).frames)[None]
    assert torch.allclose(store.clip(first[0]["clip_id"])[:, :1], model.encode_video(frames[:, :1])[0], atol=1e-5)


def test_unchanged_dataset_touches_nothing(lake, first, profile):
    version = add_dataset(lake, first)
    made = encode_latents(lake, version, profile)
    before = store_files(made)
    again = encode_latents(lake, version, profile)
    assert again.unchanged and again.data_version == made.data_version
    assert store_files(again) == before


def test_a_new_version_encodes_only_what_is_new(lake, first, profile):
    old = encode_latents(lake, add_dataset(lake, first[:2]), profile)
    before = store_files(old)
    second = add_shard(lake, "second", clips=2, seed=5)
    new = encode_latents(lake, add_dataset(lake, [*first, *second]), profile)
    assert (new.meta["encoded"], new.meta["reused"], new.meta["texts_encoded"]) == (3, 2, 0)
    after = store_files(new)
    assert {name: after[name] for name in before} == before
    store = LatentStore(lake, new)
    assert store.clip_ids == sorted(row["clip_id"] for row in [*first, *second])
    assert all(torch.isfinite(store.clip(name)).all() for name in store.clip_ids)
    assert LatentStore(lake, old).clip_ids == sorted(row["clip_id"] for row in first[:2])
    assert torch.equal(LatentStore(lake, old).clip(first[0]["clip_id"]), store.clip(first[0]["clip_id"]))


def test_a_killed_encoding_goes_on_with_the_shard_it_was_in(lake, first, profile):
    class Killed(BaseException):
        pass

    def kill_in_second_shard(done, total, note):
        if done == 4:
            raise Killed

    version = add_dataset(lake, [*first, *add_shard(lake, "second", clips=3, seed=5)])
    with pytest.raises(Killed):
        encode_latents(lake, version, profile, "cpu", kill_in_second_shard)
    manifest = encode_latents(lake, version, profile)
    assert (manifest.meta["encoded"], manifest.meta["reused"]) == (3, 3)
    fresh = Lake(lake.root.parent / "fresh")
    for name in ("drops", "datasets"):
        shutil.copytree(lake.root / name, fresh.root / name)
    assert encode_latents(fresh, version, profile).data_version == manifest.data_version


def test_damage_is_seen_on_read_and_mended(lake, first, profile):
    version = add_dataset(lake, first)
    manifest = encode_latents(lake, version, profile)
    path = next(path for path in manifest.path.parent.glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WorkFailed, match="differs from its recorded hash"):
        LatentStore(lake, manifest).clip(first[0]["clip_id"])
    path.unlink()
    mended = encode_latents(lake, version, profile)
    assert mended.data_version == manifest.data_version and mended.meta["encoded"] == 3
    LatentStore(lake, mended).clip(first[0]["clip_id"])


def test_a_file_of_another_fingerprint_is_not_taken_for_one_of_ours(lake, first, profile):
    version = add_dataset(lake, first)
    wider = replace(profile, base_model=replace(profile.base_model, dtype="bfloat16"))  # other numbers under the same names
    theirs = encode_latents(lake, version, wider).path.parent
    ours = lake.latents(latents_fingerprint(profile, identify_world_model(profile.base_model, lake.models()), "cpu"))
    shutil.copytree(theirs, ours, ignore=lambda *_: {version})
    with pytest.raises(UserError, match=rf"was encoded under fingerprint {theirs.name} and lies in the store of {ours.name}; remove it and its .json"):
        encode_latents(lake, version, profile)
    for path in ours.rglob("*.safetensors"):
        path.unlink()
        path.with_suffix(".json").unlink()
    assert encode_latents(lake, version, profile).meta["encoded"] == 3


def test_two_windows_of_an_episode_share_one_text_of_the_expected_size(lake, profile, model):
    clips = [row | {"episode_id": "one", "window": number} for number, row in enumerate(add_shard(lake, "windows", clips=4, seed=9))]
    manifest = encode_latents(lake, add_dataset(lake, [row | {"caption": CAPTIONS[0]} for row in clips]), profile)
    store = LatentStore(lake, manifest)
    assert len({store.clip(row["clip_id"]).sum().item() for row in clips}) == 4
    texts = sorted((store.folder / "text").glob("*.safetensors"))
    assert len(texts) == 2, "one caption, and the constant for no text"
    tokens, width = model.dropped_text().shape[1:]
    for path in texts:  # after the projection: at 2B 512 x 1024 in bfloat16 are 1 MB, before it 103 MB
        assert path.stat().st_size == pytest.approx(tokens * width * 4, abs=200)


def test_negative_prompt_is_encoded_with_the_captions(lake, first, profile, model):
    with_negative = replace(profile, generation=replace(profile.generation, negative_prompt="blurry"))
    version = add_dataset(lake, first)
    plain = encode_latents(lake, version, profile)
    with pytest.raises(UserError, match="not among the latents"):
        LatentStore(lake, plain).text("blurry")
    store = LatentStore(lake, encode_latents(lake, version, with_negative))
    assert torch.equal(store.text("blurry"), model.encode_text(["blurry"])[0])


def test_half_precision_store_reads_as_float32(lake, first, profile, model):
    half = replace(profile, base_model=replace(profile.base_model, dtype="bfloat16"))
    manifest = encode_latents(lake, add_dataset(lake, first), half)
    frames = torch.from_numpy(read_clip(lake, first[0]["shard_path"], first[0]["key"]).frames)[None]
    expected = model.encode_video(frames)[0]
    got = LatentStore(lake, manifest).clip(first[0]["clip_id"])
    assert got.dtype == torch.float32 and torch.equal(got, expected.bfloat16().float())


def test_fingerprint_covers_model_geometry_and_precision(profile, lake):
    identity = identify_world_model(profile.base_model, lake.models())
    name = latents_fingerprint(profile, identity, "cpu")
    assert name.startswith(identity.fingerprint)
    bfloat = replace(profile, base_model=replace(profile.base_model, dtype="bfloat16"))
    wider = replace(profile, clip=replace(profile.clip, width=80))
    others = [latents_fingerprint(changed, identity, device) for changed, device in ((wider, "cpu"), (bfloat, "cpu"), (bfloat, "cuda"))]
    assert len({name, *others}) == 4
    assert latents_fingerprint(profile, identity, "cuda:0") == name


def test_bad_input_is_said_in_one_line(lake, first, profile):
    with pytest.raises(UserError, match="dataset version nothing"):
        encode_latents(lake, "nothing", profile)
    wider = replace(profile, clip=replace(profile.clip, width=80))
    with pytest.raises(WorkFailed, match=r"is \(9, 48, 64, 3\), the profile's clips are \(9, 48, 80, 3\)"):
        encode_latents(lake, add_dataset(lake, first), wider)
    store = LatentStore(lake, encode_latents(lake, add_dataset(lake, first), profile))
    with pytest.raises(UserError, match="clip absent is not among the latents"):
        store.clip("absent")


def test_text_files_are_named_by_caption(lake, first, profile):
    manifest = encode_latents(lake, add_dataset(lake, first), profile)
    for caption in CAPTIONS:
        assert (manifest.path.parent / "text" / f"{hashlib.sha256(caption.encode()).hexdigest()}.safetensors").is_file()
