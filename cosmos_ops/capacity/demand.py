"""How much there is to do: from episodes and hours to clips, updates and videos."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cosmos_ops.errors import UserError
from cosmos_ops.profiles import Profile
from cosmos_ops.recipes import Recipe
from cosmos_ops.shards.splits import TEST, assign_splits


@dataclass(frozen=True)
class Demand:
    """What a lab brings."""

    episodes: int
    hours: float
    """Of all episodes together; each camera records as long."""
    cameras: int = 2
    source_fps: float = 30.0
    source_height: int = 480
    source_width: int = 640
    episodes_per_drop: int = 100

    def checked(self) -> "Demand":
        """Itself; a `UserError` naming the first value that makes no sense."""
        for name, value in (
            ("--episodes", self.episodes),
            ("--hours", self.hours),
            ("--cameras", self.cameras),
            ("--episodes-per-drop", self.episodes_per_drop),
        ):
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} is {value:g}; give a number above 0")
        if not (0 < self.source_fps <= 1000 and 16 <= self.source_height <= 8640 and 16 <= self.source_width <= 15360):
            raise UserError("--source is no camera's picture; give WIDTHxHEIGHT@FPS, like 640x480@30")
        return self


@dataclass(frozen=True)
class Work:
    """Counts of everything the stages work on. Megapixels are 10^6 pixels of one frame, summed over frames."""

    drops: int
    episodes: int
    source_frames: float
    source_megapixels: float
    looked_frames: float
    """Those that the quality stage looks at; it decodes all."""
    clips: int
    clip_megapixels: float
    """Of all clips together."""
    one_clip_megapixels: float
    samples: dict[str, int]
    """Recipe -> training samples, updates times batch."""
    rank: dict[str, int]
    """Recipe -> rank."""
    videos: int
    """Generated, of all contenders."""
    passes: int
    """Of the denoiser, for one video."""


def count_work(demand: Demand, profile: Profile, recipes: Sequence[Recipe]) -> Work:
    """Counts for one pass over all data and one model half with these recipes.

    Raises `UserError` where episodes are too short for a clip of the profile, or leave nothing to evaluate on.
    """
    clip, each_s = profile.clip, demand.hours * 3600 / demand.episodes
    rate = min(demand.source_fps, clip.max_fps)
    windows = int(each_s * rate) // clip.frames
    if windows == 0:
        what = f"an episode of {each_s:.1f} s at {rate:g} frames a second holds no clip of {clip.frames} frames"
        raise UserError(f"{what} (profile {profile.name}); check --episodes and --hours, or take a profile with shorter clips")
    windows = min(windows, clip.max_windows_per_episode or windows)
    frames = demand.hours * 3600 * demand.source_fps * demand.cameras
    one_clip = clip.frames * clip.height * clip.width / 1e6
    clips = demand.episodes * demand.cameras * windows
    drops = math.ceil(demand.episodes / demand.episodes_per_drop)
    evaluated = min(profile.evaluation.max_clips, _tested(demand, drops) * demand.cameras * windows) * len(profile.generation.seeds)
    generation = profile.generation
    return Work(
        drops=drops,
        episodes=demand.episodes,
        source_frames=frames,
        source_megapixels=frames * demand.source_height * demand.source_width / 1e6,
        looked_frames=frames * min(1.0, profile.quality.sample_fps / demand.source_fps),
        clips=clips,
        clip_megapixels=clips * one_clip,
        one_clip_megapixels=one_clip,
        samples={recipe.name: recipe.steps * recipe.batch_size * recipe.gradient_accumulation for recipe in recipes},
        rank={recipe.name: recipe.rank for recipe in recipes},
        videos=evaluated * (len(recipes) + 1),
        passes=generation.steps * (2 if generation.guidance else 1),
    )


def _tested(demand: Demand, drops: int) -> int:
    """Episodes held out for testing, drop by drop; the last drop holds the rest."""

    def of(size: int) -> int:
        return list(assign_splits(str(number) for number in range(size)).values()).count(TEST)

    full, last = demand.episodes_per_drop, demand.episodes - (drops - 1) * demand.episodes_per_drop
    return (drops - 1) * (of(full) if drops > 1 else 0) + of(last)
