"""From a bag's index to an episode: one clock, telemetry on the rows of the state, cameras with their measured rate."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cosmos_ops.logs.bags import roles
from cosmos_ops.logs.bags.clock import choose_times
from cosmos_ops.logs.bags.find import Bag
from cosmos_ops.logs.bags.findings import absent_cameras, camera_problems, damage_problems, drift_problems, listed, telemetry_problems, unused_topics
from cosmos_ops.logs.bags.rows import Series, align, distinct, series
from cosmos_ops.logs.bags.scan import Scan
from cosmos_ops.logs.bags.storage import Channel, Damaged
from cosmos_ops.logs.bags.topic import Topic
from cosmos_ops.logs.base import Camera, Episode, Problem, RecordedClock
from cosmos_ops.logs.mapping import Mapping
from cosmos_ops.logs.names import with_unit

_NEAREST_WHOLE = 0.02
"""A measured rate this close to a whole number is that number: clocks jitter, cameras are set to whole rates."""
_COVERS = 0.8
"""Cameras that see at least this much of what the best one sees bound the episode; a camera that died early does not."""
_SLIDES = re.compile(r"grip|finger|jaw|hand|(?<!shoulder_)lift|torso|prismatic|linear|slide|rail|gantry|column|wheel", re.IGNORECASE)
"""Joints that may be told in metres or in a scale of their own."""
_EMPTY = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, eq=False)
class Track:
    """Where one camera's pictures lie. Entry i is message i: pictures in the order of time, streams in the order they were recorded in."""

    bag: Bag
    channel: Channel
    stream: bool
    codec: str
    fps: float
    times_s: np.ndarray
    """[N] float64 on the episode's clock."""
    places: np.ndarray
    """[N, 3] int64: the file's number in the bag and the place in it."""
    shown: np.ndarray
    """[N] bool: a frame of the episode. A stream keeps what comes before, to decode from."""
    entries: np.ndarray
    """[N] bool: decoding can begin here."""
    swap_red_blue: bool

    @property
    def end_s(self) -> float:
        """Time of the last frame, its own length included."""
        return float(self.times_s[self.shown].max()) + 1.0 / self.fps


def assemble(index: int, bag: Bag, scan: Scan, given: Mapping, usual: Iterable[str] = ()) -> tuple[Episode, dict[str, Track]]:
    """The episode and the tracks of its cameras by name.

    `given` is the drop's mapping; its gaps are guessed. `usual` are topics of pictures that most bags of the drop have, as their metadata declare.
    """
    mapping = roles.complete(given, roles.guess(scan))
    problems = [*bag.problems, *damage_problems(bag, scan)]
    topics = {}
    for topic in sorted(scan.topics, key=len):  # the same topic in two types: the one with more messages
        topics[topic.channel.topic] = topic
    cameras = _camera_topics(mapping, topics, problems)
    problems += [] if given.cameras or not scan.messages else absent_cameras(mapping, topics, bag, usual)
    numbers = {role: _number_topics(role, getattr(mapping, role), topics, problems) for role in ("state", "action")}
    used = {topic.channel.topic: topic for topic in (*cameras.values(), *numbers["state"], *numbers["action"])}
    problems += unused_topics(scan, mapping, used)
    clock = choose_times({name: (np.frombuffer(topic.log_ns, np.int64), np.frombuffer(topic.stamp_ns, np.int64)) for name, topic in used.items()})
    times = clock.of
    if used and not clock.headers:
        problems.append(Problem("clock_source", clock.told, fatal=False))
    drift_cameras = {topic.channel.topic: name for name, topic in cameras.items()}
    length_s = max((float(np.ptp(heard)) / 1e9 for heard in times.values() if len(heard)), default=0.0)
    problems += drift_problems(clock.drift_s, drift_cameras, length_s)
    parts = {role: _series(role, found, times, problems) for role, found in numbers.items()}
    rows_ns = _rows(parts, {name: times[topic.channel.topic] for name, topic in cameras.items()}, problems)
    start_ns = int(rows_ns[0]) if len(rows_ns) else 0
    clock_s = (rows_ns - start_ns) / 1e9
    tracks = {}
    for name, topic in cameras.items():
        track = _track(name, bag, topic, (times[topic.channel.topic] - start_ns) / 1e9, clock_s, given, problems)
        if track is not None:
            tracks[name] = track
    state, action = (align(parts[role], rows_ns) if parts[role] else np.zeros((len(rows_ns), 0), np.float32) for role in ("state", "action"))
    problems += telemetry_problems(parts, rows_ns, state, action, bool(numbers["state"] or numbers["action"]))
    if not scan.messages and not any(problem.fatal for problem in problems):
        problems.append(Problem("unreadable", "the bag holds no message"))
    elif not cameras and not any(problem.fatal for problem in problems):
        problems.append(
            Problem("no_camera", f"no topic of pictures is in the bag ({listed([topic.channel.topic for topic in scan.topics]) or 'no topic is read'})")
        )
    if mapping.task is None:
        problems.append(Problem("no_task", "no task text is recorded; set `task` in cosmos-drop.yaml", fatal=False))
    made = tuple(_camera(name, track, cameras[name]) for name, track in sorted(tracks.items()))
    fastest = max(made, key=lambda camera: camera.fps, default=None)
    episode = Episode(
        index=index,
        frames=fastest.frames if fastest else len(rows_ns),
        fps=fastest.fps if fastest else _rate(clock_s) or 1.0,
        timestamps_s=clock_s.astype(np.float64),
        state=state if len(rows_ns) else _EMPTY,
        action=action if len(rows_ns) else _EMPTY,
        cameras=made,
        task=mapping.task,
        outcome=roles.outcome(scan),
        robot=mapping.robot,
        problems=tuple(problems),
        state_names=_names(parts["state"], topics) if len(rows_ns) else (),
        action_names=_names(parts["action"], topics) if len(rows_ns) else (),
        clocks={drift_cameras.get(topic): RecordedClock(0.0, by_s, 0.0, by_s / length_s if length_s else 0.0) for topic, by_s in sorted(clock.drift_s.items())},
    )
    return episode, tracks


