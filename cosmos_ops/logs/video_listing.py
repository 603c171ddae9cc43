"""Which videos a folder holds or speaks of, and where the caption of each is.

    videos/<name>.mp4 with metas/<name>.txt            what Cosmos' post-training takes
    metadata.csv or metadata.jsonl                     columns file_name and text, caption or prompt; beside the videos or above `videos/`
    <name>.mp4 with or without <name>.txt

What is spoken of and not there is listed with its problem.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from cosmos_ops.errors import UserError
from cosmos_ops.logs.base import Problem
from cosmos_ops.logs.bounded_json import parse_json
from cosmos_ops.logs.paths import LeadsOut, inside, is_plain
from cosmos_ops.logs.spelling import natural, plain

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
VIDEOS, METAS = "videos", "metas"
_TABLES = ("metadata.csv", "metadata.jsonl")
_FILE, _CAPTION = ("file_name", "video", "file"), ("text", "caption", "prompt")
_MOST_TABLE_BYTES, _MOST_CAPTION_BYTES, _MOST_COLUMNS = 64 << 20, 64_000, 10_000


@dataclass(frozen=True)
class Listed:
    """One video."""

    path: str
    """Relative to the drop's folder."""
    caption: str | None = None
    """As the table has it."""
    caption_file: str | None = None
    problem: Problem | None = None
    """Why there is nothing to decode."""
    index: int = 0


@dataclass(frozen=True)
class Listing:
    """All videos in index order."""

    layout: str
    """What the captions come from: a table's name, `metas`, or `plain`."""
    videos: tuple[Listed, ...]
    notes: tuple[Problem, ...] = ()


def holds_videos(root: Path) -> bool:
    """Whether `root` is a video, or a folder with one in it, in its `videos/` or, where it has a table, further down; names only."""
    if root.is_file():
        return is_video(root.name)
    return any(_videos_in(root)) or (any((root / name).exists() for name in _TABLES) and bool(nested_videos(root)))


