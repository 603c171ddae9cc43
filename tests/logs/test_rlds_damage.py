"""RLDS files that are damaged or hostile: described or refused in one line, whatever is in them. Found cases stay."""

import json
import os
import random
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.logs import open_log
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.inspect import inspect_log
from cosmos_ops.logs.rlds.crc32c import crc32c, masked
from cosmos_ops.logs.rlds.example import read_features
from cosmos_ops.logs.rlds.tfrecord import Damaged, PlacedFile, Record
from tests.fixtures.rlds_factory import episode_features, example, file_name, masked_crc, record, write_rlds
from tests.logs.reading import described, mutate
from tests.shards.lakes import small_profile

FEW = settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_rlds(tmp_path_factory.mktemp("rlds") / "drop", 3, 10, height=16, width=16)


@pytest.fixture
def drop(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "drop"))


def tfrecord(root: Path) -> Path:
    return next(root.rglob("*.tfrecord*"))


def test_cut_anywhere(drop):
    content, ends = tfrecord(drop).read_bytes(), [0]
    while ends[-1] < len(content):
        ends.append(ends[-1] + struct.unpack_from("<Q", content, ends[-1])[0] + 16)
    for cut in sorted({0, 1, 7, 8, 11, 12, 13, ends[1] - 1, *ends, len(content) - 1, *np.linspace(20, len(content) - 2, 12, dtype=int).tolist()}):
        tfrecord(drop).write_bytes(content[:cut])
        whole_records = sum(end <= cut for end in ends[1:])
        assert described(drop) == [[]] * whole_records + ([] if cut in ends[1:] else [["unreadable_file"]]), cut


@FEW
@given(place=st.integers(0, 2**31), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_wherever_it_is(drop, place, bit):
    content = bytearray(tfrecord(drop).read_bytes())
    before = bytes(content)
    content[place % len(content)] ^= 1 << bit
    tfrecord(drop).write_bytes(content)
    found = described(drop)
    tfrecord(drop).write_bytes(before)
    assert found is not None and ["unreadable_file"] in found


@FEW
@given(place=st.integers(0, 2**31), value=st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x12, 0x0B]), count=st.sampled_from([1, 1, 2, 9]))
def test_a_damaged_example_with_a_right_checksum(drop, place, value, count):
    """What a broken or hostile writer makes: the frames are fine, what they hold is not."""
    before = tfrecord(drop).read_bytes()
    size = struct.unpack_from("<Q", before)[0]
    content = bytearray(before[12 : 12 + size])
    spots = [place % 900, place % size] if count > 1 else [place % size]
    for spot in spots:
        content[spot : spot + count] = bytes([value]) * len(content[spot : spot + count])
    tfrecord(drop).write_bytes(record(bytes(content)) + before[16 + size :])
    found = described(drop)
    tfrecord(drop).write_bytes(before)
    assert found is not None and len(found) == 3 and found[1:] == [[], []]


@FEW
@given(content=st.binary(max_size=300))
def test_any_bytes_as_an_example(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_bytes(content)
    with PlacedFile(path) as file:
        try:
            assert isinstance(read_features(file, Record(0, len(content))), dict)
        except Damaged as error:
            assert "\n" not in str(error)


def framed(length: int) -> bytes:
    """The beginning of a record that declares any length, its checksum right."""
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", masked_crc(packed))


@pytest.mark.parametrize(
    "content",
    [
        framed(2**63) + b"x" * 100,
        framed(2**64 - 1) + b"x" * 100,
        framed(2**40),
        framed(0) + struct.pack("<I", masked_crc(b"")) + framed(10),
        b"\x1f\x8b" + bytes(100),
        bytes(1000),
    ],
)
def test_absurd_lengths(drop, content):
    tfrecord(drop).write_bytes(content)
    found = described(drop)
    assert found and found[-1] == ["unreadable_file"]


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def sized(number: int, content: bytes, declared: int | None = None) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(content) if declared is None else declared) + content


def entry(name: bytes, feature: bytes) -> bytes:
    return sized(1, sized(1, name) + sized(2, feature))


ACTION = b"steps/action"
STATE = entry(b"steps/observation/state", sized(2, sized(1, bytes(240))))


