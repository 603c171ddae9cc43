"""Logs of the right form with any content at all: each is described, or refused in one line. Cases that were found stay as examples."""

import json
import math

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType, Writer

from cosmos_ops.logs.mapping import NAME
from tests.fixtures.bag_factory import at
from tests.fixtures.hdf5_factory import write_aloha, write_robomimic, write_robonet
from tests.fixtures.lerobot_factory import add_stills, write_lerobot
from tests.logs.reading import described

FEW = settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8) | st.sampled_from(["jpeg", "rgb8", "../..", "\0"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["sec", "nsec", "stamp", "x"]), inner, max_size=3),
    max_leaves=6,
)
SECONDS = st.sampled_from([0, 1, -1, 2**31 - 1, 2**31, 2**32, 2**63 - 1, -(2**63), 1e300, math.nan, math.inf, "1", None]) | st.integers(0, 100)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


def write_json_bag(path, messages) -> None:
    """An MCAP file of (topic, type, recorder's ns, content)."""
    with open(path, "wb") as stream:
        writer = Writer(stream, compression=CompressionType.NONE)
        writer.start("", "tests")
        channels = {}
        for topic, kind, log_ns, content in messages:
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "json", writer.register_schema(kind, "jsonschema", b"{}"))
            writer.add_message(channels[topic], log_ns, json.dumps(content).encode(), log_ns)
        writer.finish()


KINDS = {
    "/joint_states": ("sensor_msgs/JointState", ("header", "name", "position", "velocity")),
    "/commands": ("std_msgs/Float64MultiArray", ("data", "layout")),
    "/cam/image": ("foxglove.CompressedImage", ("timestamp", "data", "format")),
    "/raw/image": ("foxglove.RawImage", ("timestamp", "data", "encoding", "width", "height", "step")),
    "/film/video": ("foxglove.CompressedVideo", ("timestamp", "data", "format")),
    "/task": ("std_msgs/String", ("data",)),
}
CONTENT = st.sampled_from(sorted(KINDS)).flatmap(
    lambda topic: st.tuples(st.just(topic), st.fixed_dictionaries({}, optional=dict.fromkeys(KINDS[topic][1], VALUES)))
)


@FEW
@given(messages=st.lists(CONTENT, max_size=8))
@example(messages=[("/task", {"data": "\ud800"})])
@example(messages=[("/joint_states", {"name": ["a", "a"], "position": [1, 2]}), ("/joint_states", {"name": ["a"], "position": [math.inf]})])
def test_any_json_messages(home, messages):
    write_json_bag(home / "one.mcap", [(topic, KINDS[topic][0], at(number / 10), content) for number, (topic, content) in enumerate(messages)])
    described(home / "one.mcap")


@FEW
@given(stamps=st.lists(st.tuples(SECONDS, SECONDS, st.integers(0, 2**64 - 1)), min_size=2, max_size=12))
@example(stamps=[(0, 1, 0), (0, 2**31 - 1, 0), (0, 2**31, 0), (2**31 - 1, 0, 0), (2**31 - 1, 1, 0)])
@example(stamps=[(2**31, 0, 2**64 - 1), (0, 2**32, 0)])
@example(stamps=[(n, 0, 10**18 - n) for n in range(12)])
def test_any_times_of_messages(home, stamps):
    messages = [
        ("/joint_states", "sensor_msgs/JointState", log_ns, {"header": {"stamp": {"sec": sec, "nanosec": nsec}}, "name": ["a"], "position": [number]})
        for number, (sec, nsec, log_ns) in enumerate(stamps)
    ]
    write_json_bag(home / "one.mcap", messages)
    assert described(home / "one.mcap") is not None


