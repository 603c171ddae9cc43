"""Known faults of files: what a broken copy, a lost file or a careless export leaves behind. Applied to a drop that was written whole."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from cosmos_ops.simulate.bag_metadata import COMPRESSED_IMAGE, METADATA, bag_file, camera_topic, topic_entry
from cosmos_ops.simulate.faults import Planted
from cosmos_ops.simulate.hdf5_writer import EPISODE
from cosmos_ops.simulate.lerobot_tables import CHUNK_SIZE, video_key, write_parquet
from cosmos_ops.simulate.lerobot_writer import V21_EPISODES, V21_VIDEO, V30_EPISODES

UNREAL_CAMERA = "rear"
"""Declared by `wrong_metadata` in a bag that has no such camera."""
_KEPT_TENTHS = 6


def spoil_files(root: Path, fmt: str, planted: tuple[Planted, ...]) -> None:
    """Plant those faults that are in the files; the others are left alone."""
    for item in planted:
        spoil = _SPOILERS.get((fmt, item.fault))
        if spoil:
            spoil(root, item)


def cut_off(path: Path) -> None:
    """Keep the first 60 % of a file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * _KEPT_TENTHS // 10])


def _video(root: Path, item: Planted) -> Path:
    place = {"episode_chunk": item.episode_index // CHUNK_SIZE, "episode_index": item.episode_index}
    return root / V21_VIDEO.format(video_key=video_key(item.camera), **place)


def _half_again(length: int) -> int:
    return length + length // 2


def _wrong_length_v21(root: Path, item: Planted) -> None:
    path = root / V21_EPISODES
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[item.episode_index]["length"] = _half_again(rows[item.episode_index]["length"])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _wrong_length_v30(root: Path, item: Planted) -> None:
    path = root / V30_EPISODES
    table = pq.read_table(path)
    lengths = table["length"].to_pylist()
    lengths[item.episode_index] = _half_again(lengths[item.episode_index])
    write_parquet([table.set_column(table.column_names.index("length"), "length", pa.array(lengths))], path)


def _wrong_rate_hdf5(root: Path, item: Planted) -> None:
    import h5py

    with h5py.File(root / EPISODE.format(episode_index=item.episode_index), "r+") as file:
        file.attrs["fps"] = 2 * file.attrs["fps"]


def _wrong_camera_bag(root: Path, item: Planted) -> None:
    path = bag_file(root, item.episode_index).with_name(METADATA)
    metadata = yaml.safe_load(path.read_text())
    topics = metadata["rosbag2_bagfile_information"]["topics_with_message_count"]
    frames = max(entry["message_count"] for entry in topics)
    topics.append(topic_entry(camera_topic(UNREAL_CAMERA, raw_images=False), COMPRESSED_IMAGE, frames))
    path.write_text(yaml.safe_dump(metadata, sort_keys=False))


_SPOILERS = {
    ("lerobot-v2.1", "truncated_video"): lambda root, item: cut_off(_video(root, item)),
    ("lerobot-v2.1", "missing_video"): lambda root, item: _video(root, item).unlink(),
    ("lerobot-v2.1", "wrong_metadata"): _wrong_length_v21,
    ("lerobot-v3.0", "wrong_metadata"): _wrong_length_v30,
    ("aloha-hdf5", "truncated_file"): lambda root, item: cut_off(root / EPISODE.format(episode_index=item.episode_index)),
    ("aloha-hdf5", "wrong_metadata"): _wrong_rate_hdf5,
    ("ros2-mcap", "truncated_file"): lambda root, item: cut_off(bag_file(root, item.episode_index)),
    ("ros2-mcap", "wrong_metadata"): _wrong_camera_bag,
}