@pytest.mark.parametrize(
    "features",
    [
        entry(ACTION, sized(2, sized(1, b"", 2**62))),
        entry(ACTION, sized(2, b"\x0a" + b"\xff" * 12)),
        entry(ACTION, sized(2, sized(1, b"abc"))),
        entry(ACTION, sized(2, b"\x09" + bytes(8))),
        entry(ACTION, sized(3, sized(1, b"\x80" * 40))),
        entry(ACTION, sized(3, sized(1, b"\xff" * 10 + b"\x01"))),
        entry(ACTION, sized(4, b"x")),
        entry(ACTION, sized(2, sized(1, bytes(16)))) * 2,
        entry(b"n" * 5000, b""),
        entry(b"\xff\xfe\n", sized(1, sized(1, b"x"))),
        b"\x0b\x0c" * 20,
        b"\x00\x00",
    ],
)
def test_hostile_messages(drop, features):
    tfrecord(drop).write_bytes(record(sized(1, STATE + features)))
    found = described(drop)
    assert found is not None and found[0] and found[0][0] in ("unreadable_file", "broken_telemetry")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"steps/action": [0.5] * 41}, "broken_telemetry"),
        ({"steps/action": [0.5] * 44}, "broken_telemetry"),
        ({"steps/action": [b"x"] * 10}, "broken_telemetry"),
        ({"steps/action": [float("nan")] * 40}, "not_finite"),
        ({"steps/action": [3e38 * 10] * 40}, "not_finite"),
        ({"steps/observation/image_0": [b""] * 10}, "unreadable"),
        ({"steps/observation/image_0": [b"\xff\xd8\xff\xe0" + bytes(50)] * 10}, "unreadable"),
        ({"steps/observation/image_0": [0.5] * 10}, "unreadable"),
        ({"steps/observation/image_0": None}, "missing_video"),
        ({"steps/language_instruction": [0.5] * 10}, "no_task"),
        ({"episode_metadata/success": [7]}, None),
        ({"steps/reward": [b"x"] * 10}, None),
    ],
)
def test_values_that_make_no_sense(whole, drop, more, code):
    """The schema is that of a sound dataset."""
    features = write_rlds(drop.parent / "odd", 1, 10, height=16, width=16, **more)
    shutil.copyfile(next(whole.rglob("features.json")), next(features.rglob("features.json")))
    (episode,) = open_log(features).episodes()
    assert code in [problem.code for problem in episode.problems] + [None] and described(features) is not None


def test_pictures_that_are_cut_are_found_when_they_are_looked_at(tmp_path):
    pictures = episode_features(0, 24, ("image_0",), 48, 64, "", ".jpg")["steps/observation/image_0"]
    root = write_rlds(tmp_path / "drop", 1, 24, **{"steps/observation/image_0": [picture[:-2] + b"\0\0" for picture in pictures]})
    with pytest.raises(UserError, match=r"unreadable \(1 of 1\)"):
        inspect_log(root, small_profile())


@pytest.mark.parametrize(
    "described_as",
    [
        {},
        {"steps": None},
        {"steps": {"sequence": {"feature": {"featuresDict": {"features": {"../action": {"tensor": {}}, "a\nb": {"text": {}}}}}}}},
        {"steps": {"sequence": {"feature": {"featuresDict": {"features": {"action": {"tensor": {"shape": {"dimensions": ["99999999999999"]}}}}}}}}},
        {"steps": {"sequence": {"feature": {"featuresDict": {"features": {"action": {"tensor": {"shape": "x", "dtype": 3}}}}}}}},
    ],
)
def test_schemas_that_say_odd_things(drop, described_as):
    next(drop.rglob("features.json")).write_text(json.dumps({"featuresDict": {"features": described_as}}))
    found = described(drop)
    assert found is None or all("broken_telemetry" in problems or problems == [] for problems in found)


def test_declarations_mutated_at_random(whole, drop):
    rng, odd = random.Random(0), [None, True, -1, 1e308, "", "x", "../..", [], {}, [1, None], 10**30, "\0", "é" * 300]
    for name in ("features.json", "dataset_info.json"):
        for _ in range(40):
            tree = json.loads(next(whole.rglob(name)).read_text())
            mutate(rng, tree, odd)
            next(drop.rglob(name)).write_text(json.dumps(tree))
            described(drop)


def test_links_and_pipes(drop, tmp_path):
    outside = tmp_path / "secret.tfrecord"
    tfrecord(drop).rename(outside)
    place = drop / "toy_arm/1.0.0"
    (place / file_name(0, 1)).symlink_to(outside)
    (episode,) = open_log(drop).episodes()
    assert [problem.code for problem in episode.problems] == ["unreadable_file"] and "leads out" in episode.problems[0].message
    with pytest.raises(UserError, match="leads out of the drop"):
        register_drop(Lake(tmp_path / "lake"), drop)
    (place / file_name(0, 1)).unlink()
    os.mkfifo(place / file_name(0, 1))
    assert described(drop) == [["unreadable_file"]]
    (place / "features.json").unlink()
    (tmp_path / "features.json").write_text("{}")
    (place / "features.json").symlink_to(tmp_path / "features.json")
    with pytest.raises(UserError, match="leads out"):
        open_log(drop)


def test_memory_does_not_grow_with_the_episode(tmp_path):
    """A record of 16 MB, nearly all of it pictures: neither indexing nor decoding holds it."""
    root = write_rlds(tmp_path / "drop", 1, 10, height=16, width=16)
    content = tfrecord(root).read_bytes()
    inner = content[12 : 12 + struct.unpack_from("<Q", content)[0]]
    big = inner + example({"steps/observation/ballast": [bytes(1 << 20)] * 16})  # messages put together are one message
    tfrecord(root).write_bytes(framed(len(big)) + big + struct.pack("<I", masked(crc32c(big))))
    del big, content, inner
    tracemalloc.start()
    try:
        reader = open_log(root)
        (episode,) = reader.episodes()
        assert len(list(reader.decode(episode, episode.cameras[0]))) == 10 and episode.problems == ()
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