def is_video(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def nested_videos(root: Path) -> list[str]:
    """Videos that lie where they are not looked for."""
    below = root.glob("*/**/*") if root.is_dir() else ()
    found = (path.relative_to(root) for path in below if is_video(path.name))
    return sorted(path.as_posix() for path in found if path.parts[:-1] != (VIDEOS,) and not any(part.startswith(".") for part in path.parts))


def list_videos(root: Path) -> Listing:
    """Every video of the drop at `root`. Raises `UserError` for a table that cannot be read.

    A video's index is the number at the end of its name where all have one of their own, else its place in the natural order of names.
    """
    if root.is_file():
        return Listing("plain", (Listed(root.name),))
    table = next((place for place in (*_TABLES, *(f"{VIDEOS}/{name}" for name in _TABLES)) if (root / place).exists()), None)
    told = list(_told(root, table)) if table else []
    first: dict[str, Listed] = {}
    for listed in told:
        first.setdefault(listed.path, listed)
    for path in _videos_in(root):
        first.setdefault(path, Listed(path))
    videos = [
        listed if listed.caption is not None or listed.problem else replace(listed, caption_file=_caption_file(root, listed.path)) for listed in first.values()
    ]
    stems = {PurePosixPath(path).stem for path in first}
    alone = [path for path in sorted((root / METAS).glob("*.txt"), key=lambda path: natural(path.name)) if path.stem not in stems]
    videos += [Listed(f"{VIDEOS}/{path.stem}", problem=_missing(f"{METAS}/{path.name} has no video")) for path in alone if not path.name.startswith(".")]
    notes = [Problem("repeated_episode", f"{table} lists {len(told) - len({listed.path for listed in told})} videos again, the first line counts", fatal=False)]
    layout = PurePosixPath(table).name if table else METAS if any(listed.caption_file for listed in videos) else "plain"
    return Listing(layout, _numbered(videos), tuple(notes) if len(told) > len({listed.path for listed in told}) else ())


def read_caption(root: Path, listed: Listed) -> str | None:
    """The caption as one line, None where there is none. Raises `ValueError` in one line where it cannot be read."""
    text = listed.caption
    if text is None and listed.caption_file is not None:
        try:
            path = inside(root, listed.caption_file)
            if not path.is_file():
                raise ValueError(f"{listed.caption_file} is not a file")
            with open(path, "rb") as stream:
                raw = stream.read(_MOST_CAPTION_BYTES + 1)
            if len(raw) > _MOST_CAPTION_BYTES:
                raise ValueError(f"{listed.caption_file} is larger than {_MOST_CAPTION_BYTES // 1000} kB")
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError(f"{listed.caption_file} is not text in UTF-8") from None
        except (LeadsOut, OSError) as error:
            raise ValueError(str(error)) from None
    return plain(" ".join((text or "").split())) or None


def _videos_in(root: Path) -> Iterator[str]:
    for folder in (root, root / VIDEOS):
        if folder.is_dir():
            yield from sorted((path.relative_to(root).as_posix() for path in folder.iterdir() if is_video(path.name) and path.is_file()), key=natural)


def _caption_file(root: Path, video: str) -> str | None:
    stem = PurePosixPath(video).with_suffix(".txt")
    return next((place for place in (f"{METAS}/{stem.name}", stem.as_posix()) if is_plain(place) and (root / place).exists()), None)


def _told(root: Path, table: str) -> Iterator[Listed]:
    """What the rows of a table speak of, in their order."""
    for number, row in _rows(root, table):
        name = next((row[key] for key in _FILE if isinstance(row.get(key), str) and row[key].strip()), None)
        caption = next((row[key] for key in _CAPTION if isinstance(row.get(key), str)), None)
        where = f"{table} line {number}"
        if name is None:
            yield Listed(where, caption, problem=_missing(f"{where} names no video: {_FILE[0]} is needed"))
            continue
        name = name.strip()
        beside = PurePosixPath(table).parent / name
        places = [place.as_posix() for place in dict.fromkeys((beside, PurePosixPath(VIDEOS) / name))]
        try:
            there = next((place for place in places if inside(root, place).is_file()), None)
        except (LeadsOut, OSError, ValueError):
            yield Listed(plain(name), caption, problem=_missing(plain(f"{where} names {name!r}, which leads out of the drop or is no path")))
            continue
        if there is None:
            yield Listed(plain(places[0]), caption, problem=_missing(plain(f"{name} does not exist, {where} names it")))
        else:
            yield Listed(there, caption)


def _rows(root: Path, table: str) -> Iterator[tuple[int, dict]]:
    """(line, columns) of each row of a table. Raises `UserError`."""
    try:
        path = inside(root, table)
        if not path.is_file():
            raise ValueError("it is no regular file")
        if path.stat().st_size > _MOST_TABLE_BYTES:
            raise ValueError(f"it is larger than {_MOST_TABLE_BYTES >> 20} MiB")
        text = path.read_bytes().decode("utf-8-sig")
        if table.endswith(".jsonl"):
            parsed = ((number, parse_json(line, _MOST_COLUMNS)) for number, line in enumerate(text.splitlines(), start=1) if line.strip())
            yield from ((number, {key: row[key] for key in (*_FILE, *_CAPTION) if key in row} if isinstance(row, dict) else {}) for number, row in parsed)
            return
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if not set(reader.fieldnames or ()) & set(_FILE):
            columns = plain(", ".join(map(str, reader.fieldnames or ["none"])))[:200]
            raise UserError(f"{root / table} has no column {_FILE[0]} (there are {columns}); name each video in it")
        yield from ((reader.line_num, row) for row in reader)
    except (LeadsOut, OSError, ValueError, csv.Error) as error:
        raise UserError(f"{root / table} cannot be read ({' '.join(str(error).split())[:120]}); mend it or take it out of the drop") from None


def _numbered(videos: list[Listed]) -> tuple[Listed, ...]:
    ordered = sorted(videos, key=lambda listed: natural(listed.path))
    numbers = [re.search(r"(\d{1,9})$", PurePosixPath(listed.path).stem) for listed in ordered]
    indices = [int(number[1]) if number else -1 for number in numbers]
    if -1 in indices or len(set(indices)) < len(indices):
        indices = list(range(len(ordered)))
    return tuple(sorted((replace(listed, index=index) for index, listed in zip(indices, ordered, strict=True)), key=lambda listed: listed.index))


def _missing(message: str) -> Problem:
    return Problem("missing_video", message)
