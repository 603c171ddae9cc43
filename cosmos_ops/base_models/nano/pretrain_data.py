"""Clips for training nano, decoded from log folders once and held in memory as uint8."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import cosmos_ops.logs  # noqa: F401  registers the readers
from cosmos_ops.logs.base import open_log
from cosmos_ops.profiles import ClipGeometry
from cosmos_ops.video.frames import UnreadableVideo
from cosmos_ops.video.resample import clip_rate, nearest_frames, sample_times
from cosmos_ops.video.transform import FrameFitter


@dataclass(frozen=True)
class Budget:
    """Where, how long and how much at once a training runs."""

    minutes: float
    """Of processor time on a CPU, which others may share; of the clock on an accelerator."""
    device: str = "cpu"
    batch_factor: int = 1
    """Multiplies the batch sizes, for an accelerator."""
    seed: int = 0

    def stopwatch(self) -> Callable[[], float]:
        """A function that tells which fraction of the minutes is spent."""
        clock = time.process_time if self.device == "cpu" else time.monotonic
        started = clock()
        return lambda: (clock() - started) / (60 * self.minutes)


@dataclass(frozen=True, eq=False)
class Recording:
    """One camera of one episode at the clip's size and rate."""

    source: str
    frames: np.ndarray
    """[T, H, W, 3] uint8."""
    task: str


def read_recordings(folders: list[Path], clip: ClipGeometry) -> list[Recording]:
    """Every camera that holds at least one whole clip, in the logs' order. What cannot be decoded is left out and counted on stdout."""
    recordings = []
    for folder in folders:
        reader, bad = open_log(folder), 0
        for episode in reader.episodes():
            for camera in episode.cameras:
                fps = clip_rate(camera.fps, clip.max_fps)
                times_s = sample_times(0.0, int((episode.duration_s - 1.0 / camera.fps) * fps) + 1, fps)
                fitter = FrameFitter(clip.height, clip.width, clip.fit)
                try:
                    frames = [fitter.rgb(frame.image) for frame in nearest_frames(reader.decode(episode, camera), times_s)]
                except UnreadableVideo:
                    bad += 1
                    continue
                if len(frames) >= clip.frames:
                    recordings.append(Recording(folder.name, np.stack(frames), episode.task or ""))
        print(f"{folder.name}: {sum(len(r.frames) for r in recordings if r.source == folder.name)} frames, {bad} cameras not decodable", flush=True)
    return recordings
