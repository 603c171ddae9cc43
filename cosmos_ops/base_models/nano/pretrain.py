"""Train nano's VAE, then its denoiser, and write a pipeline folder with its model card.

    python -m cosmos_ops.base_models.nano.pretrain --data LOG... [--vae-data LOG...] --out DIR --vae-minutes 25 --denoiser-minutes 40

Logs are whatever `ingest` reads. `--vae-data` is seen by the VAE alone, so that adapting the denoiser to it stays honest work. Minutes
are processor time, or clock time with `--device cuda`. The last tenth of each log's recordings is held out of both trainings and
measured. Killed and run again, it goes on from DIR/work; minutes already spent there count. The pipeline is DIR/pipeline.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from cosmos_ops.base_models.cosmos import CosmosPredict25
from cosmos_ops.base_models.nano.build import build_nano, calibrate, synthetic_clips
from cosmos_ops.base_models.nano.pretrain_card import write_card
from cosmos_ops.base_models.nano.pretrain_data import Budget, Recording, read_recordings
from cosmos_ops.base_models.nano.pretrain_denoiser import STRIDE, encode, train_denoiser
from cosmos_ops.base_models.nano.pretrain_vae import as_video, reconstruction_psnr, train_vae
from cosmos_ops.profiles import BaseModelSpec, load_profile
from cosmos_ops.simulate.drops import MARKER

CALIBRATION_CLIPS = 64


def main(arguments: list[str] | None = None) -> None:
    """Read logs, train, write `--out`."""
    options = _options(arguments)
    clip = load_profile("nano").clip
    torch.manual_seed(options.seed)
    shared, vae_only = read_recordings(options.data, clip), read_recordings(options.vae_data, clip)
    train, held_out = _split(shared)
    vae_train, vae_held_out = _split(vae_only)
    drawn = _synthetic(options.synthetic, options.seed, clip.frames, clip.height, clip.width)
    work = options.out / "work"
    facts: dict = {"command": _command(options), "seed": options.seed, "device": options.device, "synthetic_clips": options.synthetic}
    facts |= {"data": _counted(shared), "vae_data": _counted(vae_only), "simulated": _simulated([*options.data, *options.vae_data])}
    facts["vae"] = train_vae([*train, *vae_train, *drawn], work / "vae", _budget(options, options.vae_minutes))
    vae = AutoencoderKLWan.from_pretrained(work / "vae").eval()
    calibrate(vae, torch.cat([as_video(window[None]) for window in _windows([*train, *vae_train], clip.frames, CALIBRATION_CLIPS)]))
    tested = _by_source([*held_out, *vae_held_out])
    facts["vae"]["held_out_psnr_db"] = {source: round(reconstruction_psnr(vae, _windows(own, clip.frames, 8)), 2) for source, own in tested.items()}
    whole = options.out / "pipeline"
    shutil.rmtree(whole, ignore_errors=True)
    build_nano(whole, options.seed)
    vae.save_pretrained(whole / "vae")
    model = CosmosPredict25.load(BaseModelSpec("cosmos-predict2.5", str(whole), dtype="float32"), options.out / "cache", options.device)
    windows = encode(model, [*train, *drawn], clip.frames, work / "train.safetensors")
    held_out_windows = encode(model, held_out, clip.frames, work / "held-out.safetensors")
    facts["denoiser"] = train_denoiser(model, windows, held_out_windows, work / "denoiser", _budget(options, options.denoiser_minutes)) | {"stride": STRIDE}
    with model.original_projection() as transformer:
        # Half the size on disk; float32 again when it is loaded on a CPU.
        transformer.to("cpu", torch.bfloat16).save_pretrained(whole / "transformer")
    write_card(whole, facts)
    print(json.dumps(facts, indent=1))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train nano's VAE and denoiser.")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="log folders both are trained on")
    parser.add_argument("--vae-data", type=Path, nargs="*", default=[], help="log folders only the VAE is trained on")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vae-minutes", type=float, required=True)
    parser.add_argument("--denoiser-minutes", type=float, required=True)
    parser.add_argument("--synthetic", type=int, default=64, help="clips of drifting boxes mixed in")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-factor", type=int, default=1, help="multiplies batch sizes, for an accelerator")
    return parser.parse_args(arguments)


def _budget(options: argparse.Namespace, minutes: float) -> Budget:
    return Budget(minutes, options.device, options.batch_factor, options.seed)


def _split(recordings: list[Recording]) -> tuple[list[Recording], list[Recording]]:
    """Training and held-out recordings: the last tenth of each source, at least one where there are five."""
    train, held_out = [], []
    for own in _by_source(recordings).values():
        kept = len(own) - (max(1, len(own) // 10) if len(own) >= 5 else 0)
        train, held_out = [*train, *own[:kept]], [*held_out, *own[kept:]]
    return train, held_out


def _synthetic(count: int, seed: int, frames: int, height: int, width: int) -> list[Recording]:
    if count == 0:
        return []
    clips = ((synthetic_clips(count, seed + 1, frames, height, width) + 1) * 127.5).round().to(torch.uint8).movedim(1, -1).numpy()
    return [Recording("synthetic", clip, "boxes move") for clip in clips]


def _windows(recordings: list[Recording], frames: int, count: int) -> np.ndarray:
    """At most `count` windows [N, T, H, W, 3] spread over the recordings."""
    windows = [recording.frames[start : start + frames] for recording in recordings for start in range(0, len(recording.frames) - frames + 1, frames)]
    chosen = np.unique(np.linspace(0, len(windows) - 1, min(count, len(windows))).round().astype(int))
    return np.stack([windows[number] for number in chosen])


def _counted(recordings: list[Recording]) -> dict[str, dict[str, int]]:
    return {source: {"recordings": len(own), "frames": sum(len(recording.frames) for recording in own)} for source, own in _by_source(recordings).items()}


def _command(options: argparse.Namespace) -> str:
    """This program's command line, logs by their names alone."""
    words = ["python -m cosmos_ops.base_models.nano.pretrain"]
    for flag, folders in (("--data", options.data), ("--vae-data", options.vae_data)):
        words += [flag, *(folder.name for folder in folders)] if folders else []
    return " ".join([*words, f"--out DIR --vae-minutes {options.vae_minutes:g} --denoiser-minutes {options.denoiser_minutes:g}"])


def _simulated(folders: list[Path]) -> dict[str, str]:
    """The commands that make those logs that `cosmos-ops simulate` made."""
    markers = {folder.name: folder / MARKER for folder in folders if (folder / MARKER).is_file()}
    made = {name: json.loads(marker.read_text()) for name, marker in markers.items()}
    return {
        name: f"cosmos-ops simulate {name} --robot {by['generator']} --episodes {by['episodes']} --seed {by['seed']} --format {by['format']}"
        for name, by in made.items()
    }


def _by_source(recordings: list[Recording]) -> dict[str, list[Recording]]:
    sources = dict.fromkeys(recording.source for recording in recordings)
    return {source: [recording for recording in recordings if recording.source == source] for source in sources}


if __name__ == "__main__":
    main()
