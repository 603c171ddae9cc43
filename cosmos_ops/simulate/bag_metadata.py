"""A ROS 2 bag's folder, topics and `metadata.yaml`, as rosbag2 writes them (its metadata version 6)."""

from pathlib import Path

import yaml

METADATA = "metadata.yaml"
COMPRESSED_IMAGE, IMAGE, JOINT_STATE, STRING = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState", "std_msgs/msg/String"
STATE_TOPIC, COMMAND_TOPIC, TASK_TOPIC = "/joint_states", "/joint_commands", "/task"
_VERSION = 6
"""The first with `custom_data`; later ones add hashes of the message types, which readers may check."""


def bag_file(root: Path, episode_index: int) -> Path:
    """`episode_000003/episode_000003_0.mcap` below the drop's root: rosbag2 numbers the files of a bag that it splits."""
    name = f"episode_{episode_index:06d}"
    return root / name / f"{name}_0.mcap"


def camera_topic(camera: str, raw_images: bool) -> str:
    """Where image_transport publishes a camera."""
    return f"/camera/{camera}/image_raw{'' if raw_images else '/compressed'}"


def topic_entry(topic: str, message_type: str, messages: int) -> dict:
    """One of `topics_with_message_count`."""
    described = {"name": topic, "type": message_type, "serialization_format": "cdr", "offered_qos_profiles": ""}
    return {"topic_metadata": described, "message_count": messages}


def write_metadata(file: Path, topics: dict[str, tuple[str, int]], start_ns: int, end_ns: int, custom: dict[str, str]) -> None:
    """Write `metadata.yaml` beside a bag's only file. `topics`: name -> (type, messages); `custom`: what `ros2 bag record --custom-data` takes."""
    span = {"starting_time": {"nanoseconds_since_epoch": start_ns}, "duration": {"nanoseconds": end_ns - start_ns}}
    messages = sum(count for _, count in topics.values())
    information = {
        "version": _VERSION,
        "storage_identifier": "mcap",
        "duration": dict(span["duration"]),
        "starting_time": dict(span["starting_time"]),
        "message_count": messages,
        "topics_with_message_count": [topic_entry(name, kind, count) for name, (kind, count) in topics.items()],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file.name],
        "files": [{"path": file.name, **span, "message_count": messages}],
        "custom_data": dict(custom),
    }
    file.with_name(METADATA).write_text(yaml.safe_dump({"rosbag2_bagfile_information": information}, sort_keys=False, allow_unicode=True))
