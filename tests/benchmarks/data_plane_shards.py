"""Shards against the `ffmpeg` command line, and how often videos are decoded for quality and for shards."""

import os
import shutil
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from cosmos_ops.lake import Lake
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import index_drop
from cosmos_ops.profiles import Profile, load_profile
from cosmos_ops.quality.assess import assess_drop
from cosmos_ops.shards.write import write_shards
from cosmos_ops.video import decode
from cosmos_ops.video.transform import scaled_size
from tests.benchmarks.films import FPS, HEIGHT, WIDTH, filmed_log
from tests.benchmarks.measuring import Result, in_turns
from tests.shards.lakes import ready_for_shards

WINDOWS = 2
"""Clips a video."""


def cosmos_profile() -> Profile:
    return load_profile("cosmos-predict2.5-2b")


def shards_part(folder: Path, quick: bool, result: Result) -> None:
    profile = cosmos_profile()
    log = filmed_log(folder / "log", 2 if quick else 6, _frames(profile))
    lake = ready_for_shards(folder / "lake", log, profile)
    videos, cores = sorted(log.rglob("*.mp4")), len(os.sched_getaffinity(0))
    clips = len(videos) * WINDOWS
    stage = lake.drop_stage("toy", "shards", profile.data_fingerprint)

    def write() -> None:
        shutil.rmtree(stage, ignore_errors=True)
        assert write_shards(lake, "toy", profile).rows == clips

    def theirs(processes: int, threads: int) -> None:
        target = folder / "ffmpeg"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(lambda video: subprocess.run(ffmpeg(video, target, profile, threads), check=True), videos))
        assert len(list(target.iterdir())) == clips

    contenders = {"ours": write, "ffmpeg, a process a core": lambda: theirs(cores, 1), "ffmpeg, its own threads": lambda: theirs(1, 0)}
    found = in_turns(contenders, 1 if quick else 5)
    for name, taken in found.items():
        result.row(f"clips of 93 x 432 x 768 written, {name}", clips / taken.seconds, "clips/s")
        result.row(f"  processor time a clip, {name}", taken.processor_s / clips, "s")
    ours = found.pop("ours")
    result.ratio("shards_vs_ffmpeg", min(taken.seconds for taken in found.values()) / ours.seconds)
    result.ratio("shards_vs_ffmpeg_processor_time", min(taken.processor_s for taken in found.values()) / ours.processor_s)


def ffmpeg(video: Path, target: Path, profile: Profile, threads: int) -> list[str]:
    """One video to one MP4 a clip, as our stage does it."""
    clip, shards = profile.clip, profile.shards
    height, width = scaled_size(HEIGHT, WIDTH, clip.height, clip.width, clip.fit)
    kernel = "area" if height * width < HEIGHT * WIDTH else "bicubic"
    scale = f"scale={width}:{height}:flags={kernel}+accurate_rnd+bitexact+full_chroma_int:out_color_matrix=bt601:out_range=tv"
    picture = f"fps={clip.max_fps:g}:round=near,{scale},crop={clip.width}:{clip.height}"
    x264 = ["-crf", shards.crf, "-preset", shards.preset, "-g", shards.gop, "-keyint_min", shards.gop, "-sc_threshold", 0, "-bf", 0, "-x264-params", "mbtree=0"]
    cut = ["-f", "segment", "-segment_format", "mp4", "-segment_frames", ",".join(str(n * clip.frames) for n in range(1, WINDOWS))]
    keyframes = ["-force_key_frames", f"expr:not(mod(n,{clip.frames}))"]
    command = ["ffmpeg", "-v", "error", "-y", "-threads", threads, *(["-filter_threads", threads] if threads else []), "-i", video, "-an", "-vf", picture]
    command += ["-frames:v", WINDOWS * clip.frames, "-c:v", "libx264", "-pix_fmt", "yuv420p", *x264, *keyframes, "-threads", threads, *cut]
    return [str(part) for part in [*command, target / f"{video.stem}-%d.mp4"]]


def decode_part(folder: Path, quick: bool, result: Result) -> None:
    """Counts at the one place that opens videos and the one that every decoded frame passes."""
    profile = cosmos_profile()
    frames = _frames(profile)
    log = filmed_log(folder / "log", 2, frames)
    lake = Lake(folder / "lake")
    register_drop(lake, log, "toy")
    index_drop(lake, "toy")
    _count("quality", lambda: assess_drop(lake, "toy", profile), log, frames, result)
    ready_for_shards(folder / "lake", log, profile, lake=lake)
    _count("shards", lambda: write_shards(lake, "toy", profile), log, frames, result)


def _count(name: str, stage, log: Path, frames: int, result: Result) -> None:
    opened, decoded = Counter(), Counter()
    open_video, time_of = decode._opened, decode._time_s

    def opening(path, threads):
        opened[path] += Path(path).is_relative_to(log) if isinstance(path, Path) else 0
        return open_video(path, threads)

    def timing(frame, stream, path):
        decoded[path] += 1
        return time_of(frame, stream, path)

    with mock.patch.object(decode, "_opened", opening), mock.patch.object(decode, "_time_s", timing):
        stage()
    videos = len(list(log.rglob("*.mp4")))
    result.row(f"{name}: times a video is opened", max(opened.values()), "")
    result.row(f"{name}: frames decoded a frame of video", sum(decoded.values()) / (videos * frames), "")


def _frames(profile: Profile) -> int:
    """Of a source that holds exactly `WINDOWS` clips and a little more."""
    return int(WINDOWS * profile.clip.frames / profile.clip.max_fps * FPS) + 8
