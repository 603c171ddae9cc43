"""One record, one episode: what its Example says, the pictures left where they lie."""

from dataclasses import dataclass, replace

import numpy as np

from cosmos_ops.logs.base import Camera, Episode, Problem
from cosmos_ops.logs.mapping import NAME, Mapping
from cosmos_ops.logs.rlds import features
from cosmos_ops.logs.rlds.example import BYTES, Values, numbers, pieces, read_features
from cosmos_ops.logs.rlds.features import METADATA, STEPS, Leaf
from cosmos_ops.logs.rlds.tfrecord import Damaged, PlacedFile, Record, check
from cosmos_ops.logs.spelling import plain
from cosmos_ops.video.frames import UnreadableVideo
from cosmos_ops.video.stills import still_facts

_MOST_TEXT_BYTES = 64_000
_HEADER_BYTES = 1 << 20
"""Of a picture: its size is stated at its beginning, after what a camera may say of itself."""


@dataclass(frozen=True)
class Sources:
    """What of a step is read as what."""

    cameras: dict[str, str]
    state: tuple[str, ...]
    action: tuple[str, ...]
    instructions: tuple[Leaf, ...]


def find_sources(leaves: dict[str, dict[str, Leaf]], mapping: Mapping) -> Sources:
    """What the mapping says, and where it is silent what the names suggest."""
    steps = leaves[STEPS].values()
    cameras, state, action = features.find_cameras(steps), features.find_state(steps), features.find_action(steps)
    return Sources(mapping.cameras or cameras, mapping.state or state, mapping.action or action, features.find_instructions(leaves))


