"""What tests of readers ask of a log."""

import copy
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_ops.errors import UserError
from cosmos_ops.logs import Episode, LogReader, UnreadableVideo, open_log
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.profiles import load_profile
from tests.fixtures import bag_factory as make

IMAGE, COMPRESSED, JOINT_STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/JointState"
MOST_FRAMES = 10_000_000


def only(path):
    reader = open_log(path)
    (episode,) = reader.episodes()
    return reader, episode


def codes(episode, fatal=None):
    return [problem.code for problem in episode.problems if fatal is None or problem.fatal == fatal]


def message(episode, code):
    return next(problem.message for problem in episode.problems if problem.code == code)


def poses(rows, shift=0):
    return np.array([make.pose(row + shift) for row in rows], np.float32)


def described(path: Path) -> list[list[str]] | None:
    """Codes of the fatal problems of each episode, None for a log that is refused. Whatever is in the log, every part of it is told in one line, keeps
    the promises of `logs.base`, and every failure on the way is of the kinds that are expected."""
    try:
        reader = open_log(path)
        about = reader.info()
        assert all(problem.message.isprintable() for problem in about.problems)
        json.dumps([about.robot, about.format_version, about.licence, about.declared_episodes], allow_nan=False)
        fatal = []
        for episode in reader.episodes():
            check_episode(episode, path)
            check_cameras(reader, episode)
            fatal.append(codes(episode, fatal=True))
        if hasattr(reader, "guess"):
            reader.guess()
    except UserError as error:
        assert "\n" not in str(error)
        return None
    try:
        json.dumps(inspect_log(path, load_profile("nano")), allow_nan=False)
    except UserError as error:
        assert "\n" not in str(error)
    return fatal


def check_episode(episode: Episode, path: Path) -> None:
    assert all(problem.message.isprintable() for problem in episode.problems)
    assert len(episode.timestamps_s) == len(episode.state) and len(episode.state) - len(episode.action) in (0, 1)
    assert episode.frames <= MOST_FRAMES and episode.fps > 0 and math.isfinite(episode.duration_s)
    assert (np.diff(episode.timestamps_s) > 0).all(), "a clock that does not run"
    root = path.resolve() if path.is_dir() else path.resolve().parent
    assert all((root / camera.path).resolve().is_relative_to(root) for camera in episode.cameras)


def check_cameras(reader: LogReader, episode: Episode) -> None:
    for camera in episode.cameras:
        try:
            list(reader.sample(episode, camera, [0.0, 0.4, 0.8]).frames)
            times_s = [frame.time_s for frame in reader.decode(episode, camera, 0.0, 1.0)]
            assert times_s == sorted(times_s)
            list(reader.decode(episode, camera, 0.2, 0.5))
        except UnreadableVideo as error:
            assert "\n" not in str(error)


def mutate(rng: random.Random, tree: dict | list, odd: list[Any]) -> None:
    """Replace one random node of a JSON tree by one of the odd values, or now and then remove it."""
    node, key = rng.choice(list(_spots(tree)))
    if isinstance(node, dict) and rng.random() < 0.2:
        del node[key]
    else:
        node[key] = copy.deepcopy(rng.choice(odd))


def _spots(node: dict | list):
    for key in node if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from _spots(node[key])
