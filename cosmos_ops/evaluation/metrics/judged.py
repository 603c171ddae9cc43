"""What a vision-language model says of a video, 1 (worst) to 5 (best); see `cosmos_ops/evaluation/judge`."""

from cosmos_ops.evaluation.metrics.base import Column, ServedMetric, register

_REASON = "needs a vision-language judge endpoint"
_MEANINGS = {
    "instruction_following": "A vision-language judge on whether the robot does what the prompt asks, 1 to 5.",
    "physics": "A vision-language judge on whether what happens is possible, 1 to 5.",
}

for _name, _meaning in _MEANINGS.items():
    register(ServedMetric(_name, "1", (Column(_name, "higher", "", _meaning, 2, 0.25, True),), "judge", _REASON))
