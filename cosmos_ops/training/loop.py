"""The training loop, for any `WorldModel`. One step is one optimizer update.

Nothing in it knows Cosmos, Dagster or where progress is shown. Several processes walk one order of samples together, so no two draw the
same noise; what they must agree on (a stop, a bad loss, what validation said) goes through `Processes`.
"""

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cosmos_ops.base_models import WorldModel
from cosmos_ops.errors import WorkFailed
from cosmos_ops.lake import write_json
from cosmos_ops.recipes import Recipe
from cosmos_ops.store import notes
from cosmos_ops.training.adapters import attach_adapter, compute_in_half
from cosmos_ops.training.average import WeightAverage
from cosmos_ops.training.checkpoint import FOLDER, State, load_best, load_state, save_best, save_state
from cosmos_ops.training.data import Latents, Order, ReadAhead, Samples, load_batch, share
from cosmos_ops.training.guards import (
    check_finite,
    check_gradients,
    check_moved,
    check_spikes,
    check_starts_from_base,
    is_spike,
    remember,
    reproducible,
)
from cosmos_ops.training.journal import LOG, Journal, NoJournal
from cosmos_ops.training.kernels import DEFAULT, attention, fastest_attention
from cosmos_ops.training.memory import MemorySettings
from cosmos_ops.training.objective import derived_seed, draw, sample_losses
from cosmos_ops.training.processes import Processes
from cosmos_ops.training.recompute import set_recompute
from cosmos_ops.training.schedule import learning_rate, make_optimizer, set_learning_rate
from cosmos_ops.training.validation import Validation

_SMOOTHING = 20
"""Updates that a reported loss is averaged over."""
_UNTRAINED = 0.95
"""A base model whose loss is above this fraction of what predicting nothing scores has learned nothing of these clips."""


@dataclass(frozen=True)
class Report:
    """How far training is; sent after every update."""

    step: int
    steps: int
    loss: float | None
    """Mean of the last updates; None before the first."""
    validation_loss: float | None
    """The latest; None without validation clips."""
    samples_per_s: float | None
    """Of updates alone, by all processes; None before the first."""
    eta_s: float | None
    """Seconds left at the pace so far, validation included."""


class Interrupted(Exception):
    """Training was asked to stop; its state is saved and the same command continues it."""


