"""What `features.json` says that a step holds, and which of it is likely to be camera, state, action and instruction."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cosmos_ops.logs.spelling import natural, plain

STEPS, METADATA = "steps", "episode_metadata"
_MOST_DEPTH, _MOST_WIDTH = 12, 256
_STATES = ("state", "robot_state", "proprio", "proprioception", "robot_obs", "qpos")
_STATE_PARTS = re.compile(r"(^|_)(joints?|eef|ee|tcp|cartesian|gripper|arms?|hands?|qpos|pose|effector|state|proprio)(_|$)", re.IGNORECASE)
_ACTIONS = ("action", "actions")
_NO_MOTION = re.compile(r"terminate|embedding|language|reward|discount|tokens|mask|bounds|box", re.IGNORECASE)
_INSTRUCTIONS = re.compile(r"(natural_)?language_instruction(_\d)?|instruction|language_text|task(_description)?", re.IGNORECASE)


@dataclass(frozen=True)
class Leaf:
    """One thing that every step, or the episode, has."""

    name: str
    """Its path below `steps`: `observation/image_0`."""
    key: str
    """What the Example calls it: `steps/observation/image_0`."""
    kind: str
    """`image`, `text`, `number`, or `other` for what is not read."""
    shape: tuple[int | None, ...]
    """Of one step; None where it varies."""
    dtype: str

    @property
    def width(self) -> int | None:
        """How many numbers a step has, None where that varies."""
        return None if None in self.shape else math.prod(self.shape)


def read_leaves(described: Any) -> dict[str, dict[str, Leaf]]:
    """`STEPS` and `METADATA` -> name -> leaf, from the parsed `features.json`. Raises `ValueError` where it describes no steps."""
    features = _members(described)
    if STEPS not in features:
        raise ValueError("it describes no `steps`, so this is no RLDS dataset")
    found = {}
    for part in (STEPS, METADATA):
        leaves: list[Leaf] = []
        _walk(features.get(part), part, "", -1, 0, leaves)
        found[part] = {leaf.name: leaf for leaf in leaves}
    return found


def find_cameras(leaves: Iterable[Leaf]) -> dict[str, str]:
    """Source -> camera name: the source's last part where that tells them apart."""
    sources = sorted((leaf.name for leaf in leaves if is_camera(leaf)), key=natural)
    short = [source.rpartition("/")[2] for source in sources]
    return {source: name if short.count(name) == 1 else source.replace("/", ".") for source, name in zip(sources, short, strict=True)}


def is_camera(leaf: Leaf) -> bool:
    """Whether it is a colour picture; a depth map or a mask is none."""
    return leaf.kind == "image" and leaf.dtype == "uint8" and leaf.shape[-1:] in ((3,), (None,), ()) and not re.search(r"depth|mask", leaf.name, re.IGNORECASE)


def find_state(leaves: Iterable[Leaf]) -> tuple[str, ...]:
    """The vector that is called state or the like; else what joints, hand and gripper say, side by side."""
    known = {leaf.name: leaf for leaf in leaves if _is_vector(leaf) and leaf.name.startswith("observation/")}
    for name in _STATES:
        if f"observation/{name}" in known:
            return (f"observation/{name}",)
    return tuple(sorted((name for name in known if _STATE_PARTS.search(name.rpartition("/")[2])), key=natural))


def find_action(leaves: Iterable[Leaf]) -> tuple[str, ...]:
    """The vector `action`; or all vectors below it, without the one that ends the episode."""
    known = {leaf.name for leaf in leaves if _is_vector(leaf) or leaf.name in _ACTIONS}
    for name in _ACTIONS:
        if name in known:
            return (name,)
        parts = sorted((other for other in known if other.startswith(f"{name}/")), key=natural)
        if parts:
            return tuple(parts)
    return ()


def find_instructions(leaves: dict[str, dict[str, Leaf]]) -> tuple[Leaf, ...]:
    """Texts that may hold the instruction, the likeliest first."""
    texts = [leaf for part in (STEPS, METADATA) for leaf in leaves[part].values() if _may_be_text(leaf)]
    return tuple(leaf for leaf in texts if _INSTRUCTIONS.fullmatch(leaf.name.rpartition("/")[2]))


def _may_be_text(leaf: Leaf) -> bool:
    """Language Table keeps its instruction as the code points of a text, padded with zeros."""
    return leaf.kind == "text" or (leaf.kind == "number" and leaf.dtype == "int32" and len(leaf.shape) == 1 and (leaf.width or 0) > 64)


def _is_vector(leaf: Leaf) -> bool:
    numeric = leaf.kind == "number" and leaf.width is not None and 0 < leaf.width <= _MOST_WIDTH
    return numeric and not _NO_MOTION.search(leaf.name)


def _members(node: Any) -> dict[str, Any]:
    inner = node.get("featuresDict") if isinstance(node, dict) else None
    members = inner.get("features") if isinstance(inner, dict) else None
    return members if isinstance(members, dict) else {}


def _walk(node: Any, key: str, name: str, nesting: int, depth: int, leaves: list[Leaf]) -> None:
    """`nesting` counts sequences within the steps: theirs are ragged, and the Example calls them otherwise."""
    if not isinstance(node, dict) or depth > _MOST_DEPTH:
        return
    for member, inner in _members(node).items():
        _walk(inner, f"{key}/{member}", f"{name}/{member}".strip("/"), nesting, depth + 1, leaves)
    for kind in ("sequence", "dataset"):
        if isinstance(node.get(kind), dict):
            _walk(node[kind].get("feature"), key, name, nesting + 1, depth + 1, leaves)
            return
    if not _members(node) and name and name == plain(name):
        leaves.append(_leaf(node, f"{key}/ragged_flat_values" if nesting > 0 else key, name, nesting > 0))


def _leaf(node: dict[str, Any], key: str, name: str, ragged: bool) -> Leaf:
    if isinstance(node.get("image"), dict):
        inner, kind = node["image"], "image"
    elif isinstance(node.get("tensor"), dict):
        inner, kind = node["tensor"], "number"
        if inner.get("dtype") in ("string", "object"):
            kind = "text"
        elif inner.get("encoding") not in (None, "none"):
            kind = "other"
    else:
        inner, kind = {}, "text" if "text" in node else "other"
    if ragged and kind != "text":
        kind = "other"
    shape = inner.get("shape")
    sizes = shape.get("dimensions") if isinstance(shape, dict) else None
    dtype = inner.get("dtype")
    return Leaf(name, key, kind, tuple(map(_size, sizes if isinstance(sizes, list) else [])), dtype if isinstance(dtype, str) else "")


def _size(stated: Any) -> int | None:
    """Whole numbers are texts in Protocol Buffers' JSON; -1 varies."""
    text = str(stated)
    return int(text) if text.isdecimal() and len(text) < 10 else None