def _names(parts: list[Series], topics: dict[str, Topic]) -> tuple[str, ...]:
    """Names of joints with the unit that `sensor_msgs/JointState` gives to what turns; numbers of other messages have their place's."""
    names: list[str] = []
    for part in parts:
        topic = topics[part.topic]
        if topic.meaning == "joints" and topic.quantity == "position":
            names += [with_unit(name, None if _SLIDES.search(name) else "rad") for name in part.columns]
        else:
            names += [f"{name}_{topic.quantity or 'value'}" for name in part.columns]
    return tuple(names)


def _camera_topics(mapping: Mapping, topics: dict[str, Topic], problems: list[Problem]) -> dict[str, Topic]:
    found = {}
    for source, name in mapping.cameras.items():
        topic = topics.get(source)
        if topic is None or topic.meaning not in ("image", "video"):
            why = "is not in the bag" if topic is None else f"holds {topic.channel.schema}, which is no picture"
            problems.append(Problem("missing_video", f"camera {name}: {source} {why}", name))
        elif topic.refusal:
            problems.append(Problem("unsupported_camera", f"camera {name} cannot be used: {topic.refusal}", name))
        elif len(topic) == 0 or topic.size_px == (0, 0):
            problems.append(Problem("unreadable", f"none of the {len(topic) + topic.damaged} pictures of {source} can be decoded: {topic.damage}", name))
        else:
            found[name] = topic
            if topic.damaged:
                told = f"{topic.damaged} of {len(topic) + topic.damaged} pictures of {source} are left out ({topic.damage})"
                problems.append(Problem("damaged_frames", told, name, fatal=topic.damaged > len(topic)))
    return found


def _number_topics(role: str, sources: tuple[str, ...], topics: dict[str, Topic], problems: list[Problem]) -> list[Topic]:
    found = []
    for source in sources:
        topic = topics.get(source)
        if topic is None or topic.meaning not in ("joints", "numbers") or not len(topic):
            why = "is not in the bag" if topic is None else f"holds no numbers that can be read ({topic.damage or topic.channel.schema})"
            problems.append(Problem("missing_telemetry", f"{role}: {source} {why}"))
        else:
            found.append(topic)
            if topic.damaged:
                told = f"{topic.damaged} of {len(topic) + topic.damaged} messages of {source} are left out ({topic.damage})"
                problems.append(Problem("damaged_telemetry", told, fatal=False))
    return found


