"""A byte-level BPE tokenizer for nano, made in code: every byte is a token, common words of robot tasks are merged.

It stands where the real model has Qwen2.5's tokenizer and is used the same way: a chat template whose message content is a
list of `{"type": "text", "text": ...}`, padded to a fixed length.
"""

from collections import Counter
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

if TYPE_CHECKING:
    from transformers import Qwen2TokenizerFast

VOCABULARY = 1024
MAX_TOKENS = 128
"""Text length of nano. Its chat frame takes about 30 of them, a task instruction 5 to 30 more."""

PAD = "<|endoftext|>"
SPECIAL = (PAD, "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")

_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_WORDS = (
    "system user assistant You are a helpful who will provide prompts to an image generator . , a an the and or of to in on into onto onto from "
    "with at by up down left right over under between behind beside near next front back top bottom middle side robot arm arms gripper hand hands "
    "finger camera wrist table desk counter shelf drawer door handle lid box bin tray plate bowl cup mug bottle can jar pot pan spoon fork knife "
    "sponge cloth towel block cube ball cylinder cone brick toy banana apple orange lemon carrot pepper corn eggplant potato bread egg fruit "
    "vegetable marker pen button switch lever pick place put move push pull lift lower grasp grab hold release drop open close turn rotate twist "
    "stack unstack insert remove take bring slide sweep wipe pour press reach fold unfold hang clean sort arrange transfer hand over toward away "
    "clockwise then while after before until first second third other another each both all it its them is are red green blue yellow orange "
    "purple pink brown black white gray grey silver dark light small large big long short round square wooden plastic metal empty full Pick Place "
    "Put Move Push Pull Lift Open Close Turn Stack Slide Sweep Wipe Pour Press Take The A Grasp task goal object objects target zone position "
    "Dobot CR5 Unitree G1 Franka Sawyer Bridge GR1 panda demonstration video scene picks places puts moves pushes pulls lifts opens closes turns "
    "stacks slides using "
).split()


def build_tokenizer() -> "Qwen2TokenizerFast":
    """The tokenizer, the same on every machine: merges depend on the word list and nothing else."""
    from transformers import Qwen2TokenizerFast

    backend, vocabulary, merges = build_backend()
    tokenizer = Qwen2TokenizerFast(
        tokenizer_object=backend,
        vocab=vocabulary,
        merges=merges,
        pad_token=PAD,
        eos_token="<|im_end|>",
        bos_token=None,
        unk_token=None,
        model_max_length=MAX_TOKENS,
        padding_side="right",
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def build_backend() -> tuple[Tokenizer, dict[str, int], list[tuple[str, str]]]:
    """(what turns text into token ids, its vocabulary, its merges): all that counting tokens takes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _learn_merges(VOCABULARY - len(SPECIAL) - len(alphabet))
    tokens = [*SPECIAL, *alphabet, *(first + second for first, second in merges)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL))
    return backend, vocabulary, merges


def _learn_merges(count: int) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al. 2016) over the word list; ties are broken by the alphabet."""
    start = "\u0120"  # how a byte-level alphabet writes a leading space
    words = Counter(form for word in dict.fromkeys(_WORDS) for form in (word, start + word))
    split = {word: list(word) for word in words}
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs = Counter(pair for parts in split.values() for pair in zip(parts, parts[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in split.items():
            split[word] = _merge(parts, best)
    return merges


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged
