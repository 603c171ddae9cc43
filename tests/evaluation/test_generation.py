"""Generating the evaluation set: who gets which folder, what is the same from run to run, and what an interruption costs."""

import os
import shutil
from dataclasses import fields, replace
from io import BytesIO

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from cosmos_ops.base_models import load_world_model
from cosmos_ops.base_models.latents import LatentStore
from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.evaluation.generate import SCHEMA, generate
from cosmos_ops.evaluation.metrics.psnr_ssim import psnr, ssim
from cosmos_ops.evaluation.samples import Sample, read_samples, read_video, real_frames
from cosmos_ops.evaluation.sampling import VIDEO_CRF, VIDEO_GOP, VIDEO_PRESET, Generation, safe_frames
from cosmos_ops.evaluation.sharing import Work, sample_all, share_of
from cosmos_ops.lake import MANIFEST
from cosmos_ops.shards.dataset import EVALUATION_SCHEMA
from cosmos_ops.shards.decode import decode_clip
from cosmos_ops.video.encode import encode_mp4
from tests.evaluation.conftest import CLIP, CLIPS_EACH, EPISODES, FPS, World
from tests.evaluation.moving import moving_patch, noisy
from tests.evaluation.toy_lake import DATASET, EVALUATION, write_dataset, write_evaluation_set


def fresh(world: World, tmp_path) -> World:
    """The same inputs in a lake in which nothing was generated."""
    root = tmp_path / "lake"
    shutil.copytree(world.lake.root, root, ignore=shutil.ignore_patterns("generations", "scores", "leaderboards"))
    lake = type(world.lake)(root)
    moved = replace(world.latents, path=root / world.latents.path.relative_to(world.lake.root))
    return replace(world, lake=lake, latents=moved, adapter=replace(world.adapter, path=root / world.adapter.path.relative_to(world.lake.root)))


def few(world: World, version: str, count: int) -> None:
    """An evaluation set of the first samples."""
    rows = pq.read_table(world.lake.evaluation_set(EVALUATION) / "samples.parquet").to_pylist()[:count]
    write_evaluation_set(world.lake, version, rows)


def test_every_sample_has_a_whole_video_of_the_clip_and_its_own_fps(world, generated):
    base = generated["base"]
    table = pq.read_table(base.file("videos.parquet"))
    assert table.schema.equals(SCHEMA)
    assert table.num_rows == base.rows == EPISODES * CLIPS_EACH
    for row in table.to_pylist():
        frames = read_video(base.file(row["file"]), CLIP.frames)
        assert frames.shape == (CLIP.frames, CLIP.height, CLIP.width, 3)
        assert base.files[row["file"]] == row["file_sha256"]
        assert row["fps"] == FPS and row["seconds"] > 0
    for name in ("seconds_per_video", "compute_s_per_video_s", "peak_memory_bytes"):
        assert base.meta[name] > 0
    assert base.meta["compute_s_per_video_s"] == pytest.approx(base.meta["seconds_per_video"] * FPS / CLIP.frames)
    assert (base.meta["steps"], base.meta["guidance"], base.meta["guardrail"], base.meta["adapter_key"]) == (2, 1.0, "off", None)
    assert base.file("filmstrip.png").read_bytes().startswith(b"\x89PNG")


def test_the_conditioning_latents_are_the_clips_own(world, generated):
    store = LatentStore(world.lake, world.latents)
    for sample in read_samples(world.lake, EVALUATION):
        made = load_file(generated["base"].file(f"{sample.sample_key}.safetensors"))["latents"]
        real = store.clip(sample.clip_id).numpy()
        assert made.shape == real.shape and made.dtype == np.float32
        np.testing.assert_allclose(made[:, :1], real[:, :1], atol=1e-6)
        assert np.abs(made[:, 1:] - real[:, 1:]).mean() > 0.05


def test_the_adapter_changes_the_videos_and_its_weights_name_the_folder(world, generated):
    base, adapted = generated["base"], generated["lora-r8"]
    assert base.path != adapted.path and base.data_version != adapted.data_version
    assert adapted.meta["adapter_key"] == world.adapter.key
    assert adapted.meta["weights"]["adapter"] == world.adapter.data_version
    # Under another name it is the same work.
    again = generate(world.lake, world.profile, EVALUATION, world.latents, "incumbent", world.adapter, "cpu")
    assert again.unchanged and again.path == adapted.path
    assert world.generate().unchanged


