"""A Cosmos denoiser without weights: on the meta device it has shapes and no memory, which is enough to plan a training."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel
from huggingface_hub import try_to_load_from_cache
from torch import nn

from cosmos_ops.base_models import cosmos_text, cosmos_weights
from cosmos_ops.base_models.cosmos_modulation import modulate_by_frame
from cosmos_ops.errors import UserError
from cosmos_ops.profiles import BaseModelSpec

PUBLISHED: dict[str, dict[str, Any]] = {
    "nvidia/Cosmos-Predict2.5-2B": {"num_attention_heads": 16, "num_layers": 28},
    "nvidia/Cosmos-Predict2.5-14B": {"num_attention_heads": 40, "num_layers": 36},
}
"""Where the two public models differ; their `config.json` is used instead where it is on this machine."""
_COMMON = {
    "in_channels": 17,
    "out_channels": 16,
    "attention_head_dim": 128,
    "mlp_ratio": 4.0,
    "text_embed_dim": 1024,
    "adaln_lora_dim": 256,
    "max_size": (128, 240, 240),
    "patch_size": (1, 2, 2),
    "rope_scale": (1.0, 3.0, 3.0),
    "concat_padding_mask": True,
    "extra_pos_embed_type": None,
    "use_crossattn_projection": True,
    "crossattn_proj_in_channels": 100352,
    "encoder_hidden_states_channels": 1024,
}


def denoiser_skeleton(spec: BaseModelSpec) -> tuple[CosmosTransformer3DModel, int]:
    """The transformer on the meta device, in the spec's dtype and without its text projection, and the tokens a prompt has.

    Nothing is downloaded. Raises `UserError` for a Hub model that is neither cached nor one of the public two.
    """
    with torch.device("meta"):
        if spec.source == cosmos_weights.BUILTIN:
            from cosmos_ops.base_models.nano.build import make_transformer
            from cosmos_ops.base_models.nano.tokenizer import MAX_TOKENS

            made, tokens = make_transformer(), min(MAX_TOKENS, cosmos_text.MAX_TOKENS)
        else:
            config, tokens = _config(spec)
            made = CosmosTransformer3DModel.from_config(config)
    made.crossattn_proj = nn.Identity()
    modulate_by_frame(made)
    for parameter in made.parameters():
        parameter.data = parameter.data.to(getattr(torch, spec.dtype))
    return made.requires_grad_(False).eval(), tokens


def published_config(source: str) -> dict[str, Any]:
    """The transformer settings of one of the public models."""
    return _COMMON | PUBLISHED[source]


def _config(spec: BaseModelSpec) -> tuple[dict[str, Any], int]:
    folder = Path(spec.source).expanduser()
    if folder.is_dir():
        path, tokens = folder / "transformer" / "config.json", cosmos_text.text_length(folder)
    else:
        cached = try_to_load_from_cache(spec.source, "transformer/config.json", revision=spec.revision)
        path, tokens = Path(cached) if isinstance(cached, str) else None, cosmos_text.MAX_TOKENS
    if path is None:
        if spec.source not in PUBLISHED:
            raise UserError(f"the shape of {spec.source} is not known here; set base_model.source to a local folder, or download the model first")
        return published_config(spec.source), tokens
    try:
        return json.loads(path.read_text()), tokens
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable ({error}); give a whole pipeline folder as base_model.source") from None
