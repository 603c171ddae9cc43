"""Which samples the report shows, and their videos and film strips small enough to lie inside one file."""

import base64
import io
from dataclasses import dataclass

import cv2
import numpy as np

from cosmos_ops.evaluation.estimates import Scores, differences
from cosmos_ops.evaluation.metrics import columns
from cosmos_ops.evaluation.samples import STRIP_FRAMES, Sample, read_video, real_frames, spread
from cosmos_ops.lake import Lake, Manifest
from cosmos_ops.video.encode import encode_mp4

PER_KIND = 2
"""Samples of each kind (best, typical, worst) that are embedded."""
MAX_WIDTH_PX, STRIP_WIDTH_PX = 480, 160
CRF, PRESET, GOP, JPEG_QUALITY = 23, "medium", 8, 92
"""For looking at; scores come from the stored videos."""


@dataclass(frozen=True)
class Ranking:
    """By what the embedded samples were chosen: improvement of a contender over base on a metric, or base's own score."""

    metric: str
    contender: str
    improvement: dict[str, float]
    """Sample key -> what is ranked, positive = better."""


@dataclass(frozen=True)
class Strip:
    """A film strip: the same moments of every source."""

    times_s: list[float]
    frames: dict[str, list[str]]
    """Source -> a data URI a moment."""


@dataclass(frozen=True)
class ShownClip:
    """One embedded sample: a video a source, as data URIs, real first."""

    sample: Sample
    kind: str
    """`best`, `typical` or `worst`."""
    videos: dict[str, str]
    values: dict[str, dict[str, float]]
    """Contender -> metric -> score."""
    goodness: dict[str, dict[str, float]]
    """Contender -> metric -> the score turned so that more is better."""
    strip: Strip | None
    """For the first sample of each kind."""


def rank(tables: dict[str, Scores], contenders: list[str], base: str) -> Ranking | None:
    """Rank samples by the first per-sample metric and the first contender that is not base; None where nothing was measured by sample."""
    table = tables[base]
    if not table.values:
        return None
    metric = "psnr" if "psnr" in table.values else next(iter(table.values))
    others = [name for name in contenders if name != base]
    values = differences(table, tables[others[0]], metric) if others else columns()[metric].goodness(table.values[metric])
    return Ranking(metric, others[0] if others else base, dict(zip(table.sample_keys, values.tolist(), strict=True)))


def choose(ranking: Ranking) -> dict[str, str]:
    """Sample key -> kind: the most and the least improved and those nearest the median; every sample once, all when they are few."""
    ordered = sorted(ranking.improvement, key=lambda key: (-ranking.improvement[key], key))
    if len(ordered) <= 3 * PER_KIND:
        third = -(-len(ordered) // 3)
        best, worst = ordered[:third], ordered[len(ordered) - third :] if len(ordered) > 1 else []
        typical = [key for key in ordered if key not in best and key not in worst]
    else:
        best, worst = ordered[:PER_KIND], ordered[-PER_KIND:]
        middle = float(np.median(list(ranking.improvement.values())))
        rest = ordered[PER_KIND:-PER_KIND]
        typical = sorted(sorted(rest, key=lambda key: abs(ranking.improvement[key] - middle))[:PER_KIND], key=ordered.index)
    return {**dict.fromkeys(best, "best"), **dict.fromkeys(typical, "typical"), **dict.fromkeys([key for key in worst if key not in best], "worst")}


def embed(
    lake: Lake, samples: list[Sample], chosen: dict[str, str], tables: dict[str, Scores], generations: dict[str, Manifest], contenders: list[str]
) -> list[ShownClip]:
    """Read, shrink and encode the chosen samples' videos: the real one and every contender's."""
    by_key = {sample.sample_key: sample for sample in samples}
    # Sorting needs a value of every sample.
    whole = [metric for metric in tables[contenders[0]].values if all(np.isfinite(tables[name].values.get(metric, np.nan)).all() for name in contenders)]
    shown, with_strip = [], set()
    for key, kind in chosen.items():
        sample = by_key[key]
        real = real_frames(lake, sample)
        sources = {"real": real, **{name: read_video(generations[name].file(f"{key}.mp4"), len(real)) for name in contenders}}
        place = {name: tables[name].sample_keys.index(key) for name in contenders}
        values = {name: {metric: float(tables[name].values[metric][place[name]]) for metric in whole} for name in contenders}
        goodness = {name: {metric: float(columns()[metric].goodness(value)) for metric, value in of.items()} for name, of in values.items()}
        strip = None if kind in with_strip else _strip(sources, sample.fps)
        with_strip.add(kind)
        shown.append(ShownClip(sample, kind, {name: _video(frames, sample.fps) for name, frames in sources.items()}, values, goodness, strip))
    return shown


def _video(frames: np.ndarray, fps: float) -> str:
    target = io.BytesIO()
    encode_mp4([_small(frame, MAX_WIDTH_PX) for frame in frames], fps, target, crf=CRF, preset=PRESET, gop=GOP)
    return _data_uri("video/mp4", target.getvalue())


def _strip(sources: dict[str, np.ndarray], fps: float) -> Strip:
    moments = spread(list(range(len(sources["real"]))), STRIP_FRAMES)
    return Strip([moment / fps for moment in moments], {name: [_picture(frames[moment]) for moment in moments] for name, frames in sources.items()})


def _picture(frame: np.ndarray) -> str:
    done, jpeg = cv2.imencode(".jpg", _small(frame, STRIP_WIDTH_PX)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return _data_uri("image/jpeg", jpeg.tobytes())


def _small(frame: np.ndarray, width_px: int) -> np.ndarray:
    height, width = frame.shape[:2]
    if width <= width_px:
        return frame
    size = (width_px, 2 * round(height * width_px / width / 2))  # H.264 in 4:2:0 needs even sides
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