def _series(role: str, topics: list[Topic], times: dict[str, np.ndarray], problems: list[Problem]) -> list[Series]:
    made = []
    for topic in topics:
        try:
            made.append(series(topic, times[topic.channel.topic]))
        except Damaged as error:
            problems.append(Problem("broken_telemetry", f"{role}: {error}"))
            continue
        if made[-1].left_out:
            why = "at the time of the next one, or of another length than most"
            told = f"{made[-1].left_out} of {len(topic)} messages of {topic.channel.topic} are left out: {why}"
            problems.append(Problem("damaged_telemetry", told, fatal=False))
    return made


def _rows(parts: dict[str, list[Series]], cameras_ns: dict[str, np.ndarray], problems: list[Problem]) -> np.ndarray:
    """[T] int64 times of the episode's rows: those of the fullest state topic (of actions, of a camera where there is none) while cameras see."""
    leading = max(parts["state"] or parts["action"], key=lambda part: len(part.times_ns), default=None)
    if leading is not None:
        rows_ns = leading.times_ns
    else:
        seen_ns = np.sort(max(cameras_ns.values(), key=len, default=np.zeros(0, np.int64)))
        rows_ns = seen_ns[distinct(seen_ns)]
    spans = [(int(times.min()), int(times.max()), _period_ns(times)) for times in cameras_ns.values() if len(times) > 1]
    if not spans or not len(rows_ns):
        return rows_ns
    seen = [min(stop, int(rows_ns[-1])) - max(start, int(rows_ns[0])) for start, stop, _ in spans]
    bounds = [span for span, length in zip(spans, seen, strict=True) if length >= _COVERS * max(seen) > 0]
    first, last = max((start - period for start, _, period in bounds), default=0), min((stop + period for _, stop, period in bounds), default=0)
    inside = (rows_ns >= first) & (rows_ns <= last)
    if not inside.any():
        problems.append(Problem("clock_drift", "telemetry and cameras were never recorded at the same time: they cannot be matched"))
        return rows_ns
    if not inside.all():
        before, after = int(inside.argmax()), int(inside[::-1].argmax())
        told = [f"{count} {where}" for count, where in ((before, "before"), (after, "after")) if count]
        problems.append(Problem("trimmed", f"rows of telemetry without pictures are left out: {' and '.join(told)} the cameras'", fatal=False))
    return rows_ns[inside]


def _track(name: str, bag: Bag, topic: Topic, times_s: np.ndarray, clock_s: np.ndarray, given: Mapping, problems: list[Problem]) -> Track | None:
    stream = topic.meaning == "video"
    shown = np.frombuffer(topic.shown, np.uint8).astype(bool) if stream else np.ones(len(times_s), bool)
    entries = np.frombuffer(topic.entries, np.uint8).astype(bool) if stream else shown
    order = np.arange(len(times_s)) if stream else np.argsort(times_s, kind="stable")
    fps = _rate(np.sort(times_s[shown]))
    if fps is None or not len(clock_s):
        problems.append(Problem("too_short", f"{topic.channel.topic} holds {int(shown.sum())} pictures, at least two at different times are needed", name))
        return None
    period_s = 1.0 / fps
    shown = shown & (times_s >= clock_s[0] - period_s / 2) & (times_s <= clock_s[-1] + period_s)
    if shown.sum() < 2:
        problems.append(Problem("too_short", f"{topic.channel.topic} holds {int(shown.sum())} pictures while telemetry was recorded", name))
        return None
    problems += camera_problems(name, np.sort(times_s[shown]), period_s)
    places = np.frombuffer(topic.places, np.int64).reshape(-1, 3)
    order = order if stream else order[shown[order]]
    arrays = (times_s[order], places[order], shown[order], entries[order])
    return Track(bag, topic.channel, stream, topic.encoding, fps, *arrays, swap_red_blue=given.swap_red_blue)


def _camera(name: str, track: Track, topic: Topic) -> Camera:
    first = int(track.places[track.shown][0, 0])
    return Camera(name, track.bag.files[first][0], 0.0, int(track.shown.sum()), track.fps, *topic.size_px, track.codec)


def _period_ns(times_ns: np.ndarray) -> int:
    return int(np.median(np.diff(np.sort(times_ns))))


def _rate(times_s: np.ndarray) -> float | None:
    """Frames a second by the median interval; None where there is none."""
    steps = np.diff(times_s)
    steps = steps[steps > 0]
    if not len(steps):
        return None
    rate = 1.0 / float(np.median(steps))
    whole = round(rate)
    return float(whole) if whole and abs(rate - whole) <= _NEAREST_WHOLE * whole else round(rate, 3) or None
