import hashlib
import io
import json
import math
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import file_sha256
from cosmos_ops.lake import Lake
from cosmos_ops.logs import open_log
from cosmos_ops.profiles import CaptionSettings, QualitySettings
from cosmos_ops.shards.decode import decode_clip
from cosmos_ops.shards.read import iterate_shard, read_clip, read_video
from cosmos_ops.shards.tar import MODE, OWNER, Sample, read_extent, write_tar
from cosmos_ops.shards.write import write_shards
from cosmos_ops.video.encode import encode_mp4
from cosmos_ops.workers import LocalWorkers
from tests.fixtures.lerobot_factory import block_path, render, write_lerobot, write_video
from tests.shards.lakes import REAL, ready_for_shards, real_episodes, small_profile


def tars(manifest) -> dict[str, str]:
    return {name: sha256 for name, sha256 in manifest.files.items() if name.endswith(".tar")}


def index_of(manifest) -> list[dict]:
    return pq.read_table(manifest.file("index.parquet")).to_pylist()


def test_any_home_and_any_number_of_workers_give_the_same_bytes(tmp_path, toy_log, profile, sharded):
    _, manifest = sharded
    copied = shutil.copytree(toy_log, tmp_path / "elsewhere" / "log")
    other = write_shards(ready_for_shards(tmp_path / "home", copied, profile), "toy", profile, workers=LocalWorkers(1))
    third = write_shards(ready_for_shards(tmp_path / "third", toy_log, profile), "toy", profile, workers=LocalWorkers(5))
    assert len(tars(manifest)) == 5  # 36 clips, 8 a shard
    assert manifest.files == other.files == third.files  # index and picture too
    assert manifest.data_version == other.data_version == third.data_version


def test_writing_again_touches_nothing(sharded, profile):
    lake, manifest = sharded
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in manifest.path.rglob("*")}
    assert write_shards(lake, "toy", profile).unchanged
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in manifest.path.rglob("*")} == before


def test_other_settings_lie_elsewhere(sharded, profile):
    lake, manifest = sharded
    other = replace(profile, shards=replace(profile.shards, crf=30))
    assert lake.drop_stage("toy", "shards", other.data_fingerprint) != manifest.path
    with pytest.raises(UserError, match="clip plan of drop toy"):
        write_shards(lake, "toy", other)


