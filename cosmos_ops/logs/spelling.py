"""Names of files and of things in them: their order, and how they are told."""

import re


def natural(name: str) -> list:
    """Sort key: numbers in a name count as numbers."""
    return [(int(part[-18:]), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def plain(name: str) -> str:
    """A name or message as one line of text: file systems and formats allow names of any bytes."""
    return name if name.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in name)
