"""Clips with recorded actions as pairs of small frames."""

from dataclasses import dataclass

import numpy as np
import torch

from cosmos_ops.evaluation.inverse_dynamics.reader import small_frames, span_frames
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake
from cosmos_ops.progress import Progress
from cosmos_ops.shards.read import read_clip

MAX_CLIPS = 600
"""Clips read for training; a hash chooses them where there are more."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of frames of several clips and the action between them."""

    frames: torch.Tensor
    """uint8 [N, 3, h, w], the frames of all clips one after another."""
    before: torch.Tensor
    """[P] index of each pair's first frame."""
    after: torch.Tensor
    """[P] index of its second frame."""
    camera: torch.Tensor
    """[P] number of its camera."""
    actions: torch.Tensor
    """float32 [P, A] as recorded at the first frame."""

    def __len__(self) -> int:
        return len(self.before)

    def pictures(self, chosen: torch.Tensor) -> torch.Tensor:
        """Float [B, 2, 3, h, w] in [0, 1] of some pairs [B]."""
        return torch.stack([self.frames[self.before[chosen]], self.frames[self.after[chosen]]], 1).float() / 255


def pairs_of(frames: np.ndarray, actions: np.ndarray, fps: float, camera: int, first: int = 0) -> Pairs:
    """All pairs of a clip whose first frame is `first` or later: uint8 [T, H, W, 3], float32 [T, A]; none where it is too short for one."""
    small, span = small_frames(frames), span_frames(fps)
    before = torch.arange(first, max(first, len(small) - span))
    return Pairs(small, before, before + span, torch.full_like(before, camera), torch.from_numpy(np.asarray(actions, np.float32))[before])


def read_pairs(lake: Lake, rows: list[dict], cameras: list[str], width: int, progress: Progress) -> Pairs | None:
    """Pairs of the clips of a samples table that have `width` finite action channels; None where there is none."""
    chosen = sorted(rows, key=lambda row: digest(["reader", row["clip_id"]]))[:MAX_CLIPS]
    parts = []
    for done, row in enumerate(chosen):
        progress(done, len(chosen), "reading clips")
        clip = read_clip(lake, row["shard_path"], row["key"])
        if clip.actions.shape == (len(clip.frames), width) and np.isfinite(clip.actions).all():
            parts.append(pairs_of(clip.frames, clip.actions, clip.fps, cameras.index(row["camera"])))
    return joined(parts) if any(map(len, parts)) else None


def joined(parts: list[Pairs]) -> Pairs:
    """One after another."""
    starts = np.cumsum([0, *(len(part.frames) for part in parts)])
    return Pairs(
        torch.cat([part.frames for part in parts]),
        torch.cat([part.before + int(start) for part, start in zip(parts, starts, strict=False)]),
        torch.cat([part.after + int(start) for part, start in zip(parts, starts, strict=False)]),
        torch.cat([part.camera for part in parts]),
        torch.cat([part.actions for part in parts]),
    )
