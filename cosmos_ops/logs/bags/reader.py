"""Bags behind `base.LogReader`.

An episode's clock starts at the first row of telemetry. Which topic is a camera, a state or an action is guessed from names and types and can be set
in the drop's `cosmos-drop.yaml`, see `mapping`.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from cosmos_ops.logs.bags import roles
from cosmos_ops.logs.bags.episode import Track, assemble
from cosmos_ops.logs.bags.find import Bag, find_bags, holds_bags
from cosmos_ops.logs.bags.frames import decode_track, sample_track
from cosmos_ops.logs.bags.messages import MEANING
from cosmos_ops.logs.bags.scan import Scan, scan_bag
from cosmos_ops.logs.base import Camera, CameraSample, Episode, LogInfo, Problem, TimedFrame, UnreadableVideo, register_reader
from cosmos_ops.logs.licence import find_licence
from cosmos_ops.logs.mapping import NAME, Mapping, read_mapping

_MOST_KEPT = 1_000_000
"""Messages of cameras whose places are remembered, some dozen bytes each; a bag beyond is indexed again when its frames are asked for."""


@register_reader
class BagReader:
    """See `base.LogReader`. A bag that cannot be read is delivered as an episode with its fatal problem."""

    format: ClassVar[str] = "bag"

    def __init__(self, root: Path):
        self._root = Path(root)
        self._mapping = read_mapping(self._root)
        self._tracks: OrderedDict[int, dict[str, Track]] = OrderedDict()
        self._guesses: dict[int, Mapping] = {}
        self._lock = threading.Lock()

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return holds_bags(root)

    def info(self) -> LogInfo:
        guess = self.guess()
        robots = {robot for bag in self._bags if (robot := roles.declared_robot(bag.facts))} or {guess.robot} - {None}
        robot = self._mapping.robot or "+".join(sorted(robots)) or None
        licence = self._mapping.licence or find_licence(self._root, {"license": guess.licence})
        notes = [Problem("clock_source", "times are those in the messages' headers, where an episode does not say otherwise", fatal=False)]
        if self._mapping.fps is not None:
            notes.append(Problem("unused_setting", f"fps in {NAME} is not used: bags say themselves when a message came", fatal=False))
        return LogInfo(self.format, self._first.kind if self._first else "unreadable", robot, licence, len(self._bags), tuple(notes))

    def episodes(self) -> Iterator[Episode]:
        for index in range(len(self._bags)):
            yield self._read(index)

    def decode(self, episode: Episode, camera: Camera, start_s: float = 0.0, stop_s: float = float("inf"), threads: int = 0) -> Iterator[TimedFrame]:
        return decode_track(self._track(episode, camera), start_s, stop_s, threads)

    def sample(self, episode: Episode, camera: Camera, times_s: Sequence[float], threads: int = 0) -> CameraSample:
        track = self._track(episode, camera)
        return CameraSample(track.end_s, sample_track(track, times_s, threads), np.sort(track.times_s[track.shown]))

    def guess(self) -> Mapping:
        """What is read, and as what: a mapping to correct and save. By the bags read so far, at least the first."""
        if not self._guesses and self._first is not None:
            self._guesses[0] = roles.guess(self._first)
        guesses = [self._guesses[index] for index in sorted(self._guesses)]
        return roles.complete(self._mapping, roles.joined(guesses)) if guesses else self._mapping

    @cached_property
    def _bags(self) -> list[Bag]:
        return find_bags(self._root)

    @cached_property
    def _first(self) -> Scan | None:
        return scan_bag(self._bags[0]) if self._bags else None

    @cached_property
    def _usual(self) -> tuple[str, ...]:
        """Topics of pictures in more than half of the bags whose metadata tell."""
        telling = [bag for bag in self._bags if bag.declared]
        found = Counter(topic for bag in telling for topic, (schema, count) in bag.declared.items() if count and MEANING.get(schema) in ("image", "video"))
        return tuple(topic for topic, count in found.items() if 2 * count > len(telling))

    def _read(self, index: int) -> Episode:
        scan = self._first if index == 0 else scan_bag(self._bags[index])
        self._guesses[index] = roles.guess(scan)
        episode, tracks = assemble(index, self._bags[index], scan, self._mapping, self._usual)
        with self._lock:
            self._tracks[index] = tracks
            self._tracks.move_to_end(index)
            while len(self._tracks) > 1 and sum(len(track.times_s) for kept in self._tracks.values() for track in kept.values()) > _MOST_KEPT:
                self._tracks.popitem(last=False)
        return episode

    def _track(self, episode: Episode, camera: Camera) -> Track:
        with self._lock:
            kept = self._tracks.get(episode.index)
        if kept is None:
            self._read(episode.index)
            with self._lock:
                kept = self._tracks[episode.index]
        if camera.name not in kept:
            raise UnreadableVideo(f"{camera.path} reads differently than before: camera {camera.name} is gone")
        return kept[camera.name]
