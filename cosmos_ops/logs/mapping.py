"""What a log does not say of itself, said in a small YAML in or beside the drop.

`cosmos-drop.yaml` in a drop's folder, or `<file>.cosmos-drop.yaml` beside a drop that is one file. What it says wins over the log.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cosmos_ops.errors import UserError
from cosmos_ops.settings import build

NAME = "cosmos-drop.yaml"
_MOST_BYTES = 64_000
_MOST_DEPTH = 3
_SLOWEST_FPS, _FASTEST_FPS = 0.01, 10_000.0


@dataclass(frozen=True)
class Mapping:
    """Every key may be left out. A source is what the format calls it: a dataset's path in HDF5, a topic in a bag."""

    robot: str | None = None
    licence: str | None = None
    fps: float | None = None
    """Rows and frames a second, for a format without a clock of its own."""
    task: str | None = None
    """The instruction of every episode."""
    cameras: dict[str, str] = field(default_factory=dict)
    """Source -> camera name; where given, exactly these are read."""
    state: tuple[str, ...] = ()
    """Sources of proprioception, joined in this order."""
    action: tuple[str, ...] = ()
    swap_red_blue: bool = False
    """True for recorders that handed RGB pictures to an encoder that takes BGR: their files show red as blue."""


def usable_rate(value: Any) -> float | None:
    """A number of frames a second that something can be done with, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _SLOWEST_FPS <= value <= _FASTEST_FPS:
        return None
    return float(value)


def mapping_path(root: Path) -> Path:
    """Where the mapping of the drop at `root` lies, whether or not it is there."""
    return root / NAME if root.is_dir() else root.with_name(f"{root.name}.{NAME}")


def read_mapping(root: Path) -> Mapping:
    """The mapping of the drop at `root`, empty where there is none. Raises `UserError` in one line that names the file and what is wrong."""
    path = mapping_path(Path(root))
    if path.is_symlink():
        raise UserError(f"{path} is a link; a drop holds its own files, put a copy in its place")
    if not path.exists():
        return Mapping()
    if not path.is_file():
        raise UserError(f"{path} is not a regular file; take it out of the drop")
    mapping = build(Mapping, _parse(path), str(path))
    _check(mapping, path)
    return mapping


def mapping_values(mapping: Mapping) -> dict:
    """The keys that say something, as plain values in the order of the file."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(mapping).items()}
    return {name: value for name, value in plain.items() if value not in (None, False, {}, [])}


def mapping_yaml(values: dict) -> str:
    """The text of a mapping file, from `mapping_values`; reading it gives the same mapping again."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def _parse(path: Path) -> dict:
    try:
        with open(path, "rb") as stream:
            raw = stream.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise UserError(f"{path} is larger than {_MOST_BYTES // 1000} kB; a mapping is a few lines")
        text = raw.decode()
        if not is_plain_yaml(text, _MOST_DEPTH):
            raise UserError(f"{path} holds a YAML alias (*name) or lists within lists; write the values out plainly")
        values = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML ({' '.join(str(error).split())}); mend the file") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds {type(values).__name__}, a mapping of settings is needed")
    return values


def is_plain_yaml(text: str, most_depth: int) -> bool:
    """No aliases and little nesting: a few bytes of either can stand for gigabytes, or for minutes of parsing. Raises `yaml.YAMLError`."""
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > most_depth:
            return False
    return True


def _check(mapping: Mapping, path: Path) -> None:
    names = list(mapping.cameras.values())
    texts = [mapping.robot, mapping.licence, mapping.task, *mapping.cameras, *names, *mapping.state, *mapping.action]
    repeated = sorted({name for name in names if names.count(name) > 1})
    checks = (
        (mapping.fps is None or usable_rate(mapping.fps), f"fps is {mapping.fps}; use a number from {_SLOWEST_FPS:g} to {_FASTEST_FPS:g}"),
        (all(text is None or text.strip() for text in texts), "a text is empty; leave the key out instead"),
        (all(text is None or text.isprintable() for text in texts), "a text holds a line break or a control character; use one plain line"),
        (not repeated, f"two cameras are called {repeated[:1]}; give each its own name"),
    )
    for fine, message in checks:
        if not fine:
            raise UserError(f"{path}: {message}")