SHAPES = st.lists(st.integers(0, 5), max_size=5).map(tuple) | st.sampled_from([(2**40,), (2**33, 2), (2, 2**33), (4, 16, 16, 3), (4, 60_000, 60_000, 3)])
DTYPES = st.sampled_from(["u1", "i8", "f2", "f4", "f8", "?", "S7", "S100000", "c16", "V9", "M8[s]", "u2", ">f4", "text", "rows", "references"])
FILES = {
    "aloha": (
        lambda path: write_aloha(path, 6, ("cam",), height=16, width=16, pictures="raw"),
        ("action", "observations/qpos", "observations/images/cam", "language_raw"),
    ),
    "robomimic": (
        lambda path: write_robomimic(path, 1, 6, height=16, width=16),
        ("data/demo_0/actions", "data/demo_0/obs/robot0_eef_pos", "data/demo_0/obs/agentview_image", "data/demo_0/rewards", "mask/train"),
    ),
    "robonet": (
        lambda path: write_robonet(path, 6, 1, height=32, width=32),
        ("env/cam0_video/frames", "env/state", "policy/actions", "misc/traj_ok", "file_version"),
    ),
}


@pytest.mark.parametrize("kind", FILES)
@FEW
@given(data=st.data())
def test_any_dataset_in_hdf5(home, kind, data):
    write, names = FILES[kind]
    path = home / f"{kind}_0.hdf5"
    path.unlink(missing_ok=True)
    write(path)
    name, shape, dtype = data.draw(st.sampled_from(names)), data.draw(SHAPES), data.draw(DTYPES)
    special = {"text": h5py.string_dtype(), "rows": h5py.vlen_dtype(np.uint8), "references": h5py.ref_dtype}
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        try:
            file.create_dataset(name, shape, special.get(dtype, dtype), chunks=True if shape and data.draw(st.booleans()) else None)
        except (TypeError, ValueError, OSError):
            return  # what HDF5 itself does not write
    described(path)


NUMBERS = st.lists(st.floats(width=32) | st.none() | st.integers(-(2**40), 2**40), min_size=20, max_size=20)
COLUMNS = NUMBERS.map(lambda values: pa.array(values, pa.float64())) | st.sampled_from(
    [
        pa.array([[1.0, 2.0]] * 19 + [[1.0]]),
        pa.array([[]] * 20, pa.list_(pa.float32())),
        pa.array([None] * 20),
        pa.array([[[1.0], [2.0]]] * 20),
        pa.array([{"bytes": b"x", "path": None}] * 20),
        pa.array(["2024"] * 20),
        pa.array([b"\xff"] * 20),
        pa.array([2**62] * 20),
        pa.array([1.0] * 20, pa.float16()) if hasattr(pa, "float16") else pa.array([1.0] * 20),
        pa.array([True] * 20),
        pa.array([0] * 20, pa.timestamp("ns")),
        pa.array(["a"] * 20).dictionary_encode(),
    ]
)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@FEW
@given(data=st.data())
def test_any_column_of_a_lerobot_dataset(home, version, data):
    root = home / version
    if not root.exists():
        add_stills(write_lerobot(root, version, episodes=1, frames=20, height=32, width=32), "wrist", 1, 20, 32, 32)
    (path,) = (root / "data").rglob("*.parquet")
    whole = path.read_bytes()
    try:
        table = pq.read_table(path)
        name = data.draw(st.sampled_from(table.column_names))
        pq.write_table(table.drop_columns([name]).append_column(name, data.draw(COLUMNS)), path)
        assert described(root) is not None
    finally:
        path.write_bytes(whole)


MARKS = st.text(alphabet="a:-[]{}&*!|>%@ \n'\"#,?", max_size=40).map(str.encode)
TEXTS = st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()) | MARKS


@FEW
@given(content=TEXTS)
@example(content=b"? [a]\n: b")
@example(content=b"!!python/object/apply:os.system [id]")
@example(content=b"cameras: {a: 1, b: [c]}")
@example(content=b"fps: .nan")
@example(content=b"state: &a [*a]")
def test_any_mapping(home, content):
    folder = home / "mapped"
    if not folder.exists():
        write_aloha(folder / "episode_0.hdf5", 4, ("cam",), height=16, width=16, pictures="raw")
    (folder / NAME).write_bytes(content)
    described(folder)
