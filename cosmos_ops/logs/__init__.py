"""Robot logs in, episodes out. Importing this package registers the readers that come with the project."""

from cosmos_ops.logs import aloha, bags, lerobot, rlds, robomimic, robonet, video_folder  # in this order a log is offered to them
from cosmos_ops.logs.base import Camera, CameraSample, Episode, LogInfo, LogReader, Problem, TimedFrame, UnreadableVideo, open_log, readers, register_reader

__all__ = [
    "Camera",
    "CameraSample",
    "Episode",
    "LogInfo",
    "LogReader",
    "Problem",
    "TimedFrame",
    "UnreadableVideo",
    "aloha",
    "bags",
    "lerobot",
    "open_log",
    "readers",
    "register_reader",
    "rlds",
    "robomimic",
    "robonet",
    "video_folder",
]
