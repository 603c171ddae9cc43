"""Profiles: one YAML each in this folder, or any path. A profile is the only thing that differs between nano and the real model."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.profiles.captions import CaptionSettings, TelemetrySettings, VlmSettings
from cosmos_ops.profiles.evaluation import EvaluationSettings, GenerationSettings, JudgeSettings
from cosmos_ops.profiles.quality import QualitySettings
from cosmos_ops.settings import build, read_yaml

__all__ = [
    "BaseModelSpec",
    "CaptionSettings",
    "ClipGeometry",
    "DatasetSettings",
    "EvaluationSettings",
    "GenerationSettings",
    "JudgeSettings",
    "Profile",
    "QualitySettings",
    "ShardSettings",
    "TelemetrySettings",
    "TrainingSettings",
    "VlmSettings",
    "load_profile",
    "profile_names",
]

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class BaseModelSpec:
    """Which frozen world model, and under which terms."""

    family: str
    """Name in the registry of `WorldModel`s."""
    source: str
    """Hub id, local folder, or `builtin:nano`."""
    revision: str | None = None
    """Branch, tag or commit of the Hub repository; resolved to a commit before anything is recorded."""
    licence: str = "unknown"
    dtype: str = "bfloat16"
    """Dtype of the frozen weights on an accelerator; a CPU always computes in float32."""
    guardrail: str = "off"
    """`off` or `nvidia` (needs the gated cosmos-guardrail package). Logged with every generation."""


@dataclass(frozen=True)
class ClipGeometry:
    """The window a clip is. Sizes in pixels, rate in frames a second."""

    frames: int
    height: int
    width: int
    max_fps: float
    """A faster source is resampled to this by time; a slower one keeps its own frames and rate."""
    fit: str = "crop"
    """`crop` (centre), `pad` or `stretch`."""
    max_windows_per_episode: int | None = None
    """Evenly spread when an episode holds more; None takes all."""


@dataclass(frozen=True)
class ShardSettings:
    """Encoder and size of shards."""

    clips_per_shard: int = 64
    crf: int = 18
    preset: str = "veryfast"
    gop: int = 8


@dataclass(frozen=True)
class DatasetSettings:
    """What a dataset version takes of the lake's clips."""

    near_duplicate_bits: int | None = 20
    """A clip whose likeness (256 bits) differs in at most so many from that of an earlier drop's clip is left out; None keeps all but exact copies.
    Measured: copies at another crf, codec or size differ in up to 11, other windows and episodes of one scene in 30 or more."""


@dataclass(frozen=True)
class TrainingSettings:
    """Recipe values this profile overrides, and what the demo caps."""

    max_train_clips: int | None = None
    """Chosen by hash when there are more; None trains on all."""
    dollars_per_kwh: float = 0.2
    """Price of the energy estimate that is recorded with every training."""
    overrides: dict[str, object] = field(default_factory=dict)
    """Recipe setting -> value, applied to every recipe under this profile."""


@dataclass(frozen=True)
class Profile:
    """Base model + clip geometry + generation settings + default recipes."""

    name: str
    base_model: BaseModelSpec
    clip: ClipGeometry
    recipes: tuple[str, ...]
    quality: QualitySettings = QualitySettings()
    captions: CaptionSettings = CaptionSettings()
    shards: ShardSettings = ShardSettings()
    dataset: DatasetSettings = DatasetSettings()
    generation: GenerationSettings = GenerationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    training: TrainingSettings = TrainingSettings()

    @property
    def data_fingerprint(self) -> str:
        """Hash of the settings that decide the data half's bytes; part of its paths and code versions."""
        return digest([self.clip, self.quality, self.captions.produced_by(), self.shards], 12)


def load_profile(name_or_path: str) -> Profile:
    """Load a built-in profile by name or any YAML file by path. Raises `UserError` naming what is wrong."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name_or_path}.yaml"
        if not path.is_file():
            raise UserError(f"profile {name_or_path!r} does not exist; there are {', '.join(profile_names())}, or give a .yaml path")
    profile = _with_prompt(build(Profile, read_yaml(path), str(path)), path.absolute().parent)
    _validate(profile, path)
    return profile


def _with_prompt(profile: Profile, folder: Path) -> Profile:
    """A prompt of one's own lies beside its profile, wherever work is started."""
    vlm = profile.captions.vlm
    if vlm.prompt.isidentifier():
        return profile
    return replace(profile, captions=replace(profile.captions, vlm=replace(vlm, prompt=str(folder / vlm.prompt))))


def profile_names() -> list[str]:
    """Built-in profiles, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def _validate(profile: Profile, path: Path) -> None:
    clip = profile.clip
    checks = (
        (clip.frames >= 9 and clip.frames % 4 == 1, f"clip.frames is {clip.frames}; use 4n+1, at least 9: 2 latent frames are given, one must be left"),
        (clip.height % 16 == 0 and clip.width % 16 == 0, "clip.height and clip.width must be multiples of 16 (VAE 8 x patch 2)"),
        (clip.fit in ("crop", "pad", "stretch"), f"clip.fit is {clip.fit!r}; use crop, pad or stretch"),
        (clip.max_fps > 0, "clip.max_fps must be positive"),
        (profile.generation.conditioning_latent_frames in (1, 2), "generation.conditioning_latent_frames must be 1 or 2"),
        (profile.base_model.guardrail in ("off", "nvidia"), "base_model.guardrail must be off or nvidia"),
        (len(profile.recipes) > 0, "recipes names no recipe"),
    )
    judge = profile.evaluation.judge
    faults = [message for fine, message in checks if not fine]
    faults += [f"captions{fault}" for fault in profile.captions.faults()]
    faults += [f"evaluation.judge{fault}" for fault in judge.faults()] if judge is not None else []
    if faults:
        raise UserError(f"{path}: {faults[0]}")
