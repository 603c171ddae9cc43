"""Key frames of a clip as the endpoint takes them."""

from cosmos_ops.chat.request import data_url
from cosmos_ops.logs.base import Camera, Episode, LogReader
from cosmos_ops.profiles import ClipGeometry
from cosmos_ops.video.resample import nearest_frames
from cosmos_ops.video.transform import FrameFitter


def key_times_s(frame_times_s: list[float], count: int) -> list[float]:
    """`count` of a clip's moments, spread evenly from the first to the last (one: the middle); all where there are fewer."""
    last = len(frame_times_s) - 1
    if count == 1:
        return [frame_times_s[last // 2]]
    return [frame_times_s[place] for place in sorted({round(number * last / (count - 1)) for number in range(count)})]


def key_frames(reader: LogReader, episode: Episode, camera: Camera, clip: dict, geometry: ClipGeometry, count: int, longer_px: int) -> list[str]:
    """JPEG data URLs of a clip's key frames, cut as the clip is cut, the longer side about `longer_px`. Raises `UnreadableVideo`."""
    times_s, margin_s = key_times_s(clip["frame_times_s"], count), 1.0 / min(clip["fps"], camera.fps)
    scale = longer_px / max(geometry.height, geometry.width)
    fitter = FrameFitter(*(max(2, 2 * round(side * scale / 2)) for side in (geometry.height, geometry.width)), geometry.fit)
    frames = reader.decode(episode, camera, max(0.0, times_s[0] - margin_s), times_s[-1] + margin_s, threads=1)
    return [data_url(fitter.rgb(frame.image)) for frame in nearest_frames(frames, times_s)]
