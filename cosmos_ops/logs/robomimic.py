"""robomimic datasets, and those laid out like them (LIBERO, RoboCasa): one HDF5 file of many episodes.

    /data                        attributes env_args (JSON: env_kwargs with control_freq, robots), or problem_info with language_instruction
    /data/demo_<N>/actions       [T, A]
    /data/demo_<N>/obs/<name>    numbers [T, D], and cameras uint8 [T, H, W, 3] such as agentview_image
    /data/demo_<N>/rewards       [T]
    /mask/<name>                 names of the episodes of a split

State is the arm's pose and gripper, as robomimic's own policies take it. Files without pictures (`low_dim`) cannot be used.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cosmos_ops.errors import UserError
from cosmos_ops.logs.base import register_reader
from cosmos_ops.logs.hdf5.entries import EpisodeFacts
from cosmos_ops.logs.hdf5.files import Unreadable, attribute, children, find_dataset, find_group, opened
from cosmos_ops.logs.hdf5.pictures import is_raw
from cosmos_ops.logs.hdf5.reader import HDF5Reader
from cosmos_ops.logs.hdf5.series import numbers
from cosmos_ops.logs.mapping import usable_rate
from cosmos_ops.logs.names import with_unit
from cosmos_ops.logs.spelling import plain

if TYPE_CHECKING:
    import h5py

_EPISODE = re.compile(r"demo_\d+")
_STATE = re.compile(r"robot\d+_(eef_pos|eef_quat|gripper_qpos)|(ee|gripper|joint)_(pos|states)")
_COLUMNS: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    ("eef_pos", ("x", "y", "z"), "m"),
    ("ee_pos", ("x", "y", "z"), "m"),
    ("eef_quat", ("qx", "qy", "qz", "qw"), None),
    ("joint_pos", (), "rad"),
    ("joint_states", (), "rad"),
    ("gripper_qpos", (), "m"),
    ("gripper_states", (), "m"),
)
"""End of a dataset's name -> names of its columns, their unit."""
_MOST_NAMES_BYTES = 64 << 20


@register_reader
class RobomimicReader(HDF5Reader):
    """See `hdf5.reader.HDF5Reader`. Raises `UserError` where no episode has a picture."""

    format: ClassVar[str] = "robomimic-hdf5"
    layout: ClassVar[str] = "/data/demo_<N> with actions and obs/<camera>_image"
    default_fps: ClassVar[float] = 20.0
    """robosuite's control rate."""

    def __init__(self, root: Path):
        super().__init__(root)
        whole = [entry for entry in self.entries if entry.problem is None]
        if whole and not self.mapping.cameras and not any(entry.cameras for entry in whole):
            raise UserError(
                f"{root} is a robomimic dataset of {len(whole)} episodes without pictures; a video model needs obs/<camera>_image: "
                "render them with robomimic's dataset_states_to_obs.py"
            )

    @classmethod
    def holds(cls, file: "h5py.File") -> bool:
        return any(_EPISODE.fullmatch(name) for name in children(find_group(file, "data")))

    def groups(self, file: "h5py.File") -> list[str]:
        return [f"/data/{name}" for name in children(find_group(file, "data")) if _EPISODE.fullmatch(name)]

    def facts(self, group: "h5py.Group") -> EpisodeFacts:
        data = find_group(group.file, "data")
        settings = _member(_json(data, "env_args"), "env_kwargs")
        rate, robots = settings.get("control_freq"), settings.get("robots")
        robots = robots if isinstance(robots, list) else [robots]
        robot = "+".join(name for name in robots if isinstance(name, str) and name == plain(name)) or None
        task = _text(_json(group, "ep_meta"), "lang") or _text(_json(data, "problem_info"), "language_instruction")
        return EpisodeFacts(robot, task, usable_rate(rate), _outcome(group, settings), _text(_json(data, "env_args"), "env_version"))

    def series(self, group: "h5py.Group") -> tuple[tuple[str, ...], tuple[str, ...]]:
        return tuple(f"obs/{name}" for name in children(find_group(group, "obs")) if _STATE.fullmatch(name)), ("actions",)

    def column_names(self, group: "h5py.Group", dataset: str, width: int) -> tuple[str, ...]:
        """robosuite's poses are in metres and quaternions (x, y, z, w), its joints in radians, its world's z is up; LIBERO shortens the names."""
        name = dataset.removeprefix("obs/")
        axes, unit = next(((axes, unit) for ending, axes, unit in _COLUMNS if name.endswith(ending) and len(axes) in (0, width)), ((), None))
        return tuple(with_unit(f"{name}_{axis}", unit) for axis in axes or map(str, range(width)))

    def cameras(self, group: "h5py.Group") -> dict[str, str]:
        names = [name for name in children(find_group(group, "obs")) if self._is_camera(group, f"obs/{name}")]
        short = {name: re.sub(r"_(image|rgb)$", "", name) for name in names}
        taken = list(short.values())
        return {f"obs/{name}": short[name] if taken.count(short[name]) == 1 else name for name in names}

    def declared(self) -> int:
        """Episodes that are there or that a mask names."""
        there = {(entry.file, entry.group) for entry in self.entries}
        for file in sorted({entry.file for entry in self.entries if entry.problem is None}):
            there |= {(file, f"/data/{name}") for name in self._masked(file)}
        return len(there)

    def _masked(self, name: str) -> set[str]:
        found: set[str] = set()
        try:
            with opened(self.root, name) as file:
                masks = find_group(file, "mask")
                for mask in children(masks):
                    dataset = find_dataset(masks, mask)
                    if dataset is not None and dataset.ndim == 1 and dataset.dtype.kind in "SO" and dataset.nbytes <= _MOST_NAMES_BYTES:
                        found |= {text for text in map(_decoded, dataset[()]) if _EPISODE.fullmatch(text)}
        except Unreadable:
            return found
        return found

    def _is_camera(self, group: "h5py.Group", path: str) -> bool:
        dataset = find_dataset(group, path)
        return dataset is not None and is_raw(dataset)


def _outcome(group: "h5py.Group", settings: dict[str, Any]) -> str | None:
    """Of sparse rewards, one above 0 says that the task was solved; shaped ones say nothing."""
    rewards = find_dataset(group, "rewards")
    if rewards is None or settings.get("reward_shaping") is not False:
        return None
    return "success" if (numbers(rewards) > 0).any() else "failure"


def _json(owner, name: str) -> dict[str, Any]:
    stored = attribute(owner, name)
    try:
        value = json.loads(stored) if isinstance(stored, str) else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _member(values: dict[str, Any], name: str) -> dict[str, Any]:
    return values[name] if isinstance(values.get(name), dict) else {}


def _text(values: dict[str, Any], name: str) -> str | None:
    value = values.get(name)
    value = " ".join("".join(value).split()) if isinstance(value, (str, list)) and all(isinstance(part, str) for part in value) else ""
    return value or None


def _decoded(value) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