class Trainer:
    """One adapter on one model: attaches it, continues from the last checkpoint and trains to the end."""

    def __init__(
        self,
        model: WorldModel,
        latents: Latents,
        samples: Samples,
        recipe: Recipe,
        folder: Path,
        memory: MemorySettings | None = None,
        processes: Processes = Processes(),  # noqa: B008
    ):
        self.model, self.latents, self.samples, self.recipe = model, latents, samples, recipe
        self.processes = processes
        self.folder = folder
        self.checkpoints = folder / FOLDER
        policy = "full" if recipe.gradient_checkpointing else "none"
        self.memory = memory or MemorySettings(policy, "none", recipe.batch_size, recipe.gradient_accumulation)
        set_recompute(model.denoiser, self.memory.activation_checkpointing, self.memory.offload)
        self.parameters = attach_adapter(model.denoiser, recipe, recipe.targets or model.lora_targets)
        compute_in_half(model.denoiser)
        self.average = None if recipe.ema_decay is None else WeightAverage(self.parameters, recipe.ema_decay)
        self.optimizer = make_optimizer(recipe, self.parameters.values())
        self.order = Order(len(samples.train), recipe.seed)
        self.validation = Validation(model, latents, samples.validation, recipe)
        self.dropped_text = latents.dropped_text().to(model.device)
        self.attention = DEFAULT
        """The attention kernel that is used, one of `kernels.KERNELS` where that is not torch's choice."""
        self.latent_shape = tuple(latents.clip(samples.train[0].clip_id).shape)

    def train(self, report: Callable[[Report], None], stop: Callable[[], bool]) -> State:
        """Train to the recipe's last step, leave the best weights in the first process's model and return the final state.

        With an average of the weights, it is the average that is validated and kept. Weights are the best by validation loss, the last where
        there is nothing to validate on.
        Raises `Interrupted` after saving when `stop()` becomes true, `WorkFailed` when a guard fails.
        """
        with reproducible(self.model.device), torch.random.fork_rng(devices=[]), torch.enable_grad(), self._fast_attention():
            damage: list[str] = []
            saved = load_state(self.checkpoints, self.parameters, self.optimizer, self.average and self.average.tensors, damage.append)
            self.state = saved or State()
            self._started, self._seconds_before = time.monotonic(), self.state.seconds
            self._saved_at = time.monotonic()
            self.reader = ReadAhead(self.latents, self.samples.train, self.order, recipe=self.recipe, shape=self.latent_shape)
            self.journal = Journal(self.folder, saved and saved.step) if self.processes.first else NoJournal()
            try:
                for message in damage:
                    self._warn(message)
                self._loop(report, stop, fresh=saved is None)
            finally:
                self.reader.close()
                self.journal.close()
        self.model.denoiser.eval()
        if self.processes.first and self.state.best_step is not None:
            load_best(self.checkpoints, self.state.best_step, self.parameters)
        elif self.average is not None:
            self.average.keep()
        return replace(self.state, seconds=self._seconds())

    def _fast_attention(self) -> contextlib.AbstractContextManager:
        """On a GPU, whichever attention kernel makes a batch fastest; a CPU has one."""
        if self.model.device.type != "cuda":
            return contextlib.nullcontext()
        batch = load_batch(self.latents, self.samples.train, self.order, share(0, 0, self.memory.batch_size), self.model.device)
        drawn = draw(self.recipe, batch.positions, self.latent_shape).to(self.model.device)
        self.model.denoiser.train()
        self.attention, _ = fastest_attention(
            lambda: sample_losses(self.model, batch.clean, batch.text, self.dropped_text, drawn).mean().backward(), self.model.device
        )
        self.optimizer.zero_grad(set_to_none=True)
        return attention(self.attention)

    def _loop(self, report: Callable[[Report], None], stop: Callable[[], bool], fresh: bool) -> None:
        recipe, losses, first = self.recipe, deque(maxlen=_SMOOTHING), self.state
        self.model.denoiser.train()
        if fresh:
            self._begin()
        report(self._report(losses, first))
        while self.state.step < recipe.steps and not self._exhausted():
            if self.processes.total([float(stop())], self.model.device)[0]:
                self._save()
                raise Interrupted(f"stopped at step {self.state.step} of {recipe.steps}, saved; the same command continues")
            losses.append(self._update())
            done = self.state.step
            if not self.validation.empty and (done % recipe.validate_every == 0 or done == recipe.steps):
                self._validate()
            if time.monotonic() - self._saved_at >= recipe.checkpoint_minutes * 60:
                self._save()
            report(self._report(losses, first))
        # Whoever asks for the finished adapter next may be killed too.
        self._save()

    def _begin(self) -> None:
        """Before the first update: is the adapter the identity, and does the base model know anything?"""
        batch = load_batch(self.latents, self.samples.train, self.order, share(0, 0, self.memory.batch_size), self.model.device)
        self.model.denoiser.eval()
        check_starts_from_base(self.model, batch, draw(self.recipe, batch.positions, self.latent_shape).to(self.model.device))
        self.model.denoiser.train()
        looked_at = self.validation
        if looked_at.empty:
            self._warn("the dataset has no validation clips: the last weights are kept, not the best")
            looked_at = Validation(self.model, self.latents, self.samples.train[: self.recipe.validation_clips], self.recipe)
        else:
            self._validate()
        if self.processes.first:
            loss = looked_at.loss().mean if self.validation.empty else self.state.start_loss
            nothing = looked_at.loss_of_nothing()
            if loss >= _UNTRAINED * nothing:
                self._warn(f"the base model's loss is {loss:.3g} before training and predicting nothing scores {nothing:.3g}: is it untrained?")

    def _update(self) -> float:
        """One optimizer update over this process's share of samples; returns the mean loss."""
        recipe, state, begun = self.recipe, self.state, time.monotonic()
        # Adapter dropout is the only thing that draws from torch's own generator.
        torch.manual_seed(derived_seed("update", recipe.seed, state.step, self.processes.rank))
        mean, clip_ids = self._backward()
        self.processes.average_gradients(self.parameters.values())
        norm = float(torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), recipe.clip_norm))
        self._check(norm, "the gradient norm", clip_ids)
        if state.step == 0:
            check_gradients(self.parameters)
        rate = learning_rate(recipe, state.step)
        if is_spike(norm, state.recent_norms, recipe.spike_factor):
            state = replace(state, skipped=state.skipped + 1, skipped_in_a_row=state.skipped_in_a_row + 1)
            check_spikes(state.skipped_in_a_row, state.step + 1, clip_ids)
            self._warn(f"update {state.step + 1} was skipped: gradient norm {norm:.3g} with clips {', '.join(clip_ids)}")
        else:
            set_learning_rate(self.optimizer, rate)
            self.optimizer.step()
            state = replace(state, recent_norms=remember(state.recent_norms, norm), skipped_in_a_row=0)
        self.optimizer.zero_grad(set_to_none=True)
        if state.step == 0:
            check_moved(self.parameters)
        if self.average is not None:
            self.average.update(state.step + 1)
        position = state.position + self.memory.batch_size * self.memory.gradient_accumulation * self.processes.world
        seconds = time.monotonic() - begun
        self.state = replace(state, step=state.step + 1, position=position, step_seconds=state.step_seconds + seconds)
        epoch = round(position / self.order.count, 4)
        self.journal.write(self.state.step, loss=mean, learning_rate=rate, gradient_norm=norm, epoch=epoch, seconds=round(self._seconds(), 3))
        return mean

    def _backward(self) -> tuple[float, tuple[str, ...]]:
        """Forward and backward passes of this process's share; the mean loss over all processes and the clips of this one."""
        recipe, size, batches = self.recipe, self.memory.batch_size, self.memory.gradient_accumulation
        total, clip_ids = 0.0, ()
        for number in range(batches):
            # Numbers run on: the batch after this update's last is the next update's first.
            positions, following = (share(self.state.position, at, size, self.processes.rank, self.processes.world) for at in (number, number + 1))
            last = number + 1 == batches and self.state.step + 1 >= recipe.steps
            batch, drawn = self.reader.take(positions, None if last else following)
            batch, drawn = batch.to(self.model.device), drawn.to(self.model.device)
            loss = sample_losses(self.model, batch.clean, batch.text, self.dropped_text, drawn).mean()
            (loss / batches).backward()
            total += loss.item() / batches
            clip_ids += batch.clip_ids
        self._check(total, "the loss", clip_ids)
        return self.processes.total([total], self.model.device)[0] / self.processes.world, clip_ids

    def _check(self, value: float, what: str, clip_ids: tuple[str, ...]) -> None:
        """Stop all processes when a number of one is not finite; that one says which clips it had."""
        bad = not math.isfinite(value)
        anywhere = self.processes.total([float(bad)], self.model.device)[0]
        if bad:
            step = self.state.step + 1
            write_json(self.folder / f"bad-batch-{self.processes.rank}.json", {"step": step, "what": what, "value": str(value), "clip_ids": clip_ids})
            check_finite(value, what, clip_ids, step)
        if anywhere:
            raise WorkFailed(f"another process stopped at step {self.state.step + 1}: {what} is not finite there; see its message")

    def _validate(self) -> None:
        result = None
        if self.processes.first:
            with self.average.in_place() if self.average is not None else contextlib.nullcontext():
                result = self.validation.loss()
                check_finite(result.mean, "the validation loss", tuple(sample.clip_id for sample in self.samples.validation), self.state.step)
                if self.state.step and (self.state.best_loss is None or result.mean < self.state.best_loss):
                    save_best(self.checkpoints, self.state.step, self.parameters)
        result = self.processes.from_first(result)
        self.journal.write(self.state.step, validation_loss=result.mean, by_sigma=result.by_sigma, seconds=round(self._seconds(), 3))
        self.state = replace(self.state, validation_loss=result.mean)
        if self.state.step == 0:
            self.state = replace(self.state, start_loss=result.mean)
        elif self.state.best_loss is None or result.mean < self.state.best_loss:
            self.state = replace(self.state, best_loss=result.mean, best_step=self.state.step, worse=0)
            self._save()
        else:
            self.state = replace(self.state, worse=self.state.worse + 1)

    def _save(self) -> None:
        self.state = replace(self.state, seconds=self._seconds())
        if self.processes.first:
            save_state(self.checkpoints, self.state, self.parameters, self.optimizer, self.average and self.average.tensors, self.recipe.checkpoints_kept)
            self._mirror()
        self._saved_at = time.monotonic()

    def _mirror(self) -> None:
        """With an upstream: checkpoints and log for another machine to go on from. Training does not wait for a store that is away: the next one goes too."""
        try:
            notes.mirror(self.checkpoints)
            notes.share(self.folder / LOG)
        except WorkFailed as error:
            self._warn(f"this checkpoint is only on this machine: {error}")

    def _exhausted(self) -> bool:
        return self.recipe.patience is not None and self.state.worse >= self.recipe.patience

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _warn(self, message: str) -> None:
        self.journal.write(self.state.step, warning=message)

    def _report(self, losses: deque, first: State) -> Report:
        state, pace, left = self.state, None, None
        if state.step > first.step:
            pace = (state.position - first.position) / (state.step_seconds - first.step_seconds)
            left = (self.recipe.steps - state.step) * (time.monotonic() - self._started) / (state.step - first.step)
        loss = sum(losses) / len(losses) if losses else None
        return Report(state.step, self.recipe.steps, loss, state.validation_loss, pace, left)
