"""A vision-language model behind an OpenAI-compatible endpoint that scores videos by rubrics of this folder. Off unless a profile names one."""

from cosmos_ops.evaluation.judge.replies import parse_score
from cosmos_ops.evaluation.judge.server import Judge

__all__ = ["Judge", "parse_score"]
