"""RoboNet: one HDF5 file an episode, each camera's video an MP4 file inside a dataset of bytes.

    /env/cam<N>_video/frames     uint8 [bytes]
    /env/state                   [T, D] gripper pose, normalized;  /env/qpos [T, J] joints
    /policy/actions              [T - 1, A]: none leads out of the last state
    /metadata                    attributes robot, ...;  /misc/traj_ok;  /file_version

The rate is the MP4's (10 a second). No task text is recorded.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import av
import numpy as np

from cosmos_ops.logs.base import Camera, CameraSample, Episode, Problem, TimedFrame, register_reader
from cosmos_ops.logs.hdf5.entries import EpisodeFacts
from cosmos_ops.logs.hdf5.files import children, find_dataset, find_group, scalar, text_attribute
from cosmos_ops.logs.hdf5.pictures import PictureFacts, Unsupported
from cosmos_ops.logs.hdf5.reader import HDF5Reader
from cosmos_ops.video.decode import VideoBytes, decode_frames, look, probe_video
from cosmos_ops.video.frames import UnreadableVideo
from cosmos_ops.video.stills import swapped

if TYPE_CHECKING:
    import h5py

_CAMERA = re.compile(r"cam\d+_video")
_MOST_VIDEO_BYTES = 256 << 20
_STATES, _ACTION = ("env/state", "env/qpos"), "policy/actions"


@register_reader
class RobonetReader(HDF5Reader):
    """See `hdf5.reader.HDF5Reader`. A camera's video, some 100 kB, is held in memory while it is decoded."""

    format: ClassVar[str] = "robonet-hdf5"
    layout: ClassVar[str] = "/policy/actions and /env/cam<N>_video/frames"
    default_fps: ClassVar[float] = 10.0

    @classmethod
    def holds(cls, file: "h5py.File") -> bool:
        return "policy" in children(file) and any(_CAMERA.fullmatch(name) for name in children(find_group(file, "env")))

    def facts(self, group: "h5py.Group") -> EpisodeFacts:
        metadata, version = find_group(group, "metadata"), scalar(find_dataset(group, "file_version"))
        problems = ()
        if scalar(find_dataset(group, "misc/traj_ok")) is False:
            problems = (Problem("marked_invalid", "the recording says of itself that it is not in order (misc/traj_ok)"),)
        return EpisodeFacts(
            robot=text_attribute(metadata, "robot") if metadata is not None else None,
            fps=self._recorded_fps(group),
            version=version if isinstance(version, str) else None,
            problems=problems,
        )

    def series(self, group: "h5py.Group") -> tuple[tuple[str, ...], tuple[str, ...]]:
        return tuple(name for name in _STATES if find_dataset(group, name) is not None)[:1], (_ACTION,)

    def column_names(self, group: "h5py.Group", dataset: str, width: int) -> tuple[str, ...]:
        """The state is x, y, z of the gripper in shares of its workspace, its turn, and the gripper's position where there is one."""
        if dataset == _STATES[0] and width in (4, 5):
            return ("eef_x", "eef_y", "eef_z", "eef_yaw", "gripper")[:width]
        return super().column_names(group, dataset, width)

    def cameras(self, group: "h5py.Group") -> dict[str, str]:
        names = (name for name in children(find_group(group, "env")) if _CAMERA.fullmatch(name))
        return {f"env/{name}/frames": name.removesuffix("_video") for name in names}

    def picture_facts(self, dataset: "h5py.Dataset") -> PictureFacts:
        facts = probe_video(_video(dataset))
        return PictureFacts(facts.frames or round(facts.duration_s * facts.fps), facts.height, facts.width, facts.codec)

    def decode(self, episode: Episode, camera: Camera, start_s: float = 0.0, stop_s: float = float("inf"), threads: int = 0) -> Iterator[TimedFrame]:
        video, stretch = self._camera_video(camera)
        for time_s, image in decode_frames(video, start_s / stretch, stop_s / stretch, threads):
            yield TimedFrame(time_s * stretch, self._coloured(image))

    def sample(self, episode: Episode, camera: Camera, times_s: Sequence[float], threads: int = 0) -> CameraSample:
        video, stretch = self._camera_video(camera)
        seen = look(video, np.asarray(times_s) / stretch, threads=threads)
        return CameraSample(
            seen.duration_s * stretch, (TimedFrame(time_s * stretch, self._coloured(image)) for time_s, image in seen.frames), seen.times_s * stretch
        )

    def _camera_video(self, camera: Camera) -> tuple[VideoBytes, float]:
        """The MP4, and how many seconds of the episode a second of it lasts: not 1 where the mapping gives another rate."""
        with self.dataset(camera) as dataset:
            video = _video(dataset)
        return video, probe_video(video).fps / camera.fps

    def _coloured(self, image: av.VideoFrame) -> av.VideoFrame:
        return swapped(image) if self.mapping.swap_red_blue else image

    def _recorded_fps(self, group: "h5py.Group") -> float | None:
        """The rate of the first video that can be read."""
        for source in self.cameras(group):
            try:
                dataset = find_dataset(group, source)
                if dataset is not None:
                    return probe_video(_video(dataset)).fps
            except UnreadableVideo:
                continue
        return None


def _video(dataset: "h5py.Dataset") -> VideoBytes:
    if dataset.ndim != 1 or dataset.dtype != np.uint8 or dataset.nbytes > _MOST_VIDEO_BYTES:
        raise Unsupported(f"{dataset.name} holds {dataset.dtype} {dataset.shape}, the bytes of an MP4 file are needed")
    return VideoBytes(dataset.name, dataset[()].tobytes())
