"""Training the reader on the clips that adapters are trained on, and telling how well it reads those nobody trained on."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from cosmos_ops.evaluation.inverse_dynamics.clips import Pairs, read_pairs
from cosmos_ops.evaluation.inverse_dynamics.fit import SCHEDULE, Schedule, fit_reader
from cosmos_ops.hashing import digest, file_sha256
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, require_manifest, write_json
from cosmos_ops.progress import Progress, silent
from cosmos_ops.shards.dataset import read_samples
from cosmos_ops.shards.read import read_clip
from cosmos_ops.shards.splits import TRAIN, VALIDATION

CODE_VERSION = "1"
WEIGHTS, SETTINGS = "reader.safetensors", "reader.json"
MIN_SKILL = 0.2
"""Share of an action channel's variance on validation clips that must be read for the channel to count."""


def train_inverse_dynamics(lake: Lake, dataset_version: str, schedule: Schedule = SCHEDULE, progress: Progress = silent) -> Manifest:
    """Train on a dataset version's training clips, on the CPU, and measure on its validation clips.

    `meta`: `skill`, the share of the recorded actions' variance that is read on validation clips (over the channels that are read at all),
    `channel_skill` by channel, `read` (channels that reach `MIN_SKILL`), clip counts, and `absence`: null, or why the reader is of no use here: no
    telemetry, no validation clip, nothing read. Weights are written only where it is of use. Raises `UserError` for an unknown dataset version.
    """
    dataset = require_manifest(lake.dataset(dataset_version), f"dataset version {dataset_version}", "build the dataset first")
    key = digest([CODE_VERSION, dataset.data_version, asdict(schedule), torch.__version__])

    def write(folder: Path) -> Output:
        rows = read_samples(lake, dataset_version).to_pylist()
        cameras = sorted({row["camera"] for row in rows if row["split"] == TRAIN})
        train, validation, absence = _pairs(lake, rows, cameras, progress)
        meta: dict[str, Any] = {"dataset_version": dataset_version, "cameras": cameras, "absence": absence, "skill": None, "read": [], "channel_skill": []}
        if absence is None:
            fitted = fit_reader(train, len(cameras), schedule, progress)
            skill = fitted.channel_skill(validation)
            read = [channel for channel, value in enumerate(skill) if value >= MIN_SKILL]
            meta |= {"channel_skill": [round(float(value), 4) for value in skill], "read": read, "pairs": len(train), "validation_pairs": len(validation)}
            if read:
                meta["skill"] = round(float(np.mean(skill[read])), 4)
                save_file(fitted.reader.state_dict(), folder / WEIGHTS)
                spread = torch.where(fitted.std.isinf(), 1.0, fitted.std)  # of channels that stand still; they are not read
                write_json(folder / SETTINGS, {"cameras": cameras, "mean": fitted.mean.tolist(), "std": spread.tolist(), "read": read})
            else:
                best = f"best channel {max(skill):.2f}" if len(skill) else "no channel varies"
                meta["absence"] = f"the inverse dynamics model reads no action channel of the validation clips ({best}, {MIN_SKILL} is needed)"
        version = file_sha256(folder / WEIGHTS)[:16] if meta["absence"] is None else digest(meta["absence"])
        return Output(version, 1, meta)

    return build_folder(lake.inverse_dynamics(key), "inverse_dynamics", key, write)


def _pairs(lake: Lake, rows: list[dict], cameras: list[str], progress: Progress) -> tuple[Pairs | None, Pairs | None, str | None]:
    """Training and validation pairs, or the reason why there are none."""
    train = [row for row in rows if row["split"] == TRAIN]
    validation = [row for row in rows if row["split"] == VALIDATION and row["camera"] in cameras]
    if not train or not validation:
        return None, None, "the dataset has no validation clips to test an inverse dynamics model on"
    # One drop may have recorded other channels than the next; what most of a few clips have is what is read.
    widths = Counter(read_clip(lake, row["shard_path"], row["key"]).actions.shape[1] for row in _spread_over_drops(train))
    width = widths.most_common(1)[0][0]
    if width == 0:
        return None, None, "the clips have no recorded actions to train an inverse dynamics model on"
    made = [read_pairs(lake, part, cameras, width, progress) for part in (train, validation)]
    if None in made:
        return None, None, f"too few clips are long enough and have {width} finite action channels to train an inverse dynamics model on"
    return made[0], made[1], None


def _spread_over_drops(rows: list[dict]) -> list[dict]:
    first: dict[str, dict] = {}
    for row in rows:
        first.setdefault(row["drop"], row)
    return list(first.values())
