"""The words around a prompt of Cosmos Predict 2.5, and how many tokens a prompt may have between them."""

import json
from pathlib import Path

from cosmos_ops.base_models.token_count import TokenCounter
from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.profiles import BaseModelSpec

MAX_TOKENS = 512
SYSTEM = "You are a helpful assistant who will provide prompts to an image generator."
_FRAME = "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n"
"""What Qwen2.5's chat template makes of the two messages."""


def text_length(folder: Path) -> int:
    """Tokens every prompt is padded or cut to: 512, or less where the tokenizer allows less (nano)."""
    config = json.loads((folder / "tokenizer" / "tokenizer_config.json").read_text())
    return int(min(MAX_TOKENS, config.get("model_max_length") or MAX_TOKENS))


def cosmos_counter(spec: BaseModelSpec) -> TokenCounter:
    """Counts as the pipeline's tokenizer does. Raises `UserError` where that is not to be had."""
    backend, length = _backend(spec)

    def framed(prompt: str) -> int:
        return len(backend.encode(_FRAME.format(system=SYSTEM, prompt=prompt), add_special_tokens=False).ids)

    empty = framed("")
    return TokenCounter(digest(backend.to_str()), length - empty, lambda caption: framed(caption) - empty)


def _backend(spec: BaseModelSpec):
    """(the `tokenizers` tokenizer, tokens that a prompt with its frame is cut to)."""
    from tokenizers import Tokenizer

    from cosmos_ops.base_models.cosmos_weights import tokenizer_folder

    folder = tokenizer_folder(spec)
    if folder is None:
        from cosmos_ops.base_models.nano import tokenizer as nano

        return nano.build_backend()[0], nano.MAX_TOKENS
    path = folder / "tokenizer" / "tokenizer.json"
    try:
        # `from_file` raises a bare Exception for a file that is damaged.
        return Tokenizer.from_str(path.read_text(encoding="utf-8")), text_length(folder)
    except Exception as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())[:160]}); give a whole pipeline folder as base_model.source") from None
