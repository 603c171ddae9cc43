"""How an endpoint is reached and asked; what captions and the judge have in common."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ChatSettings:
    """A vision model behind an OpenAI-compatible endpoint."""

    base_url: str = ""
    """What comes before `/chat/completions`, `https://host/v1` mostly."""
    model: str = ""
    key_variable: str | None = None
    """Name of the environment variable that holds the key; None sends none."""
    frames: int = 4
    """Pictures shown of a video, evenly spread from its first to its last frame."""
    image_px: int = 512
    """Longer side of a picture."""
    answer_tokens: int = 300
    extra: dict[str, object] = field(default_factory=dict)
    """More fields of the request; null takes one out (`{max_tokens: null, max_completion_tokens: 300}`)."""
    workers: int = 4
    """Requests under way at a time."""
    timeout_s: float = 60.0
    """From connecting to the answer's last byte."""
    retries: int = 5
    backoff_s: float = 1.0
    """Wait before the first retry; doubled each time, shortened at random by up to half."""
    max_requests: int | None = None
    """A run stops before it sends more; retries count."""
    max_total_tokens: int | None = None
    """A run stops once the endpoint reported this many tokens, prompts included."""
    dollars_per_million_prompt_tokens: float | None = None
    dollars_per_million_answer_tokens: float | None = None

    def faults(self) -> list[str]:
        """What is wrong with these values, without the setting's name."""
        positive, limits = ("frames", "image_px", "answer_tokens", "workers", "timeout_s"), ("max_requests", "max_total_tokens")
        checks = (
            (all(getattr(self, name) > 0 for name in positive), f": {', '.join(positive)} must be positive"),
            (self.image_px >= 32, ".image_px must be at least 32"),
            (self.retries >= 0 and self.backoff_s >= 0, ".retries and backoff_s cannot be negative"),
            (all(getattr(self, name) is None or getattr(self, name) > 0 for name in limits), f": {' and '.join(limits)} must be positive"),
        )
        return [message for fine, message in checks if not fine]

    def dollars(self, prompt_tokens: int, answer_tokens: int) -> float | None:
        """What tokens cost; None where the profile gives no prices."""
        prices = self.dollars_per_million_prompt_tokens, self.dollars_per_million_answer_tokens
        return None if None in prices else round((prompt_tokens * prices[0] + answer_tokens * prices[1]) / 1e6, 4)
