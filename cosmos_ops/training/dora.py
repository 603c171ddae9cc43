"""DoRA on linear layers at little more than LoRA's price, as a drop-in for PEFT's module: same parameters, same names, same outputs.

A DoRA layer gives m / n * (W x + s B A x), n the row norms of W + s B A, held constant in the backward pass (section 4.3 of
https://huggingface.co/papers/2402.09353). PEFT builds B A in full, twice, in every forward pass. Here, row by row,

    n^2 = |W|^2 + 2 s <W, B A> + s^2 |B A|^2 = |W|^2 + 2 s <W A', B> + s^2 <B A A', B>

which needs products of the adapter's rank only; |W|^2 is kept, W being frozen. What the layer gives is z + (m / n - 1) z with z = W x + s B A x:
the product with B adds to W x as it is made, and the gain is one more pass over the activations, forward and backward. A layer with a bias, which
is not scaled, adds (m / n - 1) W x + (s m / n * B) A x to its output instead: more passes, fewer cases.

The norms themselves are not kept from one forward pass to the next: a fused optimizer changes A and B without telling anyone.
"""

import contextlib

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.dora import DoraLinearLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import nn
from torch.nn import functional


class _Gain(torch.autograd.Function):
    """z [..., out] times 1 + gain [out]; the gain less one is given, and in float32: in bfloat16 a magnitude could not move by less than 0.4 %."""

    @staticmethod
    def forward(ctx, z, gain):
        ctx.save_for_backward(z, gain)
        return torch.addcmul(z, z, gain.to(z.dtype))

    @staticmethod
    def backward(ctx, gradient):
        z, gain = ctx.saved_tensors
        by_gain = (gradient * z).flatten(0, -2).sum(0, dtype=gain.dtype) if ctx.needs_input_grad[1] else None
        return torch.addcmul(gradient, gradient, gain.to(gradient.dtype)), by_gain


class _LowRankVariant(DoraLinearVariant):
    """What PEFT's linear layer calls: the whole layer at once where that can be."""

    @staticmethod
    def forward(module, active_adapter, x, result, **kwargs):
        base, dropout = module.get_base_layer(), module.lora_dropout[active_adapter]
        if base.bias is not None or (module.training and not isinstance(dropout, nn.Identity)):
            return DoraLinearVariant.forward(module, active_adapter, x, result, **kwargs)
        magnitude, scaling = module.lora_magnitude_vector[active_adapter], module.scaling[active_adapter]
        a, b = module.lora_A[active_adapter], module.lora_B[active_adapter].weight
        gain = magnitude.weight / magnitude.row_norms(base.weight, a.weight, b, scaling) - 1
        inner = a(x)
        result = result.to(inner.dtype)  # outside of autocast a float32 adapter computes in float32
        together = torch.addmm(result.flatten(0, -2), inner.flatten(0, -2), b.T, alpha=scaling)
        return _Gain.apply(together.view_as(result), gain)


class LowRankDora(DoraLinearLayer):
    """PEFT's `DoraLinearLayer` with another way to the same numbers. Takes over the magnitudes of the module it replaces."""

    def __init__(self, magnitude: nn.Parameter):
        super().__init__(fan_in_fan_out=False)
        self.weight = magnitude
        self._frozen_square: torch.Tensor | None = None
        self._frozen_square_of: tuple[object, ...] = ()

    def forward(self, x, *, lora_A, lora_B, scaling, base_layer, base_result=None, adapter_name="default"):
        """What is to be added to the base layer's output; see PEFT's own for the arguments."""
        if base_result is None:  # dropout on the input: PEFT needs the base layer's answer to what is left of it
            return super().forward(x, lora_A=lora_A, lora_B=lora_B, scaling=scaling, base_layer=base_layer, base_result=base_result, adapter_name=adapter_name)
        gain = self.weight / self.row_norms(base_layer.weight, lora_A.weight, lora_B.weight, scaling)
        without_bias = base_result if base_layer.bias is None else base_result - base_layer.bias
        # `gain - 1` is taken in float32: in bfloat16 a magnitude could not move by less than 0.4 %.
        scaled = functional.linear(lora_A(x), lora_B.weight * (gain * scaling)[:, None])
        return torch.addcmul(scaled, without_bias, (gain - 1).to(without_bias.dtype))

    @torch.no_grad()
    def row_norms(self, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scaling: float) -> torch.Tensor:
        """[out] float32: norms of the rows of `weight` [out, in] + `scaling` * `b` [out, r] @ `a` [r, in]."""
        # The meta device, on which memory is planned, knows no autocast.
        with contextlib.nullcontext() if weight.is_meta else torch.autocast(weight.device.type, enabled=False):
            frozen, a, b = weight.float(), a.float(), b.float()
            if self._frozen_square_of != (weight.data_ptr(), weight._version, weight.dtype):
                self._frozen_square = frozen.square().sum(dim=1)
                self._frozen_square_of = (weight.data_ptr(), weight._version, weight.dtype)
            cross = ((frozen @ a.T) * b).sum(dim=1)
            own = ((b @ (a @ a.T)) * b).sum(dim=1)
            # Rounding can make a sum of squares that is all but zero negative.
            return (self._frozen_square + 2 * scaling * cross + scaling**2 * own).clamp_min(0).sqrt()


def speed_up(model: nn.Module, adapter_name: str) -> None:
    """Replace PEFT's DoRA modules on plain linear layers; others, and LoRA, are left as they are."""
    for layer in model.modules():
        if isinstance(layer, LoraLayer) and type(layer.get_base_layer()) is nn.Linear and adapter_name in layer.lora_magnitude_vector:
            layer.lora_magnitude_vector[adapter_name] = LowRankDora(layer.lora_magnitude_vector[adapter_name].weight)
            layer.lora_variant[adapter_name] = _LowRankVariant()
