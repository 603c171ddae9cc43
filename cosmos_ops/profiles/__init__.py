"""Profiles: one YAML each in this folder, or any path. A profile is the only thing that differs between nano and the real model."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from cosmos_ops.captions.template import template_fields
from cosmos_ops.captions.vlm.prompt import read_prompt
from cosmos_ops.chat.settings import ChatSettings
from cosmos_ops.errors import UserError
from cosmos_ops.hashing import digest
from cosmos_ops.settings import build, read_yaml

FOLDER = Path(__file__).parent
DIRECTIONS = {"forward", "back", "left", "right", "up", "down"}


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
class QualitySettings:
    """Thresholds of the signals. A camera that is bad for most of an episode is quarantined, a bad stretch only costs the clips that show it."""

    min_frames: int | None = None
    """Fewest frames of an episode; None asks for one whole clip."""
    sample_fps: float = 8.0
    """Rate at which pixels are looked at."""
    black_luma: float = 16.0
    """A frame whose mean luma (0-255) is below this is black."""
    max_black_fraction: float = 0.2
    """Of the frames looked at; more quarantines the camera. So for the others."""
    least_contrast: float = 2.0
    """A frame whose luma deviates by less (standard deviation, 0-255) shows nothing: `constant`."""
    max_constant_fraction: float = 0.2
    max_white_area: float = 0.5
    """A frame of which more is white (luma 245 and above, bars left out) is overexposed."""
    under_luma: float = 48.0
    """A frame of which 98 % is darker than this is underexposed."""
    max_exposure_fraction: float = 0.5
    max_blur: float = 0.68
    """A frame above this (0 sharp, 1 without detail; see `quality.signals.blur`) is blurred. Fast motion reaches 0.62 in good recordings."""
    max_blur_fraction: float = 0.5
    min_bad_s: float = 0.2
    """What is shorter, of all the above, does not cost a clip."""
    frozen_difference: float = 0.8
    """Mean absolute luma difference (0-255) of frames `frozen_lag_s` apart, in the most changed of 6 x 8 parts of the picture, below which nothing
    moved. Compression alone makes up to 0.6 of a still picture, a slow robot more than 1."""
    frozen_lag_s: float = 0.25
    max_frozen_fraction: float = 0.9
    max_frozen_s: float = 1.5
    """A picture that stands still for longer while the robot moves is frozen there."""
    cut_contrast: float = 0.36
    """A scene cut changes the picture by at least this much of what unrelated pictures differ by,"""
    cut_ratio: float = 1.4
    """by this many times the largest step around it,"""
    cut_kept: float = 0.82
    """and leaves less than this of the picture to be found again, in place or near by. Real recordings keep 0.83 and more in their fastest moves, another
    view of the same robot keeps up to 0.82."""
    least_bars: float = 0.04
    """Black bars thinner than this fraction of the side stay in the picture; others are cropped."""
    static_span: float = 0.05
    """A robot that covers less than this fraction of what the drop's episodes usually cover, in every column of its state, stands still."""
    max_static_s: float = 10.0
    """Standing still for longer costs the clips that show it."""
    jump_ratio: float = 1.6
    """A step of the state that stands out of those around it by this many times more than any does in nine of ten other episodes is a jump,"""
    jump_brisk: float = 3.5
    """and by this many times more than brisk motion does,"""
    jump_span: float = 0.25
    """and is larger than this fraction of what the column usually covers."""
    range_margin: float = 3.0
    """A value outside of what is usual by this many times what is usually covered is out of range."""
    near_duplicate: float = 0.25
    """Two recordings that differ by less than this fraction of what moves in them are the same recording."""


@dataclass(frozen=True)
class TelemetrySettings:
    """What captions from telemetry may say beyond what the log tells. Left out, nothing is assumed."""

    joint_unit: str | None = None
    """`rad` or `deg`, for joints whose unit the log does not tell."""
    length_unit: str | None = None
    """`m`, `cm` or `mm`, for positions whose unit the log does not tell."""
    axes: tuple[str, ...] = ()
    """Where +x, +y and +z of positions point: [forward, left, up] or the like."""
    gripper_closed: str | None = None
    """`low` or `high`: which end of the gripper's values is closed, where the log does not tell."""


@dataclass(frozen=True)
class VlmSettings(ChatSettings):
    """The vision model that captions come from."""

    prompt: str = "rubric"
    """A text in `cosmos_ops/captions/vlm/prompts`, or the path of one, from the profile's folder."""

    def produced_by(self) -> dict[str, object]:
        """The settings that an answer depends on; the prompt by its content."""
        return {
            "model": self.model,
            "prompt": digest(read_prompt(self.prompt)),
            **{name: getattr(self, name) for name in ("frames", "image_px", "answer_tokens", "extra")},
        }


