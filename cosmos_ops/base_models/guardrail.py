"""What checks prompts and videos: an explicit policy, named in the profile and logged with every generation.

The pipeline class refuses to run without a safety checker and builds NVIDIA's by itself, which fails where the gated package is
absent. A policy object is always passed instead, so that nothing is switched on or off silently.
"""

import logging
from typing import Any

import numpy as np

from cosmos_ops.errors import UserError

POLICIES = ("off", "nvidia")

_log = logging.getLogger(__name__)


class Off:
    """Passes everything. NVIDIA's licence asks who switches the guardrail off to put another suitable one in its place."""

    policy = "off"

    def to(self, *args: Any, **kwargs: Any) -> "Off":
        return self

    def check_text_safety(self, prompt: str) -> bool:
        return True

    def check_video_safety(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [T, H, W, 3], returned as they are."""
        return frames


def guardrail(policy: str) -> Any:
    """The checker a policy means: `to(device)`, `check_text_safety(prompt) -> bool`, `check_video_safety(frames) -> frames | None`.

    Raises `UserError` for an unknown policy and where `nvidia` is asked for and its package is absent.
    """
    if policy not in POLICIES:
        raise UserError(f"guardrail policy {policy!r} is unknown; known are {', '.join(POLICIES)}")
    _log.info("guardrail policy: %s", policy)
    if policy == "off":
        return Off()
    try:
        from cosmos_guardrail import CosmosSafetyChecker
    except ImportError:
        raise UserError("guardrail policy 'nvidia' needs the package cosmos-guardrail; install it, or set base_model.guardrail: off") from None
    checker = CosmosSafetyChecker()
    checker.policy = "nvidia"
    return checker
