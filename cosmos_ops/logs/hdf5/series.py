"""State and action of an episode out of HDF5 datasets."""

import math
from typing import TYPE_CHECKING

import numpy as np

from cosmos_ops.logs.hdf5.files import Unreadable, find_dataset, reading

if TYPE_CHECKING:
    import h5py

MOST_SERIES_BYTES = 64 << 20
"""A dataset above this is not read: a shape is cheap to declare, and this is hours of telemetry."""


def read_series(group: "h5py.Group", state_names: tuple[str, ...], action_names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(state [T, S], action [T or T - 1, A]) float32, each the named datasets side by side; S or A is 0 where none is named.

    An action less than states is normal: none leads out of the last state. Raises `Unreadable`.
    """
    with reading("telemetry"):
        state, action = _joined(group, state_names), _joined(group, action_names)
    if state is None and action is None:
        raise Unreadable("neither state nor action is recorded")
    state = np.zeros((len(action), 0), np.float32) if state is None else state
    action = np.zeros((len(state), 0), np.float32) if action is None else action
    if len(state) == 0 or len(action) == 0:
        raise Unreadable("state and action hold no row")
    if len(action) not in (len(state), len(state) - 1):
        raise Unreadable(f"{len(state)} rows of state and {len(action)} of action cannot be matched")
    return state, action


def numbers(dataset: "h5py.Dataset") -> np.ndarray:
    """[T, D] float32 of a numeric dataset, further axes flattened. Raises `Unreadable` for other types, no axis, or too many bytes."""
    if dataset.dtype.kind not in "fiub" or dataset.ndim < 1:
        raise Unreadable(f"{dataset.name} holds {dataset.dtype} {dataset.shape}, rows of numbers are needed")
    if dataset.nbytes > MOST_SERIES_BYTES:
        raise Unreadable(f"{dataset.name} declares {dataset.nbytes} bytes, at most {MOST_SERIES_BYTES} are read")
    with np.errstate(over="ignore", invalid="ignore"):
        return dataset[()].astype(np.float32).reshape(len(dataset), math.prod(dataset.shape[1:]))


def _joined(group: "h5py.Group", names: tuple[str, ...]) -> np.ndarray | None:
    parts = []
    for name in names:
        dataset = find_dataset(group, name)
        if dataset is None:
            raise Unreadable(f"{name} does not exist")
        parts.append(numbers(dataset))
    lengths = sorted({len(part) for part in parts})
    if len(lengths) > 1:
        raise Unreadable(f"{', '.join(names)} have {' and '.join(map(str, lengths))} rows")
    return np.concatenate(parts, axis=1) if parts else None
