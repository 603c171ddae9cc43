"""`dagster.yaml` in `DAGSTER_HOME`: a link to the project's, or, with Dagster's storage in PostgreSQL, a copy of it that says so."""

import os
import uuid
from pathlib import Path
from typing import Any

import yaml

from cosmos_ops.errors import UserError

SETTINGS = "dagster.yaml"
_MARK = "# Made from"


def write_settings(dagster_home: Path, project_settings: Path, postgres_variable: str | None) -> None:
    """Make `dagster.yaml` say where Dagster's storage is: in SQLite beside it, or in the database whose address stands in `postgres_variable`.

    The address itself, which holds a password, is never written. A file that somebody else put there stays as it is. Raises `UserError` where
    such a file does not name the variable.
    """
    path = dagster_home / SETTINGS
    if postgres_variable is None:
        if _made_here(path) or not path.exists():
            _put(path, lambda part: part.symlink_to(project_settings))
        return
    storage = {"postgres": {"postgres_url": {"env": postgres_variable}}}
    if path.exists() and not _made_here(path) and not _links_to(path, project_settings):
        if _read(path).get("storage") != storage:
            line = f"storage: {{postgres: {{postgres_url: {{env: {postgres_variable}}}}}}}"
            raise UserError(f"{postgres_variable} is set and {path} is a file of your own with other storage; put `{line}` into it, or remove it")
        return
    head = f"{_MARK} {project_settings}, with the storage that {postgres_variable} names; written again whenever that changes.\n"
    text = head + yaml.safe_dump(_read(project_settings) | {"storage": storage}, sort_keys=False)
    if not path.is_file() or path.is_symlink() or path.read_text() != text:
        _put(path, lambda part: part.write_text(text))


def left_behind(dagster_home: Path, postgres: bool) -> bool:
    """Whether SQLite holds history that a Dagster on PostgreSQL does not show."""
    return postgres and (dagster_home / "history" / "runs.db").is_file()


def _made_here(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_text().startswith(_MARK)


def _links_to(path: Path, target: Path) -> bool:
    return path.is_symlink() and path.resolve() == target.resolve()


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not readable as YAML ({' '.join(str(error).split())[:200]}); mend or remove it") from None
    return values if isinstance(values, dict) else {}


def _put(path: Path, make) -> None:
    """Into place in one move: another process may be reading, or doing the same."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    make(part)
    os.replace(part, path)