def count_in_grey(log: Path, fps: int) -> Path:
    """Replace the videos below `log`: frame number n of a file is 5 levels brighter on average than number n - 1. Each file has stripes of its own width."""
    for number, path in enumerate(sorted(log.rglob("*.mp4"))):
        with av.open(str(path)) as container:
            count = container.streams.video[0].frames
        stripes = np.where(np.arange(128) // (8 << number) % 2, 16, -16)
        grey = 30 + 5 * np.arange(count)
        write_video(path, np.broadcast_to((grey[:, None, None, None] + stripes[None, None, :, None]), (count, 96, 128, 3)).astype(np.uint8), fps)
    return log


def counted(frames: np.ndarray) -> list[int]:
    """Frame numbers that `count_in_grey` gave."""
    return [round(float(frame.mean() - 30) / 5) for frame in frames]


def test_clips_show_the_frames_nearest_in_time_with_their_actions(tmp_path):
    log = count_in_grey(write_lerobot(tmp_path / "log", episodes=2), 10)
    profile = small_profile(quality=QualitySettings(max_blur=1.0))
    lake = ready_for_shards(tmp_path / "lake", log, profile)
    manifest = write_shards(lake, "toy", profile)
    episodes = {episode.index: episode for episode in open_log(log).episodes()}
    for row in index_of(manifest):
        clip = read_clip(lake, f"{manifest.path.relative_to(lake.root)}/{row['shard']}", row["key"], verify=True)
        # Moments 1/8 s apart among frames 1/10 s apart; of two equally near the earlier.
        expected = [math.ceil((row["window"] * 9 + place) * 10 / 8 - 0.5) for place in range(9)]
        assert clip.frames.shape == (9, 48, 64, 3) and clip.frames.dtype == np.uint8 and clip.fps == 8.0
        assert counted(clip.frames) == expected
        assert clip.meta["frame_times_s"] == pytest.approx([frame / 10 for frame in expected])
        np.testing.assert_array_equal(clip.actions, episodes[row["index"]].action[expected])
        assert clip.caption == row["caption"] == "push the red block to the left"


def test_brightness_survives_a_clip():
    levels = np.repeat(np.arange(0, 256, 15, dtype=np.uint8), 48 * 64 * 3).reshape(-1, 48, 64, 3)
    target = io.BytesIO()
    encode_mp4(levels, 8, target)
    off = decode_clip(target.getvalue()).astype(int) - levels
    assert abs(off).max() <= 2 and abs(off.mean()) < 0.5


def test_equal_frames_encode_to_equal_bytes_every_time():
    """Some encoder options do not, in one of a few hundred clips."""
    frames = render(block_path(0, 0, 17), 48, 64, 0, "front")
    hashes = set()
    for _ in range(250):
        target = io.BytesIO()
        encode_mp4((frame.copy() for frame in frames), 8, target)
        hashes.add(hashlib.sha256(target.getvalue()).hexdigest())
    assert len(hashes) == 1


def test_nothing_of_the_home_or_the_moment_is_in_a_tar(sharded, toy_log):
    lake, manifest = sharded
    content = manifest.file("shard-00000.tar").read_bytes()
    assert str(lake.root).encode() not in content and str(toy_log).encode() not in content
    with tarfile.open(manifest.file("shard-00000.tar")) as tar:
        members = tar.getmembers()
        facts = json.load(tar.extractfile(members[0]))
    assert {(member.mtime, member.uname, member.gname, member.uid, member.gid, member.mode) for member in members} == {(0, OWNER, OWNER, 0, 0, MODE)}
    assert [member.name.partition(".")[2] for member in members[:4]] == ["json", "mp4", "npy", "txt"]
    assert facts["frames"] == 9 and facts["split"] in ("train", "validation", "test")


def test_tars_are_those_of_webdataset(tmp_path):
    import webdataset as wds

    samples = [Sample(f"{number:016x}", {"mp4": bytes([number]) * (400 + number), "json": b"{}", "txt": "gr\u00fcn".encode()}) for number in range(5)]
    extents = write_tar(tmp_path / "ours.tar", samples)
    with open(tmp_path / "theirs.tar", "wb") as stream, wds.TarWriter(stream, user=OWNER, group=OWNER, mode=MODE, mtime=0, encoder=False) as writer:
        for sample in samples:
            writer.write({"__key__": sample.key, **sample.members})
    assert (tmp_path / "ours.tar").read_bytes() == (tmp_path / "theirs.tar").read_bytes()
    assert [read_extent(tmp_path / "ours.tar", extent) for extent in extents] == samples


def test_a_shard_read_as_a_stream_and_by_key_is_the_same(sharded):
    lake, manifest = sharded
    path = str(manifest.file("shard-00001.tar").relative_to(lake.root))
    streamed = list(iterate_shard(lake, path, verify=True))
    assert [clip.key for clip in streamed] == [row["key"] for row in index_of(manifest) if row["shard"] == "shard-00001.tar"]
    for clip in streamed[:3]:
        alone = read_clip(lake, path, clip.key)
        np.testing.assert_array_equal(alone.frames, clip.frames)
        assert alone.meta == clip.meta and alone.caption == clip.caption


def test_the_index_tells_the_truth(sharded):
    lake, manifest = sharded
    for row in index_of(manifest):
        path = manifest.file(row["shard"])
        assert row["shard_sha256"] == file_sha256(path)
        video = read_video(lake, str(path.relative_to(lake.root)), row["key"])
        assert video[4:8] == b"ftyp" and row["size_bytes"] > len(video)
        at = io.BytesIO(path.read_bytes()[row["offset_bytes"] : row["offset_bytes"] + row["size_bytes"]])
        with tarfile.open(fileobj=at) as tar:
            assert {member.name.partition(".")[0] for member in tar} == {row["key"]}


def test_damage_is_found_when_asked_for(tmp_path, sharded):
    lake, manifest = sharded
    shutil.copytree(lake.root, tmp_path / "lake")
    other = Lake(tmp_path / "lake")
    row = index_of(manifest)[0]
    where = manifest.path.relative_to(lake.root) / row["shard"]
    content = bytearray((other.root / where).read_bytes())
    place = content.index(b"mdat") + 200
    content[place] ^= 0xFF
    (other.root / where).write_bytes(content)
    with pytest.raises(WorkFailed, match=f"{row['key']}.*not the one in the index"):
        read_clip(other, str(where), row["key"], verify=True)
    with pytest.raises(WorkFailed, match="not the one in the index"):
        list(iterate_shard(other, str(where), verify=True))
    (other.root / where).write_bytes(content[:600])
    with pytest.raises(WorkFailed, match="shorter than its index"):
        read_clip(other, str(where), index_of(manifest)[1]["key"])


@pytest.mark.parametrize("path", ["../outside.tar", "/etc/passwd"])
def test_a_shard_path_never_leaves_the_lake(sharded, path):
    with pytest.raises(UserError, match="leads out of the lake"):
        read_clip(sharded[0], path, "key")


def test_an_unknown_key_or_shard_says_so(sharded):
    lake, manifest = sharded
    with pytest.raises(UserError, match="holds no clip 'nobody'"):
        read_clip(lake, str(manifest.file("shard-00000.tar").relative_to(lake.root)), "nobody")
    with pytest.raises(UserError, match="is not in the lake"):
        read_clip(lake, "drops/toy/shards/none.tar", "nobody")


def test_a_clip_that_cannot_be_decoded_is_named(tmp_path):
    """The last frames are damaged after quality looked: shards must not leave the clip out."""
    log = write_lerobot(tmp_path / "log", episodes=2, codec="h264", gop=50)
    profile = small_profile()
    lake = ready_for_shards(tmp_path / "lake", log, profile)
    video = sorted(log.rglob("*.mp4"))[1]
    content, stat = video.read_bytes(), video.stat()
    video.write_bytes(content[:80] + bytes(len(content) - 80))
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as bit rot would: size and time as registered
    with pytest.raises(WorkFailed, match=r"clip [0-9a-f]{16} of drop toy \(episode 1, camera .*front.*cannot be decoded"):
        write_shards(lake, "toy", profile)
    assert not (lake.drop_stage("toy", "shards", profile.data_fingerprint) / "manifest.json").exists()


def test_a_clip_without_a_caption_is_named(tmp_path):
    log = write_lerobot(tmp_path / "log", episodes=1, robot="")
    profile = small_profile(captions=CaptionSettings(template="a {robot} at work"))
    lake = ready_for_shards(tmp_path / "lake", log, profile)
    with pytest.raises(WorkFailed, match=r"3 clips of drop toy have no caption, first [0-9a-f]{16}; add the task"):
        write_shards(lake, "toy", profile)
    spoken = replace(profile, captions=CaptionSettings(template="a robot at work"))
    lake = ready_for_shards(tmp_path / "lake", log, spoken)
    assert {row["caption"] for row in index_of(write_shards(lake, "toy", spoken))} == {"a robot at work"}


def test_several_episodes_in_one_video_file_and_a_slow_source(tmp_path):
    """LeRobot v3.0 at 5 frames a second: each frame once, at its own rate, from the right part of the file."""
    log = count_in_grey(write_lerobot(tmp_path / "log", version="v3.0", episodes=2, frames=20, fps=5), 5)
    profile = small_profile(quality=QualitySettings(max_blur=1.0))
    lake = ready_for_shards(tmp_path / "lake", log, profile)
    manifest = write_shards(lake, "toy", profile)
    for row in index_of(manifest):
        clip = read_clip(lake, f"{manifest.path.relative_to(lake.root)}/{row['shard']}", row["key"])
        first = row["index"] * 20 + row["window"] * 9
        assert clip.fps == 5.0 and counted(clip.frames) == list(range(first, first + 9))


@pytest.mark.skipif(not (REAL / "cr5-banana").is_dir(), reason="the real CR5 log is not beside this checkout (../shared/data/real)")
def test_real_av1_log_gives_the_same_bytes_in_two_homes(tmp_path):
    log, profile = real_episodes(tmp_path / "log", 2), small_profile(frames=17, clips_per_shard=16)
    lake = ready_for_shards(tmp_path / "a", log, profile, "cr5")
    first = write_shards(lake, "cr5", profile, workers=LocalWorkers(1))
    second = write_shards(ready_for_shards(tmp_path / "b", log, profile, "cr5"), "cr5", profile, workers=LocalWorkers(3))
    assert tars(first) and first.files == second.files
    clip = read_clip(lake, f"{first.path.relative_to(lake.root)}/shard-00000.tar", index_of(first)[0]["key"], verify=True)
    assert clip.frames.shape == (17, 48, 64, 3) and clip.frames.std() > 10 and clip.actions.shape == (17, 7)
    assert clip.caption == "put the banana on the plate"
