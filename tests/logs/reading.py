"""What tests of readers ask of a log."""

import numpy as np

from cosmos_ops.logs import open_log
from tests.fixtures import bag_factory as make

IMAGE, COMPRESSED, JOINT_STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/JointState"


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