@dataclass(frozen=True)
class CaptionSettings:
    captioner: str = "task"
    """`task`, `telemetry`, `vlm` or `combined`."""
    template: str = "{task}"
    """What `task` and `combined` write. Both fill in {task}, {robot} and {camera}; `combined` also {telemetry} and {vlm}."""
    max_tokens: int = 512
    telemetry: TelemetrySettings = TelemetrySettings()
    vlm: VlmSettings = VlmSettings()

    @property
    def text(self) -> str:
        """The template that captions are written by."""
        return {"telemetry": "{telemetry}", "vlm": "{vlm}"}.get(self.captioner, self.template)

    @property
    def models(self) -> tuple[str, ...]:
        """Which of `telemetry` and `vlm` the captions need."""
        return () if self.captioner == "task" else tuple(name for name in ("telemetry", "vlm") if name in template_fields(self.text))

    def produced_by(self) -> dict[str, object]:
        """The settings that captions depend on: those of a captioner that is not used, and how an endpoint is reached, change nothing."""
        parts: dict[str, object] = {"captioner": self.captioner, "template": self.template, "max_tokens": self.max_tokens}
        if "telemetry" in self.models:
            parts["telemetry"] = self.telemetry
        if "vlm" in self.models:
            parts["vlm"] = self.vlm.produced_by()
        return parts


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
class GenerationSettings:
    steps: int = 36
    guidance: float = 7.0
    """Cosmos convention: positive + guidance * (positive - negative)."""
    negative_prompt: str | None = None
    """None guides away from the dropped-text embedding of training."""
    conditioning_latent_frames: int = 1
    """1: image-to-world; 2: video-to-world."""
    seeds: tuple[int, ...] = (0,)
    batch: int = 1


@dataclass(frozen=True)
class JudgeSettings(ChatSettings):
    """The vision model that scores generated videos (vLLM with Cosmos-Reason or Qwen-VL, for one)."""

    frames: int = 8
    answer_tokens: int = 1024
    timeout_s: float = 120.0
    seeds: tuple[int, ...] = (0, 1, 2)
    """One reply each; a sample's score is their mean."""


@dataclass(frozen=True)
class EvaluationSettings:
    max_clips: int = 50
    min_clips: int = 2
    """Fewer held-out clips than this cannot be evaluated: `run` says so and exits 1."""
    metrics: tuple[str, ...] = ("psnr", "ssim", "latent_frechet", "motion", "tse_sift", "action_consistency", "instruction_following", "physics")
    """The last three are reported as not available where there is no telemetry, or no judge."""
    weights: dict[str, str] = field(default_factory=dict)
    """`lpips`, `fvd`, `fid`, `tse`, `cse` -> local path or Hub id of its network; what is named here is measured. docs/METRICS.md says what is read."""
    judge: JudgeSettings | None = None
    """None leaves the judge out."""


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
    _validate_captions(profile.captions, path)
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
    if judge is not None:
        checks += (
            (bool(judge.base_url and judge.model), "evaluation.judge needs base_url and model"),
            (len(judge.seeds) > 0, "evaluation.judge.seeds names no seed"),
            *((False, f"evaluation.judge{fault}") for fault in judge.faults()),
        )
    for fine, message in checks:
        if not fine:
            raise UserError(f"{path}: {message}")


def _validate_captions(captions: CaptionSettings, path: Path) -> None:
    vlm, telemetry = captions.vlm, captions.telemetry
    checks = (
        (captions.max_tokens > 0, "captions.max_tokens must be positive"),
        (telemetry.joint_unit in (None, "rad", "deg"), f"captions.telemetry.joint_unit is {telemetry.joint_unit!r}; use rad or deg"),
        (telemetry.length_unit in (None, "m", "cm", "mm"), f"captions.telemetry.length_unit is {telemetry.length_unit!r}; use m, cm or mm"),
        (telemetry.gripper_closed in (None, "low", "high"), f"captions.telemetry.gripper_closed is {telemetry.gripper_closed!r}; use low or high"),
        (set(telemetry.axes) <= DIRECTIONS and len(telemetry.axes) in (0, 3), f"captions.telemetry.axes needs three of {', '.join(sorted(DIRECTIONS))}"),
        *((False, f"captions.vlm{fault}") for fault in vlm.faults()),
    )
    for fine, message in checks:
        if not fine:
            raise UserError(f"{path}: {message}")
    if "vlm" in captions.models:
        if not vlm.model or not vlm.base_url:
            raise UserError(f"{path}: captions.vlm.base_url and captions.vlm.model are needed where captions come from a vision model")
        read_prompt(vlm.prompt)
