"""The frozen world model behind one interface; the rest of the project assumes nothing of Cosmos.

Adding a family is one file in this folder: a class with the `WorldModel` methods, decorated with `@register_world_model`.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from cosmos_ops.errors import UserError
from cosmos_ops.profiles import BaseModelSpec

if TYPE_CHECKING:
    import torch


PARTS = ("vae", "text", "denoiser")
"""What can be loaded apart: latents and pixels, prompts, the transformer."""


@dataclass(frozen=True)
class Identity:
    """Which weights a spec means, known without loading them."""

    revision: str
    """Commit of the weights, or their content hash when they come from a folder."""
    fingerprint: str
    """Hash of everything that decides latents and text embeddings: VAE, text encoder and projection weights."""


class WorldModel(Protocol):
    """A latent video model with text conditioning.

    Shapes: B batch, T frames, H and W pixels, C latent channels, t h w latent frames and sizes, L text tokens, D text width.
    Latents are normalised (zero mean, unit variance a channel by the VAE's own statistics).
    """

    family: ClassVar[str]
    lora_targets: ClassVar[tuple[str, ...]]
    """Module names that adapters are put on unless the recipe says otherwise."""

    revision: str
    """Commit of the weights, or their content hash when they come from a folder."""
    fingerprint: str
    """Hash of everything that decides latents and text embeddings: VAE, text encoder and projection weights."""
    denoiser: "torch.nn.Module"
    """The transformer that adapters are trained on."""
    device: "torch.device"

    @classmethod
    def identify(cls, spec: BaseModelSpec, cache: Path) -> Identity:
        """Resolve source and revision to what is recorded and hashed, without loading weights into memory."""
        ...

    @classmethod
    def load(cls, spec: BaseModelSpec, cache: Path, device: str, parts: tuple[str, ...] = PARTS) -> "WorldModel":
        """Load from Hub id, folder or builtin, only the parts that are needed. `cache` is where builtin models are made."""
        ...

    @classmethod
    def skeleton(cls, spec: BaseModelSpec) -> "WorldModel":
        """The denoiser on the meta device, nothing downloaded or loaded: `velocity` and `latent_shape` work on tensors without memory.

        Has `text_tokens` and `text_width`, the shape [L, D] of a prompt. Raises `UserError` where the shape of the weights is not known.
        """
        ...

    def encode_video(self, frames: "torch.Tensor") -> "torch.Tensor":
        """uint8 [B, T, H, W, 3] -> float32 latents [B, C, t, h, w] (posterior mean, normalised)."""
        ...

    def decode_latents(self, latents: "torch.Tensor") -> "torch.Tensor":
        """Latents [B, C, t, h, w] -> uint8 frames [B, T, H, W, 3]."""
        ...

    def encode_text(self, prompts: list[str]) -> "torch.Tensor":
        """Prompts -> [B, L, D] as the denoiser's cross-attention reads them (after any frozen projection)."""
        ...

    def dropped_text(self) -> "torch.Tensor":
        """[1, L, D]: the embedding that stands for no text in training."""
        ...

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, t, h, w) for a clip geometry."""
        ...

    def velocity(
        self, noisy: "torch.Tensor", sigma: "torch.Tensor", text: "torch.Tensor", clean: "torch.Tensor", conditioning_frames: "torch.Tensor"
    ) -> "torch.Tensor":
        """Predicted velocity [B, C, t, h, w] (noise - clean) at noise level sigma [B] in (0, 1).

        The first `conditioning_frames` [B] (int) latent frames of `noisy` are replaced by those of `clean`;
        the prediction there is meaningless and must be masked by the caller. Differentiable in the denoiser's parameters.
        """
        ...

    def sample(
        self,
        conditioning: "torch.Tensor",
        text: "torch.Tensor",
        negative: "torch.Tensor",
        seeds: list[int],
        shape: tuple[int, int, int, int],
        steps: int,
        guidance: float,
        on_step: Callable[[int, int], None] | None = None,
    ) -> "torch.Tensor":
        """Generate latents [B, C, t, h, w] from conditioning latents [B, C, n, h, w] (n = 1 or 2).

        One generator a sample, seeded on the CPU, so a batch gives the same videos as one by one.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the denoiser as it is now, and the frozen parts it was loaded beside, so that `base_model.source: folder` loads them.

        Any adapter must have been merged or taken off. `folder` is there and empty.
        """
        ...


_FAMILIES: dict[str, type[WorldModel]] = {}


def register_world_model(cls: type[WorldModel]) -> type[WorldModel]:
    """Class decorator: make a family known under its `family`."""
    _FAMILIES[cls.family] = cls
    return cls


def load_world_model(spec: BaseModelSpec, cache: Path, device: str, parts: tuple[str, ...] = PARTS) -> WorldModel:
    """The world model a profile names. Raises `UserError` for an unknown family or weights that are not there."""
    return _family(spec).load(spec, cache, device, parts)


def world_model_skeleton(spec: BaseModelSpec) -> WorldModel:
    """The shapes of the world model a profile names, without its weights. Raises `UserError` as `WorldModel.skeleton` does."""
    return _family(spec).skeleton(spec)


def identify_world_model(spec: BaseModelSpec, cache: Path) -> Identity:
    """Revision and fingerprint of the weights a profile names, nothing loaded. Raises `UserError` as `load_world_model` does."""
    return _family(spec).identify(spec, cache)


def _family(spec: BaseModelSpec) -> type[WorldModel]:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if spec.family in _FAMILIES:
            break
        importlib.import_module(f"{__package__}.{module.name}")
    if spec.family not in _FAMILIES:
        raise UserError(f"base_model.family {spec.family!r} is unknown; known are {', '.join(sorted(_FAMILIES))}")
    return _FAMILIES[spec.family]
