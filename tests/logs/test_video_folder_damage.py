"""Damaged videos and tables of any content: described or refused in one line."""

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cosmos_ops.errors import UserError
from cosmos_ops.logs import open_log
from tests.fixtures.video_factory import write_video
from tests.logs.reading import described

FEW = settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FIELDS = st.sampled_from(
    ["file_name", "text", "a.mp4", "videos/a.mp4", "../a.mp4", "/etc/passwd", "..", ".", "", '"', "\0", "\n", "a.mp4/x", "é\ud7ff", "x" * 300]
)
MUTATIONS = 25


@pytest.fixture(scope="module")
def drop(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("videos") / "drop"
    write_video(root / "videos/a.mp4", frames=2, height=16, width=16)
    return root


@FEW
@given(rows=st.lists(st.lists(FIELDS, max_size=3), max_size=4), head=st.sampled_from(["", "file_name,text\n", "text\n", "file_name\n"]))
@example(rows=[["."]], head="file_name,text\n")
def test_any_table(drop, rows, head):
    (drop / "metadata.csv").write_text(head + "\n".join(map(",".join, rows)))
    described(drop)
    (drop / "metadata.csv").unlink()


@FEW
@given(
    content=st.one_of(
        st.binary(max_size=60), st.sampled_from([b'{"file_name": 3}', b'{"file_name": ["a.mp4"], "text": {}}', b"null", b"[1]", b'{"text": "x"}'])
    )
)
def test_any_lines(drop, content):
    (drop / "metadata.jsonl").write_bytes(content)
    described(drop)
    (drop / "metadata.jsonl").unlink()


@pytest.mark.parametrize(("codec", "suffix"), [("h264", "mp4"), ("mpeg4", "avi"), ("h264", "mkv"), ("mjpeg", "mov")])
def test_bytes_changed_anywhere(tmp_path, codec, suffix):
    path = write_video(tmp_path / f"drop/a.{suffix}", frames=12, codec=codec, height=32, width=32)
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(MUTATIONS):
        changed = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            near = rng.choice((len(whole), 600))  # headers lie at either end
            changed[rng.choice((1, -1)) * rng.randrange(1, min(near, len(whole)))] = rng.choice((0, 255, rng.randrange(256)))
        path.write_bytes(changed)
        assert described(tmp_path / "drop") is not None


def test_a_header_that_declares_years_is_refused(tmp_path):
    path = write_video(tmp_path / "drop/a.mp4", frames=12, height=32, width=32)
    content = bytearray(path.read_bytes())
    place = content.index(b"stts")
    content[place + 16 : place + 20] = b"\x7f\xff\xff\xff"  # how long a frame lasts
    path.write_bytes(content)
    (episode,) = open_log(tmp_path / "drop").episodes()
    assert [problem.code for problem in episode.problems if problem.fatal] == ["unreadable"] and episode.frames < 100_000


def test_a_folder_a_pipe_and_no_text_where_captions_are_looked_for(tmp_path, drop):
    root = Path(shutil.copytree(drop, tmp_path / "drop"))
    (root / "metas/a.txt").mkdir(parents=True)
    (root / "videos/b.mp4").mkdir()
    os.mkfifo(root / "videos/c.mp4")
    (root / "metas/d.txt").write_text("x" * 100_000)
    shutil.copyfile(root / "videos/a.mp4", root / "videos/d.mp4")
    episodes = list(open_log(root).episodes())
    told = [problem.message for episode in episodes for problem in episode.problems]
    assert len(episodes) == 2 and told == ["metas/a.txt is not a file", "metas/d.txt is larger than 64 kB"]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "cosmos-drop.yaml"])
def test_a_pipe_is_not_waited_for(tmp_path, drop, name):
    root = Path(shutil.copytree(drop, tmp_path / "drop"))
    os.mkfifo(root / name)
    with pytest.raises(UserError, match="no regular file|not a regular file"):
        open_log(root)


def test_a_playlist_dressed_as_a_video_is_not_followed(tmp_path, drop):
    root = Path(shutil.copytree(drop, tmp_path / "drop"))
    (root / "videos/b.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{root}/videos/a.mp4\n#EXT-X-ENDLIST\n")
    (root / "videos/c.mp4").write_text(f"ffconcat version 1.0\nfile {root}/videos/a.mp4\n")
    assert [[problem.code for problem in episode.problems if problem.fatal] for episode in open_log(root).episodes()] == [[], ["unreadable"], ["unreadable"]]
