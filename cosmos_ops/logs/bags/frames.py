"""Decoded frames of a camera of a bag: all of a stretch of time, or the ones nearest to some moments."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np

from cosmos_ops.logs.bags.episode import Track
from cosmos_ops.logs.bags.messages import decoder, raw_bytes
from cosmos_ops.logs.bags.pictures import PictureDecoder, picture
from cosmos_ops.logs.bags.scan import unpacked
from cosmos_ops.logs.bags.storage import Damaged, open_storage
from cosmos_ops.logs.bags.streams import decode_stream
from cosmos_ops.logs.base import TimedFrame, UnreadableVideo
from cosmos_ops.video.decode import TIME_SLACK_S
from cosmos_ops.video.stills import swapped


def decode_track(track: Track, start_s: float, stop_s: float, threads: int) -> Iterator[TimedFrame]:
    """Frames with start_s <= time < stop_s in the order of time; the episode's first counts from 0. Raises `UnreadableVideo`."""
    since_s = start_s - TIME_SLACK_S if start_s > 0 else -np.inf
    wanted = track.shown & (track.times_s >= since_s) & (track.times_s < stop_s - TIME_SLACK_S)
    return _stream(track, wanted, threads) if track.stream else _pictures(track, np.flatnonzero(wanted))


def sample_track(track: Track, times_s: Sequence[float], threads: int) -> Iterator[TimedFrame]:
    """The frame nearest to each of the ascending times, each once. A stream whose entries lie too far apart is decoded whole for it."""
    shown, wanted_s = np.flatnonzero(track.shown), np.asarray(times_s, float)
    if not len(wanted_s):
        return iter(())
    shown = shown[np.argsort(track.times_s[shown], kind="stable")]
    chosen = _nearest(track.times_s[shown], wanted_s)
    picked = np.zeros(len(track.shown), bool)
    if not track.stream:
        return _pictures(track, shown[np.unique(chosen)])
    keys = shown[track.entries[shown]]
    if len(keys) and len(wanted_s) > 1:
        near = _nearest(track.times_s[keys], wanted_s)
        off_s = np.abs(track.times_s[keys][near] - np.minimum(wanted_s, track.times_s[shown[-1]])).max()
        if off_s <= 0.5 * float(np.diff(wanted_s).max()):
            picked[keys[np.unique(near)]] = True
            return _stream(track, picked, threads, only=picked)
    picked[shown[np.unique(chosen)]] = True
    return _stream(track, picked, threads)


def _pictures(track: Track, messages: np.ndarray) -> Iterator[TimedFrame]:
    decode = PictureDecoder(track.swap_red_blue)
    for message, content in _contents(track, messages):
        time_s = max(0.0, float(track.times_s[message]))
        try:
            yield TimedFrame(time_s, decode(picture(content)))
        except Damaged as error:
            raise UnreadableVideo(f"{track.channel.topic} at {time_s:.2f} s: {error}") from None


def _stream(track: Track, wanted: np.ndarray, threads: int, only: np.ndarray | None = None) -> Iterator[TimedFrame]:
    """The wanted frames of a stream, decoded from the entry before the first. With `only`, nothing but those messages is decoded."""
    if not wanted.any():
        return
    numbers = np.flatnonzero(wanted)
    before = np.flatnonzero(track.entries[: numbers[0] + 1])
    first = int(before[-1]) if len(before) else 0
    fed = numbers if only is not None else np.arange(first, int(numbers[-1]) + 1)
    # Two messages may carry one time: frames come back by their message's number, not by its time.
    packets = ((int(message), raw_bytes(getattr(content, "data", None))) for message, content in _contents(track, fed))
    last_s = -np.inf
    try:
        for message, image in decode_stream(track.codec, packets, threads):
            if wanted[message]:
                time_s = max(0.0, float(track.times_s[message]))
                if time_s < last_s:
                    raise Damaged("its pictures are not in the order of their times")
                last_s = time_s
                yield TimedFrame(time_s, swapped(image) if track.swap_red_blue else image)
    except Damaged as error:
        raise UnreadableVideo(f"{track.channel.topic}: {error}") from None


def _contents(track: Track, messages: np.ndarray) -> Iterator[tuple[int, object]]:
    """(number, message) for the messages asked for; one file of the bag is open at a time."""
    decode = decoder(track.channel)
    opened, number = ExitStack(), None
    with opened:
        for message in messages:
            file, *place = (int(value) for value in track.places[message])
            try:
                if file != number:
                    opened.close()
                    storage, number = opened.enter_context(open_storage(track.bag.files[file][1])), file
                yield int(message), decode(unpacked(track.bag, storage.payload((place[0], place[1]))))
            except (Damaged, OSError) as error:
                raise UnreadableVideo(f"{track.bag.files[file][0]}: {error}") from None


def _nearest(there_s: np.ndarray, wanted_s: np.ndarray) -> np.ndarray:
    """For each wanted time the position of the nearest of the ascending `there_s`."""
    after = np.clip(np.searchsorted(there_s, wanted_s), 1, max(1, len(there_s) - 1))
    after = np.minimum(after, len(there_s) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(there_s[after] - wanted_s < wanted_s - there_s[before], after, before)
