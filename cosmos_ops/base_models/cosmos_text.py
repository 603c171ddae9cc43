"""Text for Cosmos Predict 2.5: a chat-formatted prompt through Qwen2.5-VL, all layers standardised and joined.

The reference for every step is `Cosmos2_5_PredictBasePipeline._get_prompt_embeds` in diffusers; a test holds the two equal.
"""

import torch

from cosmos_ops.base_models.cosmos_prompt import MAX_TOKENS, SYSTEM, text_length

__all__ = ["MAX_TOKENS", "SYSTEM", "hidden_text", "text_length", "token_ids"]


def token_ids(tokenizer, prompt: str, length: int) -> list[int]:
    """One prompt -> `length` token ids, padded on the right, cut where it is longer."""
    messages = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": [{"type": "text", "text": prompt}]},
    ]
    made = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, add_generation_prompt=False, add_vision_id=False, max_length=length, truncation=True, padding="max_length"
    )
    return list(made["input_ids"])


@torch.no_grad()
def hidden_text(encoder: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    """Token ids -> [1, L, layers * width]: each layer's states minus their mean over their standard deviation, layers side by side.

    Padding tokens are attended to, as in the reference.
    """
    states = encoder(torch.tensor([ids], device=encoder.device), output_hidden_states=True, logits_to_keep=1).hidden_states[1:]
    return torch.cat([(state - state.mean(-1, keepdim=True)) / (state.std(-1, keepdim=True) + 1e-8) for state in states], dim=-1)
