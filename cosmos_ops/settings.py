"""Strict reading of YAML settings into frozen dataclasses: an unknown or mistyped key is an error that names the fix."""

import dataclasses
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from cosmos_ops.errors import UserError

T = TypeVar("T")

# YAML 1.1 reads 1e-4 as a string, because a float needs a point there.
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file; anything else is a `UserError`."""
    try:
        value = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML ({' '.join(str(error).split())}); mend the file") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds {type(value).__name__}, a mapping of settings is needed")
    return value


def build(cls: type[T], values: dict, where: str) -> T:
    """Make a dataclass from a mapping, nested dataclasses included.

    `where` names the source in errors. Raises `UserError` on unknown keys, missing keys and wrong types.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if not isinstance(values, dict):
        raise UserError(f"{where}: a mapping is needed, got {type(values).__name__}")
    unknown = sorted(map(str, set(values) - set(fields)))
    if unknown:
        raise UserError(f"{where}: unknown setting {unknown[0]!r}; known are {', '.join(sorted(fields))}")
    made = {}
    for name, field in fields.items():
        if name in values:
            made[name] = _convert(hints[name], values[name], f"{where}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{where}: setting {name!r} is missing")
    return cls(**made)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        return _convert(next(option for option in options if option is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}: a list is needed, got {value!r}")
        return tuple(_convert(typing.get_args(hint)[0], item, where) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where}: a mapping is needed, got {value!r}")
        key_hint, item_hint = typing.get_args(hint)
        return {_convert(key_hint, _key(key_hint, key), where): _convert(item_hint, item, where) for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if hint in (Any, object) or type(value) is hint:
        return value
    raise UserError(f"{where}: {hint.__name__} is needed, got {value!r}")


def _key(hint: Any, key: Any) -> Any:
    # JSON turns integer keys into strings.
    return int(key) if hint is int and isinstance(key, str) and key.isdecimal() else key