class EpisodeReader:
    """Reads the Examples of one dataset."""

    def __init__(self, leaves: dict[str, dict[str, Leaf]], mapping: Mapping, default_fps: float):
        self._leaves, self._mapping = leaves, mapping
        self.sources = find_sources(leaves, mapping)
        self.fps = mapping.fps or default_fps

    def read(self, index: int, place: str, file: PlacedFile, record: Record) -> Episode:
        """The episode in a record; `place` is what its cameras' paths begin with. Raises `Damaged` where the record cannot be trusted."""
        check(file, record)
        found = read_features(file, record)
        problems: list[Problem] = []
        state, action = self._telemetry(file, found, problems)
        frames = len(state)
        if not (np.isfinite(state).all() and np.isfinite(action).all()):
            problems.append(Problem("not_finite", "state or action holds values that are not numbers", fatal=False))
        cameras = [self._camera(place, file, found, source, name, frames, problems) for source, name in self.sources.cameras.items()]
        problems += self._no_pictures()
        return Episode(
            index=index,
            frames=frames,
            fps=self.fps,
            timestamps_s=np.arange(frames, dtype=np.float64) / self.fps,
            state=state,
            action=action,
            cameras=tuple(camera for camera in cameras if camera),
            task=self._task(file, found, problems),
            outcome=self._outcome(file, found),
            robot=self._mapping.robot,
            problems=tuple(problems),
        )

    def pictures(self, file: PlacedFile, record: Record, source: str) -> list[tuple[int, int]]:
        """(start, stop) of each of a camera's pictures in the file. Raises `Damaged`."""
        values = read_features(file, record).get(self._key(source))
        if values is None:
            raise Damaged(f"{file.name}: {source} is not in the record any more")
        return pieces(file, values)

    def _key(self, source: str) -> str:
        leaf = self._leaves[STEPS].get(source)
        return leaf.key if leaf else f"{STEPS}/{source}"

    def _telemetry(self, file: PlacedFile, found: dict[str, Values], problems: list[Problem]) -> tuple[np.ndarray, np.ndarray]:
        nothing = np.zeros((0, 0), np.float32)
        try:
            state, action = self._series(file, found, self.sources.state), self._series(file, found, self.sources.action)
            if state is None and action is None:
                raise Damaged(f"neither state nor action is found; say in {NAME} which of its features they are")
        except Damaged as error:
            problems.append(Problem("broken_telemetry", plain(str(error))))
            return nothing, nothing
        state = np.zeros((len(action), 0), np.float32) if state is None else state
        action = np.zeros((len(state), 0), np.float32) if action is None else action
        if len(state) != len(action) or len(state) == 0:
            problems.append(Problem("broken_telemetry", f"{len(state)} rows of state and {len(action)} of action cannot be matched"))
            return nothing, nothing
        return state, action

    def _series(self, file: PlacedFile, found: dict[str, Values], names: tuple[str, ...]) -> np.ndarray | None:
        parts = []
        for name in names:
            leaf, values = self._leaves[STEPS].get(name), found.get(self._key(name))
            if leaf is None or values is None or values.kind == BYTES or not leaf.width:
                raise Damaged(f"{name} is not in the record, or holds no numbers")
            flat = numbers(file, values)
            if len(flat) % leaf.width:
                raise Damaged(f"{name} has {len(flat)} numbers, which is no multiple of {leaf.width}")
            parts.append(flat.reshape(-1, leaf.width).astype(np.float32))
        lengths = sorted({len(part) for part in parts})
        if len(lengths) > 1:
            raise Damaged(f"{', '.join(names)} have {' and '.join(map(str, lengths))} rows")
        return np.concatenate(parts, axis=1) if parts else None

    def _camera(self, place: str, file: PlacedFile, found: dict[str, Values], source: str, name: str, frames: int, problems: list[Problem]) -> Camera | None:
        values = found.get(self._key(source))
        if values is None:
            problems.append(Problem("missing_video", f"{source} is not in the record", name))
            return None
        try:
            places = pieces(file, values)
            if not places:
                raise Damaged("it holds no picture")
            start, stop = places[0]
            facts = still_facts(file.at(start, min(stop - start, _HEADER_BYTES)))
        except UnreadableVideo as error:
            problems.append(Problem("unreadable", plain(f"camera {name} cannot be used: {source}: {error}"), name))
            return None
        if len(places) != frames and frames:
            problems.append(Problem("frame_count", f"telemetry has {frames} rows, the camera {len(places)} frames", name, fatal=False))
        return Camera(name, f"{place}/{source}", 0.0, len(places), self.fps, facts.height, facts.width, facts.codec)

    def _no_pictures(self) -> list[Problem]:
        """Pictures that are no colour pictures, said once an episode as cameras that cannot be used."""
        others = [leaf for leaf in self._leaves[STEPS].values() if leaf.kind == "image" and leaf.name not in self.sources.cameras]
        if self._mapping.cameras:
            return []
        told = "is a depth map, a mask or in grey, colour pictures of 8 bits are needed"
        names = [(leaf.name, leaf.name.rpartition("/")[2]) for leaf in others]
        taken = list(self.sources.cameras.values())
        named = [source.replace("/", ".") if short in taken else short for source, short in names]
        return [Problem("unsupported_camera", f"camera {name} cannot be used: it {told}", name) for name in named]

    def _task(self, file: PlacedFile, found: dict[str, Values], problems: list[Problem]) -> str | None:
        if self._mapping.task:
            return self._mapping.task
        for leaf in self.sources.instructions:
            texts = [text for text in self._texts(file, found.get(leaf.key), leaf) if text]
            if texts:
                if len(set(texts)) > 1:
                    problems.append(Problem("several_tasks", f"{leaf.name} changes within the episode, the first text is taken", fatal=False))
                return texts[0]
        problems.append(Problem("no_task", f"no task text is recorded; say it as `task` in {NAME}", fatal=False))
        return None

    def _texts(self, file: PlacedFile, values: Values | None, leaf: Leaf) -> list[str]:
        """The text of each step, empty where there is none or it cannot be read."""
        if values is None:
            return []
        try:
            if values.kind == BYTES:
                raw = {file.at(start, min(stop - start, _MOST_TEXT_BYTES)): None for start, stop in pieces(file, values)}
                return [_one_line(content.decode(errors="replace")) for content in raw]
            points = numbers(file, values).reshape(-1, leaf.width or 1)
            return [_one_line("".join(chr(point) for point in row if 0 < point < 0xD800)) for row in dict.fromkeys(map(tuple, points.astype(int).tolist()))]
        except (Damaged, ValueError):
            return []

    def _outcome(self, file: PlacedFile, found: dict[str, Values]) -> str | None:
        """Stated with the episode; else, of rewards that are 0 or 1, a 1 says that the task was solved. Zeros say nothing: many demos have no reward."""
        success = found.get(f"{METADATA}/success")
        reward = found.get(f"{STEPS}/reward")
        try:
            if success is not None and len(stated := numbers(file, success)) == 1 and stated[0] in (0, 1):
                return "success" if stated[0] else "failure"
            rewards = numbers(file, reward) if reward is not None else np.zeros(0)
        except Damaged:
            return None
        return "success" if len(rewards) and np.isin(rewards, (0, 1)).all() and rewards.any() else None


def broken(index: int, fps: float, problem: Problem, robot: str | None) -> Episode:
    """An episode of which nothing can be read."""
    nothing = np.zeros((0, 0), np.float32)
    return Episode(index, 0, fps, np.zeros(0), nothing, nothing, (), None, robot=robot, problems=(replace(problem, message=plain(problem.message)),))


def _one_line(text: str) -> str:
    return plain(" ".join(text.split()))
