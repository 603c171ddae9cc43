"""Metrics that need weights, or a service, that the project does not carry: declared with the reason, never stood in for."""

from cosmos_ops.evaluation.metrics.base import UnavailableMetric, register

_REASONS = {
    "lpips": "needs the pretrained LPIPS network (AlexNet or VGG and its linear heads)",
    "fvd": "needs the pretrained I3D network (Kinetics-400, 224 px)",
    "fid": "needs the pretrained Inception v3 network",
    "tse": "temporal Sampson error needs the pretrained SuperPoint and LightGlue networks",
    "cse": "cross-view Sampson error needs the pretrained SuperPoint and LightGlue networks",
}

for _name, _reason in _REASONS.items():
    register(UnavailableMetric(_name, _reason))
