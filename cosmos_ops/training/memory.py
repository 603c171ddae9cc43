"""The memory plan: how a recipe is trained on a GPU of a given size, and the peak to expect. Made without a GPU and without weights.

Weights, adapter and optimizer follow from the shapes; activations are counted on the meta device (`activations`). What kernels need while they run,
the CUDA context and the allocator's gaps are the constants below: they are estimates, and so is the peak until it is measured on a GPU.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from cosmos_ops.base_models.base import WorldModel, world_model_skeleton
from cosmos_ops.errors import UserError
from cosmos_ops.profiles import BaseModelSpec, ClipGeometry
from cosmos_ops.recipes import Recipe
from cosmos_ops.training.activations import Activations, measure_activations
from cosmos_ops.training.adapters import attach_adapter

GPU_SIZES_GB = (16, 24, 40, 80)
"""Sizes the command line plans for."""
USABLE = 0.92
"""Fraction of a card's nominal size (1 GB = 10^9 bytes) that is planned with: 22 of 24."""
WORKING_TENSORS = 4
"""Tensors as large as the largest kept one that the backward pass holds at a time: two gradients, and one of them in float32."""
CONTEXT_BYTES = 1_200_000_000
"""CUDA context, cuBLAS and cuDNN workspaces."""
GAPS = 0.05
"""Allocated and not used, as a fraction of the rest."""
_LADDER = (("none", "none"), ("attention", "none"), ("full", "none"), ("full", "block_inputs"))
"""Recomputation and offload, from fastest to most frugal."""


@dataclass(frozen=True)
class MemorySettings:
    """How a training uses its device; none of it changes what is computed."""

    activation_checkpointing: str
    """One of `recompute.POLICIES`."""
    offload: str
    """One of `recompute.OFFLOADS`."""
    batch_size: int
    """Samples a process handles at once."""
    gradient_accumulation: int
    """Batches an update is averaged over; the product with `batch_size` is the recipe's."""


@dataclass(frozen=True)
class Peak:
    """Predicted bytes on the device at the highest point of an update."""

    weights: int
    adapter: int
    """Float32 parameters and their gradients."""
    optimizer: int
    """AdamW's two moments in float32."""
    activations: int
    """Kept for the backward pass, the block being worked on, and working tensors."""
    overhead: int
    """Context, workspaces, gaps."""

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.optimizer + self.activations + self.overhead


@dataclass(frozen=True)
class MemoryPlan:
    """What will be done on a GPU of `gpu_memory_gb`, and the peak to expect."""

    gpu_memory_gb: float
    settings: MemorySettings
    peak: Peak
    fits: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values, the predicted peak in bytes by part and in total."""
        return {
            **asdict(self.settings),
            "fits": self.fits,
            "predicted_peak_bytes": self.peak.total,
            "breakdown_bytes": asdict(self.peak),
            "usable_bytes": int(USABLE * self.gpu_memory_gb * 1e9),
        }


def plan_memory(base: BaseModelSpec, clip: ClipGeometry, recipe: Recipe, gpu_memory_gb: float) -> MemoryPlan:
    """The fastest settings whose predicted peak fits, or the most frugal ones with `fits` false; see `Planner`."""
    return Planner(base, clip, recipe).plan(gpu_memory_gb)


class Planner:
    """Plans one recipe for GPUs of any size; what a batch keeps is counted once.

    Recomputation is spent before the batch is cut: at this many tokens a batch of one keeps a GPU busy. A recipe that asks for gradient
    checkpointing gets all of it. Raises `UserError` for targets that are not there, and weights of unknown shape.
    """

    def __init__(self, base: BaseModelSpec, clip: ClipGeometry, recipe: Recipe):
        self._recipe, self._clip = recipe, clip
        self._model, self._trainable = adapted_skeleton(base, recipe)
        self._counted: dict[int, Activations] = {}

    def plan(self, gpu_memory_gb: float) -> MemoryPlan:
        """See `plan_memory`. Raises `UserError` for a size that is none."""
        if not gpu_memory_gb > 0:
            raise UserError(f"GPU memory is {gpu_memory_gb} GB; use {', '.join(map(str, GPU_SIZES_GB))}, or what the card has")
        together = self._recipe.batch_size * self._recipe.gradient_accumulation
        for policy, offload in _LADDER[2:] if self._recipe.gradient_checkpointing else _LADDER:
            for size in range(self._recipe.batch_size, 0, -1):
                if together % size:
                    continue
                settings = MemorySettings(policy, offload, size, together // size)
                peak = predict_peak(self._model, self._trainable, self._count(size), settings)
                if peak.total <= USABLE * gpu_memory_gb * 1e9:
                    return MemoryPlan(gpu_memory_gb, settings, peak, True)
        return MemoryPlan(gpu_memory_gb, settings, peak, False)

    def _count(self, batch: int) -> Activations:
        if batch not in self._counted:
            self._counted[batch] = count_activations(self._model, self._clip, batch)
        return self._counted[batch]


def adapted_skeleton(base: BaseModelSpec, recipe: Recipe) -> tuple[WorldModel, int]:
    """The denoiser on the meta device with the recipe's adapter on it, and how many parameters are trained.

    The adapter is in the frozen weights' type, in which it computes; it is counted in float32, in which it is kept.
    """
    model = world_model_skeleton(base)
    parameters = attach_adapter(model.denoiser, recipe, recipe.targets or model.lora_targets)
    for parameter in parameters.values():
        parameter.data = parameter.data.to(model.dtype)
    model.denoiser.train()
    return model, sum(parameter.numel() for parameter in parameters.values())


def count_activations(model: WorldModel, clip: ClipGeometry, batch: int) -> Activations:
    """What one batch of clips keeps."""
    return measure_activations(model, model.latent_shape(clip.frames, clip.height, clip.width), (model.text_tokens, model.text_width), batch)


def predict_peak(model: WorldModel, trainable: int, counted: Activations, settings: MemorySettings) -> Peak:
    """The highest point of an update: one block is being differentiated while the kept activations of the others wait."""
    weights = sum(tensor.nbytes for tensor in (*model.denoiser.parameters(), *model.denoiser.buffers()) if not tensor.requires_grad)
    kept = counted.kept_bytes(settings.activation_checkpointing)
    if settings.activation_checkpointing != "none":
        kept += counted.block_bytes
    if settings.offload == "block_inputs":  # but for the one being used and the one on its way
        kept -= max(0, counted.blocks - 2) * counted.block_input_bytes
    activations = kept + WORKING_TENSORS * counted.largest_bytes
    adapter, optimizer = trainable * 8, trainable * 8
    overhead = CONTEXT_BYTES + int(GAPS * (weights + adapter + optimizer + activations))
    return Peak(weights, adapter, optimizer, activations, overhead)


def device_memory_gb(device: str) -> float | None:
    """Nominal size of a CUDA device in GB, None for another device."""
    where = torch.device(device)
    return torch.cuda.get_device_properties(where).total_memory / 1e9 if where.type == "cuda" else None
