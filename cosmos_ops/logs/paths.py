"""Paths that a log's own metadata gives: they are input from outside and never lead out of the log's folder."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from cosmos_ops.errors import UserError

_FIELD = re.compile(r"\{(\w+)(?::(0?\d?\d?d?))?\}")


class LeadsOut(Exception):
    """A path, or the link it goes through, ends outside the folder it must stay in."""


def fill_template(template: str, values: Mapping[str, int | str], where: str) -> str:
    """Fill `{name}` and `{name:03d}` and nothing else. Raises `UserError` for other placeholders and for a path that is not plainly relative."""

    def value(match: re.Match) -> str:
        name, spec = match.group(1), match.group(2) or ""
        if name not in values or (spec and not isinstance(values[name], int)):
            raise UserError(f"{where} has the placeholder {match.group(0)}; known are {', '.join(sorted(values))}")
        return format(values[name], spec)

    filled = _FIELD.sub(value, template)
    if "{" in filled or "}" in filled:
        raise UserError(f"{where} is {template!r}, which is not a path template")
    if not is_plain(filled):
        raise UserError(f"{where} gives {filled!r}, which leads out of the log; a path below the log's folder is needed")
    return filled


def is_plain(relative: str) -> bool:
    """True for a relative path without `..`, hidden parts or characters that no path has."""
    parts = PurePosixPath(relative).parts
    clean = "\\" not in relative and "\0" not in relative
    return bool(parts) and clean and not PurePosixPath(relative).is_absolute() and not any(part.startswith(".") for part in parts)


def inside(root: Path, relative: str) -> Path:
    """`root / relative`, links followed for the check. Raises `LeadsOut` where it ends outside `root`."""
    path = root / relative
    if not is_plain(relative) or not path.resolve().is_relative_to(root.resolve()):
        raise LeadsOut(f"{relative} leads out of {root}")
    return path
