"""Which topic is a camera, state, action or task: guessed from names and types, or as the drop's mapping says."""

import re
from collections.abc import Sequence
from dataclasses import replace

from cosmos_ops.logs.bags.scan import Scan
from cosmos_ops.logs.bags.topic import Topic
from cosmos_ops.logs.mapping import Mapping
from cosmos_ops.logs.spelling import natural

_COMMAND = re.compile(r"cmd|command|action|target|leader|master|desired|goal|setpoint", re.IGNORECASE)
_STATE = re.compile(r"state|follower|puppet|slave|measured|actual|feedback|observation|joint", re.IGNORECASE)
_TASK = re.compile(r"task|instruction|prompt|language", re.IGNORECASE)
_PICTURE_WORDS = {
    "image", "images", "img", "raw", "compressed", "rect", "color", "colour", "rgb", "mono", "video", "stream", "h264", "h265", "image_raw",
    "image_compressed", "image_color", "image_rect", "image_rect_color", "image_rect_raw", "image_mono", "compressed_image", "compressed_video",
}  # fmt: skip
_FOLDER_WORDS = {"camera", "cameras", "sensor", "sensors", "observation", "observations", "image", "images"}
_URDF_NAME = re.compile(r"<robot\b[^>]*?\bname\s*=\s*[\"']([^\"'<>]{1,100})[\"']")
_MOST_FACT_CHARACTERS = 2000
Facts = dict[str, str]
_PLAIN = re.compile(r"[^A-Za-z0-9_.-]+")


def guess(scan: Scan) -> Mapping:
    """What the bag's topics seem to be; of pictures that were recorded twice, raw and packed, the fuller topic."""
    cameras: dict[str, Topic] = {}
    for topic in sorted(pictures(scan), key=lambda topic: natural(topic.channel.topic)):
        name = camera_name(topic.channel.topic)
        if name in cameras and _same_source(cameras[name], topic):
            if len(topic) > len(cameras[name]):
                cameras[name] = topic
            continue
        while name in cameras:
            name = _slug(topic.channel.topic) if name != _slug(topic.channel.topic) else name + "_2"
        cameras[name] = topic
    state, action = _telemetry(scan)
    return Mapping(
        robot=robot(scan),
        licence=_fact(scan.facts, "licence", "license"),
        task=task(scan),
        cameras={topic.channel.topic: name for name, topic in cameras.items()},
        state=tuple(state),
        action=tuple(action),
    )


def complete(mapping: Mapping, guessed: Mapping) -> Mapping:
    """The mapping with its gaps filled by the guess."""
    taken = {*mapping.state, *mapping.action}
    return replace(
        mapping,
        robot=mapping.robot or guessed.robot,
        licence=mapping.licence or guessed.licence,
        task=mapping.task or guessed.task,
        cameras=mapping.cameras or guessed.cameras,
        state=mapping.state or tuple(topic for topic in guessed.state if topic not in taken),
        action=mapping.action or tuple(topic for topic in guessed.action if topic not in taken),
    )


def pictures(scan: Scan) -> list[Topic]:
    """Topics of pictures that can be used or that only broke."""
    return [topic for topic in scan.topics if topic.meaning in ("image", "video") and topic.refusal is None]


def joined(guesses: Sequence[Mapping]) -> Mapping:
    """What several bags of a drop seem to be: every source of any, and of the rest what all say alike."""
    first = guesses[0]
    names: dict[str, str] = {}
    for source, name in (item for some in guesses for item in some.cameras.items()):
        if source not in names and name not in names.values():
            names[source] = name
    sources = {role: tuple(dict.fromkeys(source for some in guesses for source in getattr(some, role))) for role in ("state", "action")}
    common = {key: getattr(first, key) if len({getattr(some, key) for some in guesses}) == 1 else None for key in ("robot", "licence", "task")}
    return replace(first, cameras=names, **sources, **common)


def camera_name(topic: str) -> str:
    """`/camera/wrist/color/image_raw/compressed` -> `wrist`, `/cam_high/image_raw` -> `cam_high`, `/camera/image` -> `camera`."""
    parts = [part for part in topic.split("/") if part]
    while len(parts) > 1 and parts[-1].lower() in _PICTURE_WORDS:
        parts.pop()
    while len(parts) > 1 and parts[0].lower() in _FOLDER_WORDS:
        parts.pop(0)
    return _slug("_".join(parts)) or "camera"


def task(scan: Scan) -> str | None:
    """The first text on a topic whose name says that it is the instruction, else what the metadata say."""
    for topic in sorted(scan.topics, key=lambda topic: topic.channel.topic):
        if topic.meaning == "text" and _TASK.search(topic.channel.topic):
            for text in topic.texts:
                plain = " ".join(text.split())
                if plain.isprintable() and plain:
                    return plain
    return _fact(scan.facts, "task", "instruction", "prompt")


def outcome(scan: Scan) -> str | None:
    """`success` or `failure` where the metadata tell."""
    told = (_fact(scan.facts, "outcome", "success") or "").lower()
    return {"true": "success", "1": "success", "success": "success", "false": "failure", "0": "failure", "failure": "failure", "fail": "failure"}.get(told)


def declared_robot(facts: Facts) -> str | None:
    """The robot that a recording's metadata name."""
    return _fact(facts, "robot", "robot_type", "robot_name")


def robot(scan: Scan) -> str | None:
    """From the metadata, else the name in a URDF that was published."""
    named = (_URDF_NAME.search(text) for topic in scan.topics if topic.meaning == "text" for text in topic.texts)
    return declared_robot(scan.facts) or next((found.group(1) for found in named if found), None)


def _fact(facts: Facts, *keys: str) -> str | None:
    texts = (" ".join(facts[key].split()) for key in keys if isinstance(facts.get(key), str))
    return next((text for text in texts if text.isprintable() and 0 < len(text) <= _MOST_FACT_CHARACTERS), None)


def _telemetry(scan: Scan) -> tuple[list[str], list[str]]:
    """(state topics, action topics). Joints are preferred to plain arrays; joints alone are the state, whatever they are called."""
    state, action = [], []
    for meaning in ("joints", "numbers"):
        topics = [topic for topic in scan.topics if topic.meaning == meaning and len(topic)]
        names = sorted({topic.channel.topic for topic in topics}, key=natural)
        commands = [name for name in names if _COMMAND.search(name)]
        state = state or [name for name in names if name not in commands and (meaning == "joints" or _STATE.search(name))]
        action = action or commands
    joints = {topic.channel.topic for topic in scan.topics if topic.meaning == "joints"}
    return (action, []) if not state and joints.issuperset(action) else (state, action)


def _same_source(first: Topic, second: Topic) -> bool:
    """`/cam/image_raw` and `/cam/image_raw/compressed` show the same pictures."""
    names: Sequence[str] = (first.channel.topic.rstrip("/"), second.channel.topic.rstrip("/"))
    shorter, longer = sorted(names, key=len)
    return longer.startswith(shorter + "/") or shorter == longer


def _slug(name: str) -> str:
    return _PLAIN.sub("_", name.strip("/")).strip("_.-")
