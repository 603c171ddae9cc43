"""Which latents are trained on, and in which order. A place in the order is one number, so training resumes exactly."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import pyarrow.parquet as pq
import torch

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, brought_file
from cosmos_ops.recipes import Recipe
from cosmos_ops.training.objective import Draw, derived_seed, draw

_ANNOUNCED = 32
"""Places of the order, after those that are being read, whose files may be brought meanwhile."""


class Latents(Protocol):
    """What training needs of a latent store."""

    def clip(self, clip_id: str) -> torch.Tensor:
        """[C, t, h, w] float32."""
        ...

    def text(self, caption: str) -> torch.Tensor:
        """[L, D]."""
        ...

    def dropped_text(self) -> torch.Tensor:
        """[L, D]."""
        ...

    def expect(self, clip_ids: Sequence[str]) -> None:
        """These clips will be asked for soon: a store whose files are elsewhere may start to bring them."""
        ...


@dataclass(frozen=True)
class Sample:
    """One clip with the caption it is trained with."""

    clip_id: str
    caption: str


@dataclass(frozen=True)
class Samples:
    """The two splits that training sees."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples on the model's device."""

    clip_ids: tuple[str, ...]
    positions: tuple[int, ...]
    """Their places in the training order."""
    clean: torch.Tensor
    """[B, C, t, h, w] float32."""
    text: torch.Tensor
    """[B, L, D]."""

    def to(self, device: torch.device) -> "Batch":
        return replace(self, clean=self.clean.to(device), text=self.text.to(device))


class Order:
    """An endless order over `count` samples: each epoch is a permutation of its own, all following from the seed.

    Place p is number p % count of epoch p // count.
    """

    def __init__(self, count: int, seed: int):
        self.count = count
        self.seed = seed
        self._epoch = -1
        self._permutation: list[int] = []

    def __getitem__(self, position: int) -> int:
        epoch, index = divmod(position, self.count)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derived_seed("order", self.seed, epoch))
            self._permutation = torch.randperm(self.count, generator=generator).tolist()
            self._epoch = epoch
        return self._permutation[index]


def read_samples(lake: Lake, dataset_version: str, max_train_clips: int | None = None, max_validation_clips: int | None = None) -> Samples:
    """The train and validation clips of a dataset version, sorted by id; where there are more than wanted, chosen by hash of the id."""
    path = brought_file(lake.dataset(dataset_version) / "samples.parquet")
    try:
        rows = pq.read_table(path, columns=["clip_id", "caption", "split"]).to_pylist()
    except FileNotFoundError:
        raise UserError(f"dataset version {dataset_version} is not in the lake ({path}); build the dataset first") from None
    chosen = {
        split: _chosen([Sample(row["clip_id"], row["caption"]) for row in rows if row["split"] == split], limit)
        for split, limit in (("train", max_train_clips), ("validation", max_validation_clips))
    }
    if not chosen["train"]:
        raise WorkFailed(f"dataset version {dataset_version} has no clip in its train split; ingest more episodes")
    return Samples(**chosen)


def share(start: int, batch: int, batch_size: int, rank: int = 0, world: int = 1) -> range:
    """Places that process `rank` of `world` takes for its batch number `batch` of an update that begins at place `start`.

    Together the processes take consecutive places, each one once.
    """
    first = start + (batch * world + rank) * batch_size
    return range(first, first + batch_size)


def load_batch(latents: Latents, samples: Sequence[Sample], order: Order, positions: range, device: torch.device) -> Batch:
    """Read the samples at these places of the order."""
    chosen = [samples[order[position]] for position in positions]
    clean, text = stack(latents, chosen, device)
    return Batch(tuple(sample.clip_id for sample in chosen), tuple(positions), clean, text)


class ReadAhead:
    """Batches and what is drawn for them, on the CPU: the next is read in a thread while one is computed with.

    Both follow from places in the order alone, so reading ahead changes nothing, and there is nothing of it to keep in a checkpoint.
    A clip that cannot be read is reported when its own batch is taken.
    """

    def __init__(self, latents: Latents, samples: Sequence[Sample], order: Order, recipe: Recipe, shape: Sequence[int]):
        self._latents, self._samples, self._order, self._recipe, self._shape = latents, samples, order, recipe, shape
        self._count = len(samples)
        self._pool = ThreadPoolExecutor(1, "reader")
        self._coming: dict[range, Future] = {}

    def take(self, positions: range, following: range | None = None) -> tuple[Batch, Draw]:
        """The batch at these places; `following` is what will be taken next, None at the end."""
        now = self._coming.pop(positions, None) or self._start(positions)
        self._coming = {} if following is None else {following: self._start(following)}
        if following is not None:
            self._announce(following)
        return now.result()

    def close(self) -> None:
        """Wait for what is being read and forget it."""
        self._pool.shutdown(cancel_futures=True)

    def _announce(self, following: range) -> None:
        # Within the first epoch: what comes after it has been read before.
        later = range(following.stop, min(following.stop + _ANNOUNCED, self._count))
        if later:
            self._latents.expect([self._samples[self._order[position]].clip_id for position in later])

    def _start(self, positions: range) -> Future:
        # The order is looked up here: it remembers an epoch's permutation and is for one thread.
        return self._pool.submit(self._read, positions, [self._samples[self._order[position]] for position in positions])

    def _read(self, positions: range, chosen: list[Sample]) -> tuple[Batch, Draw]:
        clean, text = stack(self._latents, chosen, torch.device("cpu"))
        return Batch(tuple(sample.clip_id for sample in chosen), tuple(positions), clean, text), draw(self._recipe, positions, self._shape)


def stack(latents: Latents, samples: Sequence[Sample], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents [B, C, t, h, w] float32 and text [B, L, D] of samples, on a device."""
    clean = torch.stack([latents.clip(sample.clip_id) for sample in samples])
    text = torch.stack([latents.text(sample.caption) for sample in samples])
    return clean.to(device, torch.float32), text.to(device)


def _chosen(samples: list[Sample], limit: int | None) -> tuple[Sample, ...]:
    by_hash = sorted(samples, key=lambda sample: digest(sample.clip_id))
    return tuple(sorted(by_hash[:limit], key=lambda sample: sample.clip_id))
