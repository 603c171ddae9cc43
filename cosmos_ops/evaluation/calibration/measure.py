"""How often a metric ranks the spoiled clip below the same clip merely stored."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from cosmos_ops.base_models import load_world_model
from cosmos_ops.evaluation.calibration.spoil import SPOILED, stored
from cosmos_ops.evaluation.inverse_dynamics.clips import joined, pairs_of
from cosmos_ops.evaluation.inverse_dynamics.fit import SCHEDULE, Fitted, fit_reader
from cosmos_ops.evaluation.inverse_dynamics.train import MIN_SKILL
from cosmos_ops.evaluation.metrics import SampleMetric, SetMetric, all_metrics, columns
from cosmos_ops.profiles import load_profile
from cosmos_ops.simulate.tabletop import FPS, record_episode

FIRST = 1
SAMPLE_METRICS = ("psnr", "ssim", "motion", "tse_sift")
FRAMES = 17
CAMERA = "front"
_HEIGHT_PX, _WIDTH_PX = 160, 256


@dataclass(frozen=True, eq=False)
class RealClip:
    """A clip of the simulated arm with the actions that were recorded."""

    frames: np.ndarray
    """uint8 [T, H, W, 3]."""
    actions: np.ndarray
    """float32 [T, A]."""


def calibrate(cache: Path, clips: int = 8, training_episodes: int = 24, steps: int = 250) -> dict[str, dict[str, float]]:
    """Shares as `ranked_worse` gives them, with nano's VAE (kept under `cache` where it has to be built) and a reader trained on other episodes."""
    fitted = reader_of(simulated_clips(1, training_episodes, windows=2), steps)
    validation = simulated_clips(2, clips)
    skill = fitted.channel_skill(joined([pairs_of(clip.frames, clip.actions, FPS, 0) for clip in validation]))
    profile = load_profile("nano")
    model = load_world_model(profile.base_model, cache, "cpu", ("vae",))

    def latents(video: np.ndarray) -> np.ndarray:
        small = np.stack([cv2.resize(frame, (profile.clip.width, profile.clip.height), interpolation=cv2.INTER_AREA) for frame in video])
        return model.encode_video(torch.from_numpy(small)[None])[0].numpy()

    return ranked_worse(simulated_clips(3, clips), fitted, [channel for channel, value in enumerate(skill) if value >= MIN_SKILL], latents)


def simulated_clips(seed: int, episodes: int, windows: int = 1) -> list[RealClip]:
    """The first windows of some episodes of the tabletop arm, seen by one camera."""
    made = []
    for episode in range(episodes):
        recording = record_episode(seed, episode, (CAMERA,), _HEIGHT_PX, _WIDTH_PX)
        for start in range(0, windows * FRAMES, FRAMES):
            made.append(RealClip(recording.frames[CAMERA][start : start + FRAMES], recording.action[start : start + FRAMES]))
    return made


def reader_of(clips: list[RealClip], steps: int) -> Fitted:
    """An inverse dynamics model of these clips."""
    return fit_reader(joined([pairs_of(clip.frames, clip.actions, FPS, 0) for clip in clips]), 1, replace(SCHEDULE, steps=steps))


def ranked_worse(clips: list[RealClip], fitted: Fitted, channels: list[int], latents: Callable[[np.ndarray], np.ndarray]) -> dict[str, dict[str, float]]:
    """Column -> way of spoiling -> share of clips on which the stored clip scores better than the spoiled one, ties counted half.

    `latents` encodes a clip, uint8 [T, H, W, 3] -> [C, t, h, w]. For a metric of the whole set the share is 1 or 0. A clip that the spoiling leaves
    without a value (nothing to match) counts as not ranked worse.
    """
    spoiled = {name: [stored(spoil(clip.frames, clips[place - 1].frames, FIRST, place)) for place, clip in enumerate(clips)] for name, spoil in SPOILED.items()}
    kept = [stored(clip.frames) for clip in clips]
    shares = _by_sample(clips, kept, spoiled) | _by_set(clips, kept, spoiled, latents)
    shares["action_consistency"] = _by_reading(clips, kept, spoiled, fitted, channels)
    return shares


def _by_sample(clips: list[RealClip], kept: list, spoiled: dict[str, list]) -> dict[str, dict[str, float]]:
    wins: dict[str, dict[str, list[float]]] = {}
    for metric in (all_metrics()[name] for name in SAMPLE_METRICS):
        assert isinstance(metric, SampleMetric)
        for place, clip in enumerate(clips):
            reference = metric.reference(clip.frames, FIRST)
            better = metric.measure(reference, kept[place], FIRST)
            for name, videos in spoiled.items():
                worse = metric.measure(reference, videos[place], FIRST)
                for column in better:
                    wins.setdefault(column, {}).setdefault(name, []).append(_win(column, better[column], worse[column]))
    return {column: {name: float(np.mean(of)) for name, of in by.items()} for column, by in wins.items()}


def _by_set(clips: list[RealClip], kept: list, spoiled: dict[str, list], latents: Callable[[np.ndarray], np.ndarray]) -> dict[str, dict[str, float]]:
    metric = all_metrics()["latent_frechet"]
    assert isinstance(metric, SetMetric)

    def features(videos: list) -> np.ndarray:
        return np.stack([metric.features(latents(video), 1) for video in videos])

    real, ones = features([clip.frames for clip in clips]), np.ones((1, len(clips)), int)

    def distance(videos: list) -> float:
        return float(metric.distance(real, features(videos), ones)[0])

    near = distance(kept)
    return {"latent_frechet": {name: _win("latent_frechet", near, distance(videos)) for name, videos in spoiled.items()}}


def _by_reading(clips: list[RealClip], kept: list, spoiled: dict[str, list], fitted: Fitted, channels: list[int]) -> dict[str, float]:
    def error(video: np.ndarray, clip: RealClip) -> float:
        return fitted.error(pairs_of(video, clip.actions, FPS, 0, FIRST - 1), channels)

    better = [error(video, clip) for video, clip in zip(kept, clips, strict=True)]
    return {
        name: float(np.mean([_win("action_consistency", near, error(video, clip)) for near, video, clip in zip(better, videos, clips, strict=True)]))
        for name, videos in spoiled.items()
    }


def _win(column: str, better: float | None, worse: float | None) -> float:
    if better is None or worse is None:
        return 0.0
    goodness = columns()[column].goodness
    return float((np.sign(goodness(better) - goodness(worse)) + 1) / 2)
