"""The quality stage: a row for every camera of every episode, the quarantine of what is rejected, and a film strip of both."""

from pathlib import Path

import pyarrow as pa

from cosmos_ops.errors import WorkFailed
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder
from cosmos_ops.logs.base import Problem
from cosmos_ops.logs.drops import check_unchanged, load_drop
from cosmos_ops.logs.index import episodes_manifest, read_episodes
from cosmos_ops.logs.portable import PortableLog
from cosmos_ops.profiles import Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.quality.camera import CameraVerdict, rejects, stretches
from cosmos_ops.quality.verdicts import STRIP_ROWS, EpisodeVerdict, judge
from cosmos_ops.tables import content_hash, write_table
from cosmos_ops.video.filmstrip import filmstrip_png
from cosmos_ops.workers import LOCAL, Workers

CODE_VERSION = "4"
CAMERAS, QUARANTINE, STRETCHES, FILMSTRIP = "cameras.parquet", "quarantine.parquet", "stretches.parquet", "filmstrip.png"

FRACTIONS = ("black", "constant", "exposure", "blur", "frozen")
_WHO = [pa.field("drop", pa.string(), nullable=False), pa.field("episode_id", pa.string(), nullable=False), pa.field("index", pa.int64(), nullable=False)]
_WHY = [pa.field("reasons", pa.list_(pa.string()), nullable=False), pa.field("detail", pa.string(), nullable=False)]
CAMERAS_SCHEMA = pa.schema(
    [
        *_WHO,
        pa.field("camera", pa.string(), nullable=False),
        pa.field("accepted", pa.bool_(), nullable=False),
        pa.field("decoded_frames", pa.int64(), nullable=False),
        pa.field("video_duration_s", pa.float64()),
        pa.field("mean_luma", pa.float64()),
        *(pa.field(f"{code}_fraction", pa.float64()) for code in FRACTIONS),
        pa.field("blur", pa.float64()),
        pa.field("clock_offset_s", pa.float64()),
        pa.field("clock_drift_s", pa.float64()),
        pa.field("clock_gap_s", pa.float64()),
        pa.field("clock_correction", pa.string(), nullable=False),
        pa.field("crop_px", pa.list_(pa.int32())),
        *_WHY,
        pa.field("notes", pa.list_(pa.string()), nullable=False),
    ]
)
"""One row an episode and camera, declared cameras without a file included. `accepted` is false where the episode is rejected as a whole.
`decoded_frames` is how many were looked at; fractions are of these. `clock_*` compare the camera with the telemetry, see `clocks.ClockFacts`.
`crop_px` are black bars that are cut off: top, bottom, left, right. `notes` are codes of what is worth knowing and rejects nothing. Measurements are
null where nothing was decoded."""
QUARANTINE_SCHEMA = pa.schema([*_WHO, pa.field("camera", pa.string()), *_WHY])
"""`camera` null: the whole episode."""
STRETCHES_SCHEMA = pa.schema([*QUARANTINE_SCHEMA, pa.field("start_s", pa.float64(), nullable=False), pa.field("stop_s", pa.float64(), nullable=False)])
"""Of accepted cameras: what no clip may show, strictly between two moments of the episode. `camera` null: of all its cameras."""


def assess_drop(lake: Lake, drop_name: str, profile: Profile, progress: Progress = silent, workers: Workers = LOCAL) -> Manifest:
    """Write `cameras.parquet`, `quarantine.parquet`, `stretches.parquet` and `filmstrip.png` of an indexed drop.

    Raises `UserError` when the drop changed, is gone, or was not indexed; `WorkFailed` when it reads differently from its index.
    """
    drop = load_drop(lake, drop_name)
    check_unchanged(lake, drop)
    index = episodes_manifest(lake, drop_name)
    key = digest([index.data_version, drop.fingerprint, profile.clip, profile.quality, CODE_VERSION])

    def write(folder: Path) -> Output:
        reader = PortableLog(drop.uri)
        episodes = list(reader.episodes())
        if [episode.id for episode in episodes] != read_episodes(lake, drop_name)["episode_id"].to_pylist():
            raise WorkFailed(f"drop {drop_name} reads differently from its index; remove {lake.drop_stage(drop_name, 'episodes')} and index it again")
        verdicts = judge(reader, episodes, profile, progress, workers)
        cameras = [camera_row(drop_name, verdict, camera) for verdict in verdicts for camera in verdict.cameras]
        quarantined = [row for verdict in verdicts for row in quarantine_rows(drop_name, verdict)]
        bad = [row for verdict in verdicts for row in stretch_rows(drop_name, verdict)]
        write_table(folder / CAMERAS, cameras, CAMERAS_SCHEMA)
        write_table(folder / QUARANTINE, quarantined, QUARANTINE_SCHEMA)
        write_table(folder / STRETCHES, bad, STRETCHES_SCHEMA)
        _draw(folder / FILMSTRIP, verdicts)
        accepted = sum(row["accepted"] for row in cameras)
        meta = {"accepted_cameras": accepted, "accepted_episodes": sum(verdict.accepted for verdict in verdicts)}
        meta |= {"quarantined": len(quarantined), "bad_stretches": len(bad)}
        return Output(digest([content_hash(cameras), content_hash(quarantined), content_hash(bad)]), len(cameras), meta)

    return build_folder(lake.drop_stage(drop_name, "quality", profile.data_fingerprint), "quality", key, write)


