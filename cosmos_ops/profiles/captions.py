"""Settings of captions."""

from dataclasses import dataclass

from cosmos_ops.captions.template import template_fields
from cosmos_ops.captions.vlm.prompt import read_prompt
from cosmos_ops.chat.settings import ChatSettings
from cosmos_ops.hashing import digest

_DIRECTIONS = {"forward", "back", "left", "right", "up", "down"}


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

    def faults(self) -> list[str]:
        """What is wrong with these values, without the setting's name."""
        checks = (
            (self.joint_unit in (None, "rad", "deg"), f".joint_unit is {self.joint_unit!r}; use rad or deg"),
            (self.length_unit in (None, "m", "cm", "mm"), f".length_unit is {self.length_unit!r}; use m, cm or mm"),
            (self.gripper_closed in (None, "low", "high"), f".gripper_closed is {self.gripper_closed!r}; use low or high"),
            (set(self.axes) <= _DIRECTIONS and len(self.axes) in (0, 3), f".axes needs three of {', '.join(sorted(_DIRECTIONS))}"),
        )
        return [message for fine, message in checks if not fine]


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

    def faults(self) -> list[str]:
        """What is wrong with these values, without the setting's name. Raises `UserError` for a prompt that cannot be read."""
        found = [] if self.max_tokens > 0 else [".max_tokens must be positive"]
        found += [f".telemetry{fault}" for fault in self.telemetry.faults()] + [f".vlm{fault}" for fault in self.vlm.faults()]
        if "vlm" in self.models:
            if not self.vlm.model or not self.vlm.base_url:
                found.append(".vlm.base_url and captions.vlm.model are needed where captions come from a vision model")
            read_prompt(self.vlm.prompt)
        return found
