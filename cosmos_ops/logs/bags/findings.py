"""What is wrong with a bag or worth a word, each as one line; what is fatal quarantines the camera or the episode."""

from collections.abc import Iterable

import numpy as np

from cosmos_ops.logs.bags import roles
from cosmos_ops.logs.bags.find import METADATA, Bag
from cosmos_ops.logs.bags.messages import MEANING
from cosmos_ops.logs.bags.rows import STALE_S, Series, staleness_s
from cosmos_ops.logs.bags.scan import Scan
from cosmos_ops.logs.bags.topic import Topic
from cosmos_ops.logs.base import Problem
from cosmos_ops.logs.mapping import Mapping
from cosmos_ops.logs.telemetry import DRIFT_TOLERANCE_S, MAX_DRIFT_FRACTION, MAX_GAP_S

_MOST_MISSING = 0.05
_LATE_S = 0.5


def damage_problems(bag: Bag, scan: Scan) -> list[Problem]:
    """A file that ends early is shown: what there is of it is good. The gaps that damage leaves are judged where they are."""
    found = [Problem("damaged_log", line, fatal=scan.messages == 0) for line in scan.damage]
    if bag.messages is not None and scan.messages != bag.messages:
        found.append(Problem("message_count", f"the bag's metadata declare {bag.messages} messages, {scan.messages} are there", fatal=False))
    return found


def absent_cameras(mapping: Mapping, topics: dict[str, Topic], bag: Bag, usual: Iterable[str]) -> list[Problem]:
    """Cameras of which the bag should hold pictures by its own metadata or by those of the other bags, and holds none."""
    declared = {topic: count for topic, (schema, count) in bag.declared.items() if count and MEANING.get(schema) in ("image", "video")}
    names, problems = set(mapping.cameras.values()), []
    for topic in sorted({*declared, *usual} - topics.keys()):
        name = roles.camera_name(topic)
        if name not in names:
            told = f"{METADATA} declares {declared[topic]} pictures on {topic}" if topic in declared else f"most bags of this drop have pictures on {topic}"
            problems.append(Problem("missing_video", f"{told}, this bag holds none", name))
            names.add(name)
    return problems


def drift_problems(drift_s: dict[str, float], cameras: dict[str, str], length_s: float) -> list[Problem]:
    """A clock that runs away is replaced by the recorder's; far away for its length, neither of the two can be trusted."""
    problems = []
    for topic, by_s in sorted(drift_s.items()):
        told = f"header times of {topic} {'gain' if by_s > 0 else 'lose'} {abs(by_s):.1f} s on the recorder's clock"
        fatal = abs(by_s) > max(DRIFT_TOLERANCE_S, MAX_DRIFT_FRACTION * length_s)
        end = "rows and frames cannot be matched" if fatal else "the recorder's times are taken"
        problems.append(Problem("clock_drift", f"{told}: {end}", cameras.get(topic), fatal))
    return problems


def unused_topics(scan: Scan, mapping: Mapping, used: dict[str, Topic]) -> list[Problem]:
    """One line on every topic that nothing is made of."""
    left = [f"{topic} ({count} {schema})" for (topic, schema), count in sorted(scan.ignored.items())]
    for topic in sorted(scan.topics, key=lambda topic: topic.channel.topic):
        name = topic.channel.topic
        if used.get(name) is topic or name in mapping.cameras or (topic.meaning == "text" and topic.texts):
            continue
        why = f": {topic.refusal}" if topic.refusal else ""
        left.append(f"{name} ({len(topic) + topic.damaged} {topic.channel.schema}{why})")
    return [Problem("ignored_topics", f"{len(left)} topics are not used: {listed(left)}", fatal=False)] if left else []


def camera_problems(name: str, times_s: np.ndarray, period_s: float) -> list[Problem]:
    """Pauses are cuts: fatal where a clip would show one. `times_s` are the frames', ascending."""
    steps = np.diff(times_s)
    gap = int(steps.argmax())
    if steps[gap] > max(MAX_GAP_S, 2 * period_s):
        cuts = np.flatnonzero(steps > max(MAX_GAP_S, 2 * period_s))
        told = [f"the camera paused for {steps[cut]:.1f} s at {times_s[cut]:.1f} s, the video has a cut there" for cut in cuts]
        return [Problem("clock_gap", line, name, True, float(times_s[cut]), float(times_s[cut + 1])) for line, cut in zip(told, cuts, strict=True)]
    if times_s[0] > _LATE_S:
        told = f"the camera's first picture comes {times_s[0]:.1f} s after the episode's start"
        return [Problem("clock_gap", told, name, True, -period_s, float(times_s[0]))]
    expected = round((times_s[-1] - times_s[0]) / period_s) + 1
    if len(times_s) < (1 - _MOST_MISSING) * expected:
        told = f"{expected - len(times_s)} of {expected} pictures are missing at {1 / period_s:g} a second"
        return [Problem("missing_frames", told, name, fatal=False)]
    return []


def telemetry_problems(parts: dict[str, list[Series]], rows_ns: np.ndarray, state: np.ndarray, action: np.ndarray, declared: bool) -> list[Problem]:
    problems = []
    if not parts["state"] and not parts["action"] and not declared:
        problems.append(Problem("no_telemetry", "no topic of states or actions is in the bag: rows are the cameras' times and hold no numbers", fatal=False))
    elif not parts["action"]:
        problems.append(Problem("no_action", "no topic of actions is in the bag: clips hold no actions; set `action` in cosmos-drop.yaml", fatal=False))
    steps = np.diff(rows_ns) / 1e9
    if len(steps) and steps.max() > MAX_GAP_S:
        since_s = (rows_ns - rows_ns[0]) / 1e9
        for row in np.flatnonzero(steps > MAX_GAP_S):
            told = f"telemetry paused for {steps[row]:.1f} s after row {row}"
            problems.append(Problem("clock_gap", told, None, True, float(since_s[row]), float(since_s[row + 1])))
    for part in (*parts["state"], *parts["action"]):
        stale_s = staleness_s(part, rows_ns)
        if stale_s > STALE_S and not any(problem.fatal for problem in problems):
            problems.append(Problem("stale_telemetry", f"{part.topic} is up to {stale_s:.1f} s old where a row takes its value", fatal=False))
    if not (np.isfinite(state).all() and np.isfinite(action).all()):
        problems.append(Problem("not_finite", "state or action holds values that are not numbers", fatal=False))
    return problems


def listed(items: list[str], most: int = 8) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
