"""Generation of an evaluation set, ours against the reference's way, with the same weights, prompts, first frames, noise and steps.

    python tests/benchmarks/evaluation.py [--quick] [--json] [--profile nano] [--device cpu]

The reference is what diffusers' evaluation script for Cosmos Predict 2.5 does: one sample after another through the pipeline class, the prompt and
the negative prompt encoded for each, the VAE run over all frames of the padded conditioning clip, guidance 7 as two passes a step, PIL frames,
`export_to_video`. Default kernels and threads. It differs in two ways, both in its favour or neutral: noise comes from each sample's seed (the
script uses one noise for all and ignores its seed), and prompts are padded to what the tokenizer allows instead of always 512 tokens.

Ours is `cosmos_ops.evaluation.generate` as a run calls it: batches, conditioning latents and texts from the cache, H.264 by the library, frames
checked, tables and hashes written. Filling the cache (the VAE over whole clips, every text once) is timed and counted against us, though a
run has done it for training already. Loading the weights is left out on both sides and shown apart. Guidance is 7 and the negative prompt the
pipeline's own on both sides. Both sides must give the same number of videos, and the same videos: the lowest PSNR between
their frames, before they are written as video, is printed; below 40 dB the benchmark fails.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from cosmos_ops.base_models import load_world_model
from cosmos_ops.base_models.cosmos import load_pipeline
from cosmos_ops.base_models.latents import encode_latents
from cosmos_ops.evaluation.generate import generate
from cosmos_ops.evaluation.metrics.psnr_ssim import psnr
from cosmos_ops.evaluation.samples import Sample, read_samples, real_frames
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import Profile, load_profile
from tests.evaluation.moving import moving_patch
from tests.evaluation.toy_lake import DATASET, EVALUATION, evaluation_row, write_dataset, write_evaluation_set, write_shard

GUIDANCE = 7.0
LEAST_PSNR_DB = 40.0


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(Path(scratch), load_profile(options.profile), options.device, 4 if options.quick else 8, 1 if options.quick else 2)
    for row in result["rows"]:
        print(f"{row['name']:<52} {row['value']:>10.3f} {row['unit']}")
    print(f"{'generation_vs_reference':<52} {result['ratios']['generation_vs_reference']:>10.2f} x")
    same = next(row["value"] for row in result["rows"] if row["name"] == "lowest PSNR between the two sides' videos")
    if same < LEAST_PSNR_DB:
        print(f"the two sides made different videos: {same:.1f} dB is below {LEAST_PSNR_DB} dB", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(result))
    return 0


def measure(scratch: Path, profile: Profile, device: str, videos: int, rounds: int) -> dict:
    """Time both sides in turns over the same samples."""
    from diffusers.pipelines.cosmos.pipeline_cosmos2_5_predict import DEFAULT_NEGATIVE_PROMPT

    generation = replace(profile.generation, guidance=GUIDANCE, negative_prompt=DEFAULT_NEGATIVE_PROMPT, seeds=(0,), conditioning_latent_frames=1)
    profile = replace(profile, generation=generation)
    lake = Lake(scratch / "lake")
    clip = profile.clip
    rows = write_shard(
        lake, videos, 1, clip.max_fps, lambda episode, window: (moving_patch(clip.frames, clip.height, clip.width, seed=episode), np.zeros((clip.frames, 0)))
    )
    write_dataset(lake, rows)
    write_evaluation_set(lake, EVALUATION, [evaluation_row(row, seed) for seed, row in enumerate(rows)])
    write_evaluation_set(lake, "warm", [evaluation_row(rows[0], seed=99)])
    samples = read_samples(lake, EVALUATION)

    started = time.perf_counter()
    pipe = load_pipeline(profile.base_model, lake.models(), device)
    pipe.set_progress_bar_config(disable=True)
    reference_load_s = time.perf_counter() - started
    tokens = min(512, pipe.tokenizer.model_max_length)
    encode_latents(lake, DATASET, profile, device)  # both sides run once before the clock starts
    reference(pipe, lake, read_samples(lake, "warm"), profile, tokens, scratch / "warm")
    ours(lake, profile, device, "warm")

    reference_s, ours_s, loads_s, stages = [], [], [], []
    for turn in range(rounds):
        for side in ("reference", "ours") if turn % 2 == 0 else ("ours", "reference"):
            if side == "reference":
                reference_s.append(reference(pipe, lake, samples, profile, tokens, scratch / "reference"))
            else:
                shutil.rmtree(lake.root / "latents")
                shutil.rmtree(lake.root / "generations")
                seconds, load_s, manifest, cache_s = ours(lake, profile, device, EVALUATION)
                ours_s.append(seconds)
                loads_s.append(load_s)
                stages.append(manifest.meta["stage_seconds"] | {"cache_s": cache_s})
    vae = load_world_model(profile.base_model, lake.models(), device, ("vae",))
    apart = [_apart(vae, manifest.file(f"{sample.sample_key}.safetensors"), scratch / "reference" / f"{sample.sample_key}.npy") for sample in samples]
    assert len(list((scratch / "reference").glob("*.mp4"))) == len(list(manifest.path.glob("*.mp4"))) == videos
    rates = {"ours": videos * rounds / sum(ours_s), "reference": videos * rounds / sum(reference_s)}
    mean_stage = {name: float(np.mean([stage[name] for stage in stages])) / videos for name in ("cache_s", "sample_s", "decode_s", "encode_s")}
    table = [
        ("ours", rates["ours"], "videos/s"),
        ("reference", rates["reference"], "videos/s"),
        ("ours, filling the cache", mean_stage["cache_s"], "s/video"),
        ("ours, sampling", mean_stage["sample_s"], "s/video"),
        ("ours, decoding", mean_stage["decode_s"], "s/video"),
        ("ours, writing H.264", mean_stage["encode_s"], "s/video"),
        ("not counted: ours, loading", float(np.mean(loads_s)), "s"),
        ("not counted: reference, loading", reference_load_s, "s"),
        ("videos a side and round", videos, ""),
        ("steps", generation.steps, ""),
        ("batch of ours", generation.batch, ""),
        ("lowest PSNR between the two sides' videos", min(apart), "dB"),
    ]
    return {
        "machine": {"cpu": platform.processor() or platform.machine(), "cpus": os.cpu_count(), "threads": torch.get_num_threads(), "device": device},
        "profile": profile.name,
        "rows": [{"name": name, "value": value, "unit": unit} for name, value, unit in table],
        "ratios": {"generation_vs_reference": rates["ours"] / rates["reference"]},
    }


def reference(pipe, lake: Lake, samples: list[Sample], profile: Profile, tokens: int, folder: Path) -> float:
    """Seconds for the pipeline to make every sample's video, one by one; frames are kept beside the videos, off the clock."""
    from diffusers.utils import export_to_video

    folder.mkdir(exist_ok=True)
    clip, generation = profile.clip, profile.generation
    images = [Image.fromarray(real_frames(lake, sample)[0]) for sample in samples]
    every, side = pipe.vae_scale_factor_temporal, pipe.vae_scale_factor_spatial
    shape = (pipe.transformer.config.in_channels - 1, (clip.frames - 1) // every + 1, clip.height // side, clip.width // side)
    seconds = 0.0
    for sample, image in zip(samples, images, strict=True):
        started = time.perf_counter()
        noise = torch.randn((1, *shape), generator=torch.Generator().manual_seed(sample.seed)).to(pipe.device)
        frames = pipe(
            image=image,
            prompt=sample.prompt,
            negative_prompt=generation.negative_prompt,
            num_frames=clip.frames,
            height=clip.height,
            width=clip.width,
            num_inference_steps=generation.steps,
            guidance_scale=generation.guidance,
            latents=noise,
            max_sequence_length=tokens,
        ).frames[0]
        export_to_video(frames, str(folder / f"{sample.sample_key}.mp4"), fps=round(sample.fps))
        seconds += time.perf_counter() - started
        np.save(folder / f"{sample.sample_key}.npy", np.stack([np.asarray(frame) for frame in frames]))
    return seconds


def ours(lake: Lake, profile: Profile, device: str, version: str) -> tuple:
    """Seconds for the cache and the videos without loading weights, seconds of loading, what was made, and seconds for the cache."""
    started = time.perf_counter()
    latents = encode_latents(lake, DATASET, profile, device)
    encoded = time.perf_counter()
    manifest = generate(lake, profile, version, latents, "base", None, device)
    finished = time.perf_counter()
    load_s = manifest.meta["stage_seconds"]["load_s"]
    cache_s = encoded - started - latents.meta["load_s"]
    return cache_s + finished - encoded - load_s, load_s + encoded - started - cache_s, manifest, cache_s


def _apart(vae, latents: Path, frames: Path) -> float:
    """PSNR between both sides' frames before they were written as video; the first frame is given and left out."""
    video = vae.decode_latents(load_file(latents)["latents"][None])[0].numpy()
    return float(np.mean([psnr(one, other) for one, other in zip(video[1:], np.load(frames)[1:], strict=True)]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer videos, one round")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