def test_settings_that_change_a_video_make_another_folder_and_the_batch_does_not(world, generated):
    bigger = replace(world, profile=replace(world.profile, generation=replace(world.profile.generation, batch=8)))
    assert bigger.generate().path == generated["base"].path
    few(world, "one", 1)
    longer = replace(world, profile=replace(world.profile, generation=replace(world.profile.generation, steps=3)))
    assert longer.generate(version="one").path != world.generate(version="one").path


def test_the_same_seed_gives_the_same_video_in_any_batch_and_another_seed_another(world, generated):
    row = pq.read_table(world.lake.evaluation_set(EVALUATION) / "samples.parquet").to_pylist()[0]
    both = [row, row | {"seed": 5, "sample_key": f"{row['clip_id']}-5"}]
    write_evaluation_set(world.lake, "seeds", both)
    made = world.generate(version="seeds")
    first, second = (f"{row['sample_key']}.mp4" for row in both)
    # Sampled beside another one here and in a batch of three there: equal up to the rounding of the arithmetic.
    one, other = (read_video(manifest.file(first), CLIP.frames).astype(int) for manifest in (made, generated["base"]))
    assert np.abs(one - other).max() <= 1
    assert np.abs(one - read_video(made.file(second), CLIP.frames)).mean() > 1


