"""What a judge's reply must be, and nothing else."""

import json

SCORES = (1, 2, 3, 4, 5)


def parse_score(text: str) -> int | None:
    """The score of a reply that is exactly one JSON object with an integer `score` from 1 to 5 and a `reason` in words; None for any other.

    A number somewhere in prose, a fraction, a score as text or a list is no score: what a judge did not say clearly is not guessed.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or set(value) != {"score", "reason"} or not isinstance(value["reason"], str):
        return None
    score = value["score"]
    return score if type(score) is int and score in SCORES else None
