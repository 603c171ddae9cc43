"""The training loop, for any `WorldModel`. One step is one optimizer update.

Nothing in it knows Cosmos, Dagster or where progress is shown. `rank` and `world` are this process's number and how many there are:
together the processes walk one order of samples, so no two draw the same noise.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cosmos_ops.base_models import WorldModel
from cosmos_ops.errors import UserError
from cosmos_ops.recipes import Recipe
from cosmos_ops.training.adapters import attach_adapter
from cosmos_ops.training.checkpoint import FOLDER, State, load_best, load_state, save_best, save_state
from cosmos_ops.training.data import Latents, Order, Samples, load_batch, share
from cosmos_ops.training.guards import check_finite, check_gradients, check_starts_from_base, reproducible
from cosmos_ops.training.journal import Journal
from cosmos_ops.training.objective import derived_seed, draw, sample_losses
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
    """Of updates alone, in this process; None before the first."""
    eta_s: float | None
    """Seconds left at the pace so far, validation included."""


class Interrupted(Exception):
    """Training was asked to stop; its state is saved and the same command continues it."""


class Trainer:
    """One adapter on one model: attaches it, continues from the last checkpoint and trains to the end."""

    def __init__(self, model: WorldModel, latents: Latents, samples: Samples, recipe: Recipe, folder: Path, rank: int = 0, world: int = 1):
        self.model, self.latents, self.samples, self.recipe = model, latents, samples, recipe
        self.rank, self.world = rank, world
        self.folder = folder
        self.checkpoints = folder / FOLDER
        if recipe.gradient_checkpointing:
            if not hasattr(model.denoiser, "enable_gradient_checkpointing"):
                raise UserError(f"recipe {recipe.name}: the base model has no gradient checkpointing; leave gradient_checkpointing out")
            model.denoiser.enable_gradient_checkpointing()
        self.parameters = attach_adapter(model.denoiser, recipe, recipe.targets or model.lora_targets)
        self.optimizer = make_optimizer(recipe, self.parameters.values())
        self.order = Order(len(samples.train), recipe.seed)
        self.validation = Validation(model, latents, samples.validation, recipe)
        self.dropped_text = latents.dropped_text().to(model.device)
        self.latent_shape = tuple(latents.clip(samples.train[0].clip_id).shape)

    def train(self, report: Callable[[Report], None], stop: Callable[[], bool]) -> State:
        """Train to the recipe's last step, leave the best weights in the model and return the final state.

        Weights are the best by validation loss, the last where there is nothing to validate on.
        Raises `Interrupted` after saving when `stop()` becomes true, `WorkFailed` when a guard fails.
        """
        with reproducible(self.model.device), torch.random.fork_rng(devices=[]), torch.enable_grad():
            saved = load_state(self.checkpoints, self.parameters, self.optimizer)
            self.state = saved or State()
            self._started, self._seconds_before = time.monotonic(), self.state.seconds
            self._saved_at = time.monotonic()
            self.journal = Journal(self.folder, saved and saved.step)
            try:
                self._loop(report, stop, fresh=saved is None)
            finally:
                self.journal.close()
        self.model.denoiser.eval()
        if self.state.best_step is not None:
            load_best(self.checkpoints, self.state.best_step, self.parameters)
        return replace(self.state, seconds=self._seconds())

    def _loop(self, report: Callable[[Report], None], stop: Callable[[], bool], fresh: bool) -> None:
        recipe, losses, first = self.recipe, deque(maxlen=_SMOOTHING), self.state
        self.model.denoiser.train()
        if fresh:
            self._begin()
        report(self._report(losses, first))
        while self.state.step < recipe.steps and not self._exhausted():
            if stop():
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
        batch = load_batch(self.latents, self.samples.train, self.order, share(0, 0, self.recipe.batch_size), self.model.device)
        self.model.denoiser.eval()
        check_starts_from_base(self.model, batch, draw(self.recipe, batch.positions, self.latent_shape).to(self.model.device))
        self.model.denoiser.train()
        if self.validation.empty:
            self._warn("the dataset has no validation clips: the last weights are kept, not the best")
            return
        self._validate()
        nothing = self.validation.loss_of_nothing()
        if self.state.start_loss >= _UNTRAINED * nothing:
            self._warn(f"the base model's validation loss is {self.state.start_loss:.3g} and predicting nothing scores {nothing:.3g}: is it untrained?")

    def _update(self) -> float:
        """One optimizer update over this process's share of samples; returns the mean loss."""
        recipe, state, begun = self.recipe, self.state, time.monotonic()
        # Adapter dropout is the only thing that draws from torch's own generator.
        torch.manual_seed(derived_seed("update", recipe.seed, state.step, self.rank))
        total, clip_ids = 0.0, ()
        for number in range(recipe.gradient_accumulation):
            positions = share(state.position, number, recipe.batch_size, self.rank, self.world)
            batch = load_batch(self.latents, self.samples.train, self.order, positions, self.model.device)
            drawn = draw(recipe, positions, self.latent_shape).to(self.model.device)
            loss = sample_losses(self.model, batch.clean, batch.text, self.dropped_text, drawn).mean()
            value = loss.item()
            check_finite(value, "the loss", batch.clip_ids, state.step + 1)
            (loss / recipe.gradient_accumulation).backward()
            total += value / recipe.gradient_accumulation
            clip_ids += batch.clip_ids
        norm = float(torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), recipe.clip_norm))
        check_finite(norm, "the gradient norm", clip_ids, state.step + 1)
        if state.step == 0:
            check_gradients(self.parameters)
        rate = learning_rate(recipe, state.step)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        position = state.position + recipe.batch_size * recipe.gradient_accumulation * self.world
        seconds = time.monotonic() - begun
        self.state = replace(state, step=state.step + 1, position=position, step_seconds=state.step_seconds + seconds)
        epoch = round(position / self.order.count, 4)
        self.journal.write(self.state.step, loss=total, learning_rate=rate, gradient_norm=norm, epoch=epoch, seconds=round(self._seconds(), 3))
        return total

    def _validate(self) -> None:
        result = self.validation.loss()
        check_finite(result.mean, "the validation loss", tuple(sample.clip_id for sample in self.samples.validation), self.state.step)
        self.journal.write(self.state.step, validation_loss=result.mean, by_sigma=result.by_sigma, seconds=round(self._seconds(), 3))
        self.state = replace(self.state, validation_loss=result.mean)
        if self.state.step == 0:
            self.state = replace(self.state, start_loss=result.mean)
        elif self.state.best_loss is None or result.mean < self.state.best_loss:
            save_best(self.checkpoints, self.state.step, self.parameters)
            self.state = replace(self.state, best_loss=result.mean, best_step=self.state.step, worse=0)
            self._save()
        else:
            self.state = replace(self.state, worse=self.state.worse + 1)

    def _save(self) -> None:
        self.state = replace(self.state, seconds=self._seconds())
        save_state(self.checkpoints, self.state, self.parameters, self.optimizer)
        self._saved_at = time.monotonic()

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
