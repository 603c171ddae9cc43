"""Texts in which a language model refuses or talks about itself instead of describing a clip."""

import re

PATTERN = (
    r"(?is)^\W*(?:i['\u2019]?m sorry|i am sorry|sorry[,.!]|i apologi[sz]e|my apologies|unfortunately,? i\b|i can(?:no|['\u2019])?t\b|i can not\b)"
    r"|\bas an ai\b|\bas a (?:large )?language model\b"
    r"|\bi(?:['\u2019]?m| am) (?:unable|not able|sorry|an ai|not allowed)\b"
    r"|\bi (?:cannot|can['\u2019]t|can not|won['\u2019]t|will not) (?:assist|help|see|view|access|describe|provide|identify|determine|fulfil|comply|process)"
    r"|\b(?:no|any) (?:image|images|picture|pictures|video) (?:was|were|is|are|has been|have been) (?:provided|attached|given)"
    r"|\b(?:please|could you) (?:provide|upload|attach|share) (?:the|an|a|your) (?:image|picture|video|frames)"
)
"""Matched anywhere in a caption."""
_COMPILED = re.compile(PATTERN)


def is_refusal(text: str) -> bool:
    """Whether a text is a refusal rather than a caption."""
    return _COMPILED.search(text) is not None
