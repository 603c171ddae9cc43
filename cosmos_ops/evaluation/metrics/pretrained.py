"""Metrics that are defined by published networks, whose weights the project does not carry: measured where the profile names them (a local path or a
Hub id under `evaluation.weights`), reported as not available otherwise, and never stood in for by something else under their name."""

from functools import partial
from pathlib import Path

import numpy as np

from cosmos_ops.evaluation.metrics.base import Column, PretrainedMetric, SampleMetric, ServedMetric, SetMetric, register
from cosmos_ops.evaluation.metrics.frechet import plain_frechet
from cosmos_ops.evaluation.metrics.sampson import inlier_errors, mean_over_pairs

MIN_SAMPLES = 8
FID_FRAMES = 8
"""Generated frames a video, evenly spread: neighbours are nearly one picture, and every one costs a row of every resample."""
_RESAMPLES = 500
_LPIPS, _FVD, _FID, _TSE = (
    Column("lpips", "lower", "", "Distance to the real frame in the features of AlexNet, weighted as people judge (LPIPS v0.1).", 3, 0.01),
    Column("fvd", "lower", "", "Distance between the distributions of real and generated videos in I3D's logits. Compare at equal n only.", 1, 10.0),
    Column("fid", "lower", "", "Distance between the distributions of real and generated frames in Inception's features. Compare at equal n only.", 1, 2.0),
    Column("tse", "lower", "px", "Distance of SuperPoint and LightGlue matches from their epipolar lines. Low, too, when nothing moves.", 3, 0.1, True),
)
_MATCHES = Column("tse_matches", "higher", "", "Matched points a pair of frames that tse is taken over: few make it worthless.", 1, 5.0)


def _lpips(files: list[Path]) -> SampleMetric:
    from cosmos_ops.evaluation.networks.lpips import LpipsNetwork

    network = LpipsNetwork(files)
    return SampleMetric("lpips", "1", (_LPIPS,), lambda real, first: real[first:], lambda real, made, first: {"lpips": network(real, made[first:])})


def _fvd(files: list[Path]) -> SetMetric:
    from cosmos_ops.evaluation.networks.i3d import I3dNetwork

    network = I3dNetwork(files)
    # All frames, the given ones too: that is how FVD is taken, and I3D needs the length.
    return SetMetric("fvd", "1", (_FVD,), lambda frames, first: network(frames), _DISTANCES["fvd"], MIN_SAMPLES, _RESAMPLES, "frames")


def _fid(files: list[Path]) -> SetMetric:
    from cosmos_ops.evaluation.networks.inception import InceptionNetwork

    network = InceptionNetwork(files)

    def features(frames: np.ndarray, first: int) -> np.ndarray:
        places = np.linspace(first, len(frames) - 1, FID_FRAMES).round().astype(int)
        return network(frames[places]).ravel()

    return SetMetric("fid", "1", (_FID,), features, _DISTANCES["fid"], MIN_SAMPLES, _RESAMPLES, "frames")


def _tse(files: list[Path]) -> SampleMetric:
    from cosmos_ops.evaluation.networks.matching import Matcher

    match = Matcher(files)

    def measured(frames: np.ndarray) -> dict[str, float | None]:
        error, matches = mean_over_pairs([inlier_errors(*match(before, after)) for before, after in zip(frames, frames[1:], strict=False)])
        return {"tse": error, "tse_matches": matches}

    # From the last conditioning frame on: the step into the first generated frame is the model's too.
    return SampleMetric(
        "tse", "1", (_TSE, _MATCHES), lambda real, first: measured(real[first - 1 :]), lambda real, made, first: measured(made[first - 1 :]), lambda real: real
    )


_DISTANCES = {"fvd": partial(plain_frechet, width=400), "fid": partial(plain_frechet, width=2048)}

register(PretrainedMetric("lpips", "1", (_LPIPS,), "needs the pretrained LPIPS network (AlexNet and its linear heads)", _lpips))
register(PretrainedMetric("fvd", "1", (_FVD,), "needs the pretrained I3D network (Kinetics-400, 224 px)", _fvd, _DISTANCES["fvd"], MIN_SAMPLES, _RESAMPLES))
register(PretrainedMetric("fid", "1", (_FID,), "needs the pretrained Inception v3 network of FID", _fid, _DISTANCES["fid"], MIN_SAMPLES, _RESAMPLES))
register(PretrainedMetric("tse", "1", (_TSE, _MATCHES), "temporal Sampson error needs the pretrained SuperPoint and LightGlue networks", _tse))
register(
    ServedMetric(
        "cse",
        "1",
        (Column("cse", "lower", "px", "Distance of matches between two cameras' videos of one moment from one epipolar geometry a pair.", 3, 0.1, True),),
        "cross_view",
        "cross-view Sampson error needs the pretrained SuperPoint and LightGlue networks, and episodes seen by two cameras",
    )
)