def test_a_batch_gives_what_single_samples_give(world):
    model = load_world_model(world.profile.base_model, world.lake.models(), "cpu", parts=("denoiser",))
    store = LatentStore(world.lake, world.latents)
    samples = read_samples(world.lake, EVALUATION)[:2]
    shape = model.latent_shape(CLIP.frames, CLIP.height, CLIP.width)

    def sample(chosen):
        conditioning = torch.stack([store.clip(s.clip_id)[:, :1] for s in chosen])
        text = torch.stack([store.text(s.prompt) for s in chosen])
        return model.sample(conditioning, text, store.dropped_text()[None], [s.seed for s in chosen], shape, 2, 1.0)

    together = sample(samples)
    for place, one in enumerate(samples):
        np.testing.assert_allclose(together[place], sample([one])[0], atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.1


def test_an_interrupted_run_ends_as_an_undisturbed_one(world, tmp_path):
    """What is whole stays untouched, what lost a part is made again, and the outcome has the same version."""
    singly = replace(world, profile=replace(world.profile, generation=replace(world.profile.generation, batch=1)))
    few(world, "few", 3)
    undisturbed = singly.generate(version="few")
    anew = fresh(singly, tmp_path)

    class Stop(Exception):
        pass

    def stop_after_two(done, total, note):
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        anew.generate(version="few", progress=stop_after_two)
    folder = anew.lake.generations(undisturbed.key)
    assert not (folder / MANIFEST).exists()
    whole, lost = sorted(folder.glob("*.mp4"), key=lambda path: path.stat().st_mtime_ns)
    lost.write_bytes(lost.read_bytes()[:-200])  # as a full disk leaves it
    before = os.stat(whole).st_mtime_ns, os.stat(lost).st_mtime_ns
    notes = []
    done = anew.generate(version="few", progress=lambda *step: notes.append(step))
    assert notes[0][:2] == (1, 3) and notes[-1][:2] == (3, 3)
    assert done.meta["generated_now"] == 2
    assert os.stat(whole).st_mtime_ns == before[0] and os.stat(lost).st_mtime_ns != before[1]
    assert done.path != undisturbed.path
    assert done.data_version == undisturbed.data_version


@pytest.mark.slow
def test_two_processes_make_byte_for_byte_what_one_makes(world, generated, tmp_path):
    anew = fresh(world, tmp_path)
    notes = []
    shared = generate(
        anew.lake, anew.profile, EVALUATION, anew.latents, "base", None, ("cpu", "cpu"), progress=lambda done, total, note: notes.append((done, total))
    )
    assert shared.meta["devices"] == 2 and generated["base"].meta["devices"] == 1
    made = {name: sha256 for name, sha256 in shared.files.items() if name.endswith((".mp4", ".safetensors"))}
    assert len(made) == 2 * EPISODES * CLIPS_EACH and made.items() <= generated["base"].files.items()
    assert shared.data_version == generated["base"].data_version and shared.key == generated["base"].key
    assert notes[0] == (0, 8) and notes[-1] == (8, 8) and sorted(notes) == notes


class _Deadly:
    """Ends the process that receives it."""

    def __reduce__(self):
        return os._exit, (3,)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_work_in_one_line(world, tmp_path):
    samples = read_samples(world.lake, EVALUATION)
    work = Work(_Deadly(), world.profile, world.latents, None, tmp_path)
    with pytest.raises(WorkFailed, match="generated on cpu:[01] died .exit code 3; out of memory, or killed.; run again, what is whole is kept"):
        sample_all(work, ("cpu:0", "cpu:1"), samples, len(samples), "base", lambda *step: None)


@pytest.mark.slow
def test_an_expected_failure_in_a_process_is_told_as_itself(world, tmp_path):
    samples, lost = read_samples(world.lake, EVALUATION), replace(world.adapter, path=tmp_path / "nothing")
    work = Work(world.lake, world.profile, world.latents, lost, tmp_path)
    with pytest.raises(UserError, match="nothing"):
        sample_all(work, ("cpu:0", "cpu:1"), samples, len(samples), "lora-r8", lambda *step: None)


def test_every_batch_goes_to_one_process():
    batches = [[number] for number in range(7)]
    shares = [share_of(batches, rank, 3) for rank in range(3)]
    assert sorted(batch for share in shares for batch in share) == batches and [len(share) for share in shares] == [3, 2, 2]


def test_base_is_sampled_once_for_all_recipes_datasets_and_names(world, generated, monkeypatch):
    """What is counted is work: batches that went through the model."""
    batches = []
    one_batch = Generation._batch
    monkeypatch.setattr(Generation, "_batch", lambda self, folder, batch: (batches.append(len(batch)), one_batch(self, folder, batch)))
    write_evaluation_set(world.lake, "shared", [row | {"seed": 3} for row in evaluation_rows(world)[:2]])
    first = world.generate(version="shared")
    assert batches == [2] and not first.unchanged
    for recipe in ("lora-r8", "dora-r8"):
        other = replace(world, profile=replace(world.profile, recipes=(recipe,)), latents=replace(world.latents, data_version=f"later, for {recipe}"))
        again = generate(other.lake, other.profile, "shared", other.latents, "base", None, "cpu")
        assert again.unchanged and again.path == first.path
    assert batches == [2]
    world.generate(world.adapter, version="shared")
    assert batches == [2, 2]


def test_video_to_world_continues_two_latent_frames_and_scores_none_of_what_was_given(world):
    """Two latent frames are five pixel frames; image-to-world is what all other tests of this file do."""
    few(world, "video", 2)
    to_world = replace(world, profile=replace(world.profile, generation=replace(world.profile.generation, conditioning_latent_frames=2)))
    made, from_image = to_world.generate(version="video"), world.generate(version="video")
    assert made.path != from_image.path and made.meta["conditioning_latent_frames"] == 2
    store, samples = LatentStore(world.lake, world.latents), read_samples(world.lake, "video")
    for sample in samples:
        real = store.clip(sample.clip_id).numpy()
        latents = load_file(made.file(f"{sample.sample_key}.safetensors"))["latents"]
        np.testing.assert_allclose(latents[:, :2], real[:, :2], atol=1e-6)
        assert np.abs(latents[:, 2:] - real[:, 2:]).mean() > 0.05
        assert np.abs(load_file(from_image.file(f"{sample.sample_key}.safetensors"))["latents"][:, 1] - real[:, 1]).mean() > 0.05
    scores = pq.read_table(to_world.score(made, version="video").file("scores.parquet")).to_pylist()
    for sample in samples:
        real, video = real_frames(world.lake, sample), read_video(made.file(f"{sample.sample_key}.mp4"), CLIP.frames)
        expected = np.mean([psnr(a, b) for a, b in zip(real[5:], video[5:], strict=True)])
        (found,) = (row["value"] for row in scores if row["sample_key"] == sample.sample_key and row["metric"] == "psnr")
        assert found == pytest.approx(expected) and found != pytest.approx(np.mean([psnr(a, b) for a, b in zip(real[1:], video[1:], strict=True)]))


def evaluation_rows(world: World) -> list[dict]:
    return pq.read_table(world.lake.evaluation_set(EVALUATION) / "samples.parquet").to_pylist()


def test_an_adapter_of_another_base_is_refused(world):
    alien = replace(world.adapter, meta=world.adapter.meta | {"base": {"revision": "0" * 40}})
    with pytest.raises(WorkFailed, match="made for base revision 0000.*train it again"):
        world.generate(alien)


def test_an_adapter_that_saw_an_episode_of_the_evaluation_set_is_refused(world):
    rows = [row | {"split": "train" if row["episode_id"] == "episode2" else "test"} for row in dataset_rows(world)]
    write_dataset(world.lake, rows, "leaky")
    seen = replace(world.adapter, data_version="leaky", meta=world.adapter.meta | {"dataset_version": "leaky"})
    with pytest.raises(WorkFailed, match="trained on 1 of the evaluation set's episodes .episode2.; build"):
        world.generate(seen)


def dataset_rows(world: World) -> list[dict]:
    rows = pq.read_table(world.lake.dataset(DATASET) / "samples.parquet").to_pylist()
    return [{name: value for name, value in row.items() if name != "shard_path"} for row in rows]


def test_a_guardrail_that_refuses_stops_the_work_and_one_that_blurs_is_heard():
    class Checker:
        def __init__(self, text=True, video=True):
            self.text, self.video = text, video

        def check_text_safety(self, prompt):
            return self.text

        def check_video_safety(self, frames):
            return frames // 2 if self.video else None

    frames = np.full((2, 4, 4, 3), 100, np.uint8)
    assert (safe_frames(Checker(), frames, "go", "x") == 50).all()
    with pytest.raises(WorkFailed, match="refuses the prompt of x"):
        safe_frames(Checker(text=False), frames, "go", "x")
    with pytest.raises(WorkFailed, match="refuses the video of x"):
        safe_frames(Checker(video=False), frames, "go", "x")


def test_a_damaged_video_is_named_when_it_is_scored(world, generated, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(generated["base"].path, copied)
    sample = read_samples(world.lake, EVALUATION)[0]
    (copied / f"{sample.sample_key}.mp4").write_bytes(b"not a video")
    with pytest.raises(WorkFailed, match=f"{sample.sample_key}.mp4 cannot be read.*generate again"):
        world.score(replace(generated["base"], path=copied, data_version="damaged"))


def test_storing_a_video_hardly_moves_its_scores():
    """Nearly all of the little that is lost is 4:2:0 colour, whatever the quality: under 1 dB at 30 dB, the same for every contender."""
    real = through_mp4(moving_patch(9, 80, 128, seed=3), crf=18)
    made = noisy(np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in real]), 2)
    scores = {name: [mean(metric, real, video) for metric in (psnr, ssim)] for name, video in (("made", made), ("stored", through_mp4(made, VIDEO_CRF)))}
    assert 25 < scores["made"][0] < 32
    assert scores["stored"] == [pytest.approx(scores["made"][0], abs=1.0), pytest.approx(scores["made"][1], abs=0.005)]
    assert scores["stored"][0] == pytest.approx(mean(psnr, real, through_mp4(made, 0)), abs=0.1)


def through_mp4(video: np.ndarray, crf: int) -> np.ndarray:
    target = BytesIO()
    encode_mp4(video, FPS, target, crf=crf, preset=VIDEO_PRESET, gop=VIDEO_GOP)
    return decode_clip(target.getvalue())


def mean(metric, one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean([metric(a, b) for a, b in zip(one, other, strict=True)]))


def test_real_clips_are_read_from_their_shard(world):
    sample = read_samples(world.lake, EVALUATION)[3]
    frames = real_frames(world.lake, sample)
    assert np.mean([psnr(a, b) for a, b in zip(frames, moving_patch(9, CLIP.height, CLIP.width, (1.1, 1.5), seed=3), strict=True)]) > 28


def test_what_is_read_of_a_sample_is_in_the_evaluation_sets_table():
    assert {field.name for field in fields(Sample)} <= set(EVALUATION_SCHEMA.names)
