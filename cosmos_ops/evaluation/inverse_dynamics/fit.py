"""Fitting the reader to pairs of frames, and what it then reads."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cosmos_ops.evaluation.inverse_dynamics.clips import Pairs
from cosmos_ops.evaluation.inverse_dynamics.reader import ActionReader, blurred_and_noisy
from cosmos_ops.progress import Progress, silent

_STILL = 1e-4
"""A channel whose standard deviation is below this part of its size carries nothing to read."""


@dataclass(frozen=True)
class Schedule:
    """How long and how."""

    steps: int = 400
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    seed: int = 0


SCHEDULE = Schedule()


@dataclass(frozen=True, eq=False)
class Fitted:
    """A reader with the statistics of the actions it was trained on, [A] each; the spread of a channel that stands still is infinite."""

    reader: ActionReader
    mean: torch.Tensor
    std: torch.Tensor

    @torch.no_grad()
    def read(self, pairs: Pairs, batch: int = 256) -> torch.Tensor:
        """Actions [P, A] in standard deviations from the mean."""
        self.reader.eval()
        parts = []
        for chosen in torch.arange(len(pairs)).split(batch):
            before, after = pairs.pictures(chosen).unbind(1)
            parts.append(self.reader(before, after, pairs.camera[chosen]))
        return torch.cat(parts)

    def recorded(self, pairs: Pairs) -> torch.Tensor:
        """The pairs' own actions on the same scale."""
        return (pairs.actions - self.mean) / self.std

    def error(self, pairs: Pairs, channels: list[int], guess: bool = False) -> float:
        """Root mean square over pairs and channels of what is read against what was recorded; `guess` says the mean instead of looking."""
        wanted = self.recorded(pairs)
        said = torch.zeros_like(wanted) if guess else self.read(pairs)
        return float((said - wanted)[:, channels].square().mean().sqrt())

    def channel_skill(self, pairs: Pairs) -> np.ndarray:
        """1 - squared error over that of always saying the training mean, for each channel [A]; 0 where a channel does not vary."""
        wanted = self.recorded(pairs)
        error = (self.read(pairs) - wanted).square().mean(0).numpy()
        guess = wanted.square().mean(0).numpy()
        return np.where(guess > 0, 1 - error / np.where(guess > 0, guess, 1), 0.0)


def fit_reader(pairs: Pairs, cameras: int, schedule: Schedule = SCHEDULE, progress: Progress = silent) -> Fitted:
    """Train on the CPU; equal pairs and schedule give an equal reader on one machine."""
    mean, std = pairs.actions.mean(0), pairs.actions.std(0)
    std = torch.where(std > _STILL * mean.abs().clamp(min=1.0), std, torch.inf)
    generator = torch.Generator().manual_seed(schedule.seed)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(schedule.seed)
        reader = ActionReader(cameras, pairs.actions.shape[1]).train()
        optimizer = torch.optim.AdamW(reader.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.learning_rate, total_steps=schedule.steps, pct_start=0.1)
        for step in range(schedule.steps):
            chosen = torch.randint(len(pairs), (schedule.batch,), generator=generator)
            before, after = blurred_and_noisy(pairs.pictures(chosen), generator).unbind(1)
            loss = nn.functional.mse_loss(reader(before, after, pairs.camera[chosen]), (pairs.actions[chosen] - mean) / std)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rate.step()
            progress(step + 1, schedule.steps, "inverse dynamics")
    return Fitted(reader, mean, std)
