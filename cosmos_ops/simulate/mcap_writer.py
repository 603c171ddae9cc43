"""Episodes as ROS 2 bags, one folder each: pictures, joint states, commands and the task, stamped by whoever took them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_ops.simulate.bag_metadata import (
    COMMAND_TOPIC,
    COMPRESSED_IMAGE,
    IMAGE,
    JOINT_STATE,
    STATE_TOPIC,
    STRING,
    TASK_TOPIC,
    bag_file,
    camera_topic,
    write_metadata,
)
from cosmos_ops.simulate.card import write_card
from cosmos_ops.simulate.hdf5_writer import jpeg
from cosmos_ops.simulate.recording import Recording, RobotSpec

_FIRST_START_NS = 1_760_000_000 * 10**9
_START_EVERY_NS = 600 * 10**9
_JOINT_LATENCY_S, _CAMERA_LATENCY_S = (0.0005, 0.003), (0.008, 0.018)
"""Shortest and longest way from the stamp to the recorder."""
_HEADER = f"""
{"=" * 80}
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
{"=" * 80}
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
_DEFINITIONS = {
    COMPRESSED_IMAGE: "std_msgs/Header header\nstring format\nuint8[] data" + _HEADER,
    IMAGE: "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data" + _HEADER,
    JOINT_STATE: "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort" + _HEADER,
    STRING: "string data\n",
}


@dataclass(frozen=True)
class _Event:
    """One message before it is made. Times are the recorder's but for the stamp, which is that of whoever took the picture."""

    heard_ns: int
    topic: str
    published_ns: int
    stamp_ns: int
    index: int
    """Row or frame that it carries."""


def write_ros2_mcap(
    root: Path,
    robot: RobotSpec,
    recordings: Iterable[Recording],
    simulator: str = "tabletop",
    raw_images: bool = False,
    copies: Mapping[int, int] | None = None,
) -> None:
    """Write a bag folder an episode into the empty folder `root`; recordings are taken one at a time. `simulator` is named on the card.

    Episodes start ten minutes apart. `copies`: episode -> the one whose clock it repeats, so that equal recordings give equal bytes.
    `raw_images`: sensor_msgs/Image instead of CompressedImage.
    """
    episodes = 0
    for recording in recordings:
        write_bag(bag_file(root, episodes), robot, recording, (copies or {}).get(episodes, episodes), raw_images)
        episodes += 1
    write_card(root, robot, episodes, "MCAP bags of ROS 2, one an episode", simulator)


def write_bag(file: Path, robot: RobotSpec, recording: Recording, origin: int, raw_images: bool = False) -> None:
    """One bag; equal arguments give equal bytes. `origin` numbers the episode in time."""
    from mcap_ros2.writer import Writer

    file.parent.mkdir(parents=True)
    start_ns = _FIRST_START_NS + origin * _START_EVERY_NS
    cameras = {camera_topic(camera, raw_images): camera for camera in recording.frames}
    types = {TASK_TOPIC: STRING, STATE_TOPIC: JOINT_STATE, COMMAND_TOPIC: JOINT_STATE, **dict.fromkeys(cameras, IMAGE if raw_images else COMPRESSED_IMAGE)}
    events = sorted(_events(recording, cameras, start_ns, origin), key=lambda event: (event.heard_ns, event.topic))
    counts = dict.fromkeys(types, 0)
    with open(file, "wb") as stream, Writer(stream) as writer:
        schemas = {kind: writer.register_msgdef(kind, _DEFINITIONS[kind]) for kind in dict.fromkeys(types.values())}
        for event in events:
            message = _message(recording, robot, event, cameras.get(event.topic), raw_images)
            writer.write_message(event.topic, schemas[types[event.topic]], message, event.heard_ns, event.published_ns, counts[event.topic])
            counts[event.topic] += 1
    custom = {"robot": robot.name, "task": recording.task, "success": str(recording.succeeded).lower(), "fps": str(recording.fps)}
    topics = {topic: (types[topic], count) for topic, count in counts.items()}
    write_metadata(file, topics, events[0].heard_ns, events[-1].heard_ns, custom)


def _events(recording: Recording, cameras: dict[str, str], start_ns: int, origin: int) -> Iterator[_Event]:
    rng = np.random.default_rng([origin, 23])
    clock = recording.clock_s
    begin_ns = start_ns + _ns(clock[0])
    yield _Event(begin_ns, TASK_TOPIC, begin_ns, begin_ns, 0)
    for topic, taken, stamped, latency in (
        (STATE_TOPIC, clock, clock, _JOINT_LATENCY_S),
        (COMMAND_TOPIC, clock, clock, _JOINT_LATENCY_S),
        *((topic, recording.arrival_s(camera), recording.camera_clock_s(camera), _CAMERA_LATENCY_S) for topic, camera in cameras.items()),
    ):
        heard = taken + rng.uniform(*latency, len(taken))
        for index, times_s in enumerate(zip(heard, taken, stamped, strict=True)):
            heard_ns, published_ns, stamp_ns = (start_ns + _ns(time_s) for time_s in times_s)
            yield _Event(heard_ns, topic, published_ns, stamp_ns, index)


def _message(recording: Recording, robot: RobotSpec, event: _Event, camera: str | None, raw_images: bool) -> dict[str, Any]:
    if event.topic == TASK_TOPIC:
        return {"data": recording.task}
    header = {"stamp": {"sec": event.stamp_ns // 10**9, "nanosec": event.stamp_ns % 10**9}, "frame_id": camera or robot.name}
    if camera is None:
        commanded = event.topic == COMMAND_TOPIC
        names, values = (robot.action_names, recording.action) if commanded else (robot.state_names, recording.state)
        # What each number is, its name says; some are no joint positions.
        return {"header": header, "name": list(names), "position": values[event.index].astype(float).tolist(), "velocity": [], "effort": []}
    image = recording.frames[camera][event.index]
    if not raw_images:
        return {"header": header, "format": "jpeg", "data": jpeg(image)}
    height, width, channels = image.shape
    shape = {"height": height, "width": width, "encoding": "rgb8", "is_bigendian": 0, "step": width * channels}
    return {"header": header, **shape, "data": image.tobytes()}


def _ns(seconds: float) -> int:
    return round(float(seconds) * 1e9)
