"""Prompts for the vision model: text files, filled with what the log says of a clip."""

import re
from pathlib import Path

from cosmos_ops.errors import UserError

FOLDER = Path(__file__).parent / "prompts"
_MOST_CHARACTERS = 20_000
_UNTOLD = "not recorded"


def read_prompt(name_or_path: str) -> str:
    """A built-in prompt by name, or a text file by path. Raises `UserError`."""
    path = FOLDER / f"{name_or_path}.txt" if name_or_path.isidentifier() else Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        known = ", ".join(sorted(prompt.stem for prompt in FOLDER.glob("*.txt")))
        raise UserError(f"captions.vlm.prompt {name_or_path!r} cannot be read ({error}); give the path of a text file, or one of {known}") from None
    if not text or len(text) > _MOST_CHARACTERS:
        raise UserError(f"captions.vlm.prompt {path} has {len(text)} characters; 1 to {_MOST_CHARACTERS} are of use")
    return text


def filled(prompt: str, clip: dict, frames: int) -> str:
    """The prompt for a clip: $task, $robot, $camera, $seconds and $frames are replaced, everything else stays."""
    values = {
        "$task": " ".join((clip["task"] or _UNTOLD).split()),
        "$robot": clip["robot"] or _UNTOLD,
        "$camera": clip["camera"],
        "$seconds": f"{len(clip['frame_times_s']) / clip['fps']:.1f}",
        "$frames": str(frames),
    }
    # In one go: what a log says may itself look like a field.
    return re.sub("|".join(map(re.escape, values)), lambda field: values[field[0]], prompt)
