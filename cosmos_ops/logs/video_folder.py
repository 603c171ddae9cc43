"""Folders of videos with captions and nothing else, see `video_listing`; or one video. Each video is an episode.

There is no telemetry: state and action have no columns, and a row stands for every frame, so that an episode has its length. Frames are taken by the
time that the container gives them, whatever rate it declares.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from cosmos_ops.logs.base import Camera, CameraSample, Episode, LogInfo, Problem, TimedFrame, UnreadableVideo, register_reader
from cosmos_ops.logs.licence import find_licence
from cosmos_ops.logs.mapping import NAME, Mapping, read_mapping
from cosmos_ops.logs.paths import LeadsOut, inside
from cosmos_ops.logs.spelling import plain
from cosmos_ops.logs.video_listing import Listed, holds_videos, list_videos, nested_videos, read_caption
from cosmos_ops.video.decode import VideoFacts, decode_frames, look, probe_video
from cosmos_ops.video.stills import swapped

SOURCE = "video"
"""What the mapping calls the one camera."""
_MOST_FRAMES, _RATES = 10_000_000, (0.01, 1_000.0)
"""A header beyond these is damaged, or not worth its memory."""
_UNUSED = ("fps", "state", "action")


@register_reader
class VideoFolderReader:
    """See `base.LogReader`. To be registered after all formats that may keep videos beside their telemetry."""

    format: ClassVar[str] = "video-folder"

    def __init__(self, root: Path):
        self._root = Path(root)
        self._mapping = read_mapping(self._root)
        self._listing = list_videos(self._root)

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return holds_videos(root)

    @classmethod
    def refusal(cls, root: Path) -> str | None:
        nested = nested_videos(root)
        return plain(f"{root} holds videos only further down (first {nested[0]}); give the path of one folder of them") if nested else None

    def info(self) -> LogInfo:
        notes = [*self._listing.notes, Problem("no_telemetry", "videos come without state and action, so a clip's actions have no columns", fatal=False)]
        unused = [name for name in _UNUSED if getattr(self._mapping, name)]
        if unused:
            notes.append(Problem("unused_setting", f"{', '.join(unused)} in {NAME} not used: videos have a clock of their own and no telemetry", fatal=False))
        nested = set(nested_videos(self._root)) - {listed.path for listed in self._listing.videos}
        if nested:
            notes.append(Problem("nested_files", f"{len(nested)} videos further down are not read; name them in a table or ingest their folders", fatal=False))
        licence = self._mapping.licence or find_licence(self._root, {})
        return LogInfo(self.format, self._listing.layout, self._mapping.robot, licence, len(self._listing.videos), tuple(notes))

    def episodes(self) -> Iterator[Episode]:
        return map(self._episode, self._listing.videos)

    def decode(self, episode: Episode, camera: Camera, start_s: float = 0.0, stop_s: float = float("inf"), threads: int = 0) -> Iterator[TimedFrame]:
        for time_s, image in decode_frames(self._video(camera.path), start_s, stop_s, threads):
            yield self._frame(time_s, image)

    def sample(self, episode: Episode, camera: Camera, times_s: Sequence[float], threads: int = 0) -> CameraSample:
        seen = look(self._video(camera.path), times_s, threads=threads)
        should_s = camera.frames / camera.fps
        if seen.duration_s + max(0.5, 1.5 / camera.fps) < should_s:
            raise UnreadableVideo(f"{camera.path} ends at {seen.duration_s:.2f} s of {should_s:.2f} s: the file is cut short")
        return CameraSample(seen.duration_s, (self._frame(time_s, image) for time_s, image in seen.frames), seen.times_s)

    def guess(self) -> Mapping:
        """What is read, and as what: a mapping to correct and save."""
        said = self._mapping
        licence = said.licence or find_licence(self._root, {})
        return Mapping(robot=said.robot, licence=licence, task=said.task, cameras={SOURCE: self._camera_name}, swap_red_blue=said.swap_red_blue)

    @property
    def _camera_name(self) -> str:
        return self._mapping.cameras.get(SOURCE, SOURCE)

    def _frame(self, time_s: float, image) -> TimedFrame:
        return TimedFrame(time_s, swapped(image) if self._mapping.swap_red_blue else image)

    def _video(self, path: str) -> Path:
        try:
            found = self._root if self._root.is_file() else inside(self._root, path)
        except LeadsOut as error:
            raise UnreadableVideo(str(error)) from None
        if not found.is_file():
            raise UnreadableVideo(f"{path} does not exist any more")
        return found

    def _episode(self, listed: Listed) -> Episode:
        problems = [listed.problem] if listed.problem else []
        camera = None if problems else self._camera(listed, problems)
        frames, fps = (camera.frames, camera.fps) if camera else (0, 1.0)
        return Episode(
            index=listed.index,
            frames=frames,
            fps=fps,
            timestamps_s=np.arange(frames, dtype=np.float64) / fps,
            state=np.zeros((frames, 0), np.float32),
            action=np.zeros((frames, 0), np.float32),
            cameras=(camera,) if camera else (),
            task=self._task(listed, problems),
            robot=self._mapping.robot,
            problems=tuple(problems),
        )

    def _camera(self, listed: Listed, problems: list[Problem]) -> Camera | None:
        name = self._camera_name
        try:
            if listed.path != plain(listed.path):
                raise UnreadableVideo("its name is not plain text")
            video = self._video(listed.path)
            if video.stat().st_size == 0:
                raise UnreadableVideo("the file is empty")
            facts = probe_video(video)
            frames = _frames(video, facts)
            return Camera(name, listed.path, 0.0, frames, facts.fps, facts.height, facts.width, facts.codec)
        except (UnreadableVideo, OSError) as error:
            problems.append(Problem("unreadable", plain(f"{listed.path}: {' '.join(str(error).split())}"), name))
            return None

    def _task(self, listed: Listed, problems: list[Problem]) -> str | None:
        if self._mapping.task:
            return self._mapping.task
        why = f"no caption is there; write one or say `task` in {NAME}"
        try:
            caption = read_caption(self._root, listed)
        except ValueError as error:
            caption, why = None, str(error)
        if caption is None:
            problems.append(Problem("no_task", plain(why), fatal=False))
        return caption


def _frames(video: Path, facts: VideoFacts) -> int:
    """How many there are by the header, or by the packets where the header does not say. Raises `UnreadableVideo`."""
    duration_s = facts.duration_s or (facts.frames / facts.fps if facts.fps else 0.0) or look(video, [0.0], threads=1).duration_s
    if not _RATES[0] <= facts.fps <= _RATES[1] or duration_s * facts.fps > _MOST_FRAMES or min(facts.height, facts.width) < 1:
        raise UnreadableVideo(f"its header declares {facts.width}x{facts.height} pixels, {facts.fps:g} frames a second for {duration_s:.0f} s")
    return max(1, round(duration_s * facts.fps))
