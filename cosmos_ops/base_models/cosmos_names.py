"""What modules of the Cosmos Predict 2.5 transformer are called in NVIDIA's own repository (nvidia-cosmos/cosmos-predict2.5), for adapters that go there.

The names are those of its `minimal_v4_dit.py`. Its LoRA training wraps the network with PEFT (`get_peft_model`) and saves it under `net.`.
"""

import re

from cosmos_ops.errors import UserError

PREFIX = "net.base_model.model."
"""Of every key of a wrapped network in NVIDIA's checkpoints."""

_BLOCK = re.compile(r"transformer_blocks\.(\d+)\.(.+)")
_ATTENTION = {"attn1": "self_attn", "attn2": "cross_attn"}
_PROJECTIONS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out.0": "output_proj"}
_IN_BLOCK = {
    **{f"{ours}.{layer}": f"{theirs}.{name}" for ours, theirs in _ATTENTION.items() for layer, name in _PROJECTIONS.items()},
    "ff.net.0.proj": "mlp.layer1",
    "ff.net.2": "mlp.layer2",
    **{
        f"norm{number}.linear_{layer}": f"adaln_modulation_{name}.{layer}"
        for number, name in ((1, "self_attn"), (2, "cross_attn"), (3, "mlp"))
        for layer in (1, 2)
    },
}
_OUTSIDE = {
    "patch_embed.proj": "x_embedder.proj.1",
    "time_embed.t_embedder.linear_1": "t_embedder.1.linear_1",
    "time_embed.t_embedder.linear_2": "t_embedder.1.linear_2",
    "norm_out.linear_1": "final_layer.adaln_modulation.1",
    "norm_out.linear_2": "final_layer.adaln_modulation.2",
    "proj_out": "final_layer.linear",
}


def nvidia_name(module: str) -> str:
    """A linear layer of diffusers' transformer under NVIDIA's name. Raises `UserError` for a layer that has none."""
    match = _BLOCK.fullmatch(module)
    name = _IN_BLOCK.get(match[2]) if match else _OUTSIDE.get(module)
    if name is None:
        raise UserError(f"layer {module!r} has no counterpart in NVIDIA's repository; train on other targets to export there")
    return f"blocks.{match[1]}.{name}" if match else name
