"""Settings of generated videos and their scores."""

from dataclasses import dataclass, field

from cosmos_ops.chat.settings import ChatSettings


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

    def faults(self) -> list[str]:
        """What is wrong with these values, without the setting's name."""
        checks = (
            (bool(self.base_url and self.model), " needs base_url and model"),
            (len(self.seeds) > 0, ".seeds names no seed"),
        )
        return [*(message for fine, message in checks if not fine), *super().faults()]


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
