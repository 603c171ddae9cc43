"""Names of the numbers in state and action, as a format tells them, and which unit the format gives them.

A name is what the log calls the number; where the log or its format states the unit, it follows in brackets: `left_waist [rad]`. A name that says
nothing (`motor_3`) stays as it is. Nobody may depend on a name being there.
"""

import json
import re
from pathlib import Path
from typing import Any

_UNITS = {"rad": "rad", "radian": "rad", "radians": "rad", "deg": "deg", "degree": "deg", "degrees": "deg", "m": "m", "meter": "m", "meters": "m"}
_UNITS |= {"metre": "m", "metres": "m", "mm": "mm", "cm": "cm"}
_BRACKETS = re.compile(r"^(.*?)\s*[\[(]\s*([A-Za-z]+)\s*[\])]\s*$")
_SUFFIX = re.compile(r"^(.*[A-Za-z0-9])[._](rad|deg|mm)$")
_UNTOLD = re.compile(r"(motor|dim|state|action|joint|value)?_?\d+")
_MODALITY = "meta/modality.json"
_MOST_BYTES = 1 << 20


def with_unit(name: str, unit: str | None) -> str:
    """The name as it is kept: the unit in brackets behind it."""
    return f"{name} [{unit}]" if unit else name


def split_unit(name: str) -> tuple[str, str | None]:
    """(name, unit) of a kept name; also of one that carries its unit as `elbow.deg`, `elbow_rad` or `elbow (deg)`. Units: rad, deg, m, cm, mm."""
    for pattern in (_BRACKETS, _SUFFIX):
        found = pattern.match(name)
        if found and found[2].lower() in _UNITS:
            return found[1], _UNITS[found[2].lower()]
    return name, None


def lerobot_names(root: Path, features: dict[str, Any], kind: str, columns: list[str], width: int) -> tuple[str, ...]:
    """Names of the `width` numbers of a LeRobot dataset's `state` or `action`, which `columns` make up; empty where they do not fit.

    GR00T's datasets say in `meta/modality.json` which numbers are which limb; that is told where the names themselves say nothing.
    """
    names = tuple(name for key in columns for name in _listed(features.get(key, {})))
    if len(names) != width:
        names = ()
    if all(_UNTOLD.fullmatch(name) for name in names):
        return _limbs(root, kind, width) or names
    return names


def _listed(feature: dict[str, Any]) -> list[str]:
    """`names` is a list, a list in a list, or a mapping: group -> names, or name -> place."""
    names = feature.get("names")
    if isinstance(names, dict):
        values = list(names.values())
        if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            names = sorted(names, key=names.__getitem__)
        else:
            names = values
    flat = []
    for item in names if isinstance(names, list) else []:
        flat += item if isinstance(item, list) else [item]
    return [name for name in flat if isinstance(name, str)] if all(isinstance(name, str) for name in flat) else []


def _limbs(root: Path, kind: str, width: int) -> tuple[str, ...]:
    """`left_arm_0`, `left_arm_1`, ... by the parts that `modality.json` names."""
    path = root / _MODALITY
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return ()
        parts = json.loads(path.read_text(encoding="utf-8"))[kind].items()
        spans = sorted((int(part["start"]), int(part["end"]), str(name)) for name, part in parts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        return ()
    bounds = [0, *(end for _, end, _ in spans)]
    # Side by side from the first number to the last, none longer than what is there.
    if bounds[-1] != width or any(start != before or end <= start for (start, end, _), before in zip(spans, bounds, strict=False)):
        return ()
    return tuple(f"{name}_{place - start}" for start, end, name in spans for place in range(start, end))