def camera_row(drop: str, verdict: EpisodeVerdict, camera: CameraVerdict) -> dict:
    """A row of `CAMERAS_SCHEMA`."""
    fatal = [problem for problem in (*verdict.problems, *camera.problems) if rejects(problem)]
    return {
        "drop": drop,
        "episode_id": verdict.episode.id,
        "index": verdict.episode.index,
        "camera": camera.name,
        "accepted": not fatal,
        "decoded_frames": camera.decoded_frames,
        "video_duration_s": camera.video_duration_s,
        "mean_luma": camera.mean_luma,
        **{f"{code}_fraction": camera.fractions.get(code) for code in FRACTIONS},
        "blur": camera.blur,
        "clock_offset_s": camera.clock.offset_s,
        "clock_drift_s": camera.clock.drift_s,
        "clock_gap_s": camera.clock.gap_s,
        "clock_correction": camera.clock.correction,
        "crop_px": camera.crop_px,
        "reasons": list(dict.fromkeys(problem.code for problem in fatal)),
        "detail": "; ".join(problem.message for problem in fatal),
        "notes": list(dict.fromkeys(problem.code for problem in (*verdict.problems, *camera.problems) if not problem.fatal)),
    }


def quarantine_rows(drop: str, verdict: EpisodeVerdict) -> list[dict]:
    """Rows of `QUARANTINE_SCHEMA`: the whole episode where it is rejected, and each camera that is rejected for itself."""
    rows = []
    for name, problems in _subjects(verdict):
        fatal = [problem for problem in problems if rejects(problem)]
        if fatal:
            codes = list(dict.fromkeys(problem.code for problem in fatal))
            rows.append({**_who(drop, verdict), "camera": name, "reasons": codes, "detail": "; ".join(problem.message for problem in fatal)})
    return rows


def stretch_rows(drop: str, verdict: EpisodeVerdict) -> list[dict]:
    """Rows of `STRETCHES_SCHEMA`."""
    if not verdict.accepted:
        return []
    usable = {None, *(camera.name for camera in verdict.cameras if camera.accepted)}
    found = [(name, problem) for name, problems in _subjects(verdict) if name in usable for problem in stretches(problems)]
    return [
        {
            **_who(drop, verdict),
            "camera": name,
            "reasons": [problem.code],
            "detail": problem.message,
            "start_s": round(problem.start_s, 6),
            "stop_s": round(problem.stop_s, 6),
        }
        for name, problem in found
    ]


def _subjects(verdict: EpisodeVerdict) -> list[tuple[str | None, tuple[Problem, ...]]]:
    return [(None, verdict.problems), *((camera.name, camera.problems) for camera in verdict.cameras)]


def _who(drop: str, verdict: EpisodeVerdict) -> dict:
    return {"drop": drop, "episode_id": verdict.episode.id, "index": verdict.episode.index}


def _draw(path: Path, verdicts: list[EpisodeVerdict]) -> None:
    """Rejected cameras first, then accepted ones spread over the drop."""
    shown = [(verdict, camera, verdict.accepted and camera.accepted) for verdict in verdicts for camera in verdict.cameras]
    rejected = [item for item in shown if not item[2]][: STRIP_ROWS // 2]
    chosen = rejected + [item for item in shown if item[2] and item[1].thumbnails][: STRIP_ROWS - len(rejected)]
    rows = [(_label(verdict, camera, fine), camera.thumbnails) for verdict, camera, fine in chosen]
    filmstrip_png(rows, path, marks=["accepted" if fine else "rejected" for _, _, fine in chosen])


def _label(verdict: EpisodeVerdict, camera: CameraVerdict, fine: bool) -> str:
    state = "accepted" if fine else f"rejected: {', '.join([*verdict.reasons, *camera.reasons])}"
    return f"episode {verdict.episode.index} / {camera.name} / {verdict.episode.duration_s:.1f} s / {state}"
