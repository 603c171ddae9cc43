"""The telemetry captioner: one description a clip, from the rows of its time window and the names of its numbers."""

from cosmos_ops.captions.source import with_episodes
from cosmos_ops.captions.telemetry.observe import Observation, observe, scale_of
from cosmos_ops.captions.telemetry.wording import Words, describe
from cosmos_ops.logs import LogReader
from cosmos_ops.logs.drops import Drop
from cosmos_ops.profiles import TelemetrySettings
from cosmos_ops.progress import Progress, silent

VERSION = "2"
"""Raised whenever the same telemetry may get another description."""
_AXES = {"robomimic-hdf5": ("x", "y", "up")}
"""Formats that say where an axis of their positions points: robosuite's world has z upwards."""


def telemetry_captions(reader: LogReader, source: Drop, clips: list[dict], settings: TelemetrySettings, progress: Progress = silent) -> list[str]:
    """One description a clip (rows of `clips.parquet`, in their order); empty for a clip whose log has no proprioception.

    The log is walked once. What counts as still is judged by how far things move in the whole drop, so the texts come at the end. Equal drops give
    equal texts. Raises `WorkFailed` where the log lacks an episode that was planned.
    """
    seen: list[Observation | None] = []
    for episode, rows in with_episodes(reader, source, clips):
        seen += observe(episode, [(row["frame_times_s"][0], row["frame_times_s"][-1]) for row in rows], settings.gripper_closed)
        progress(len(seen), len(clips), "clips' telemetry read")
    scale = scale_of(seen)
    words = Words(settings.joint_unit, settings.length_unit, settings.axes or _AXES.get(source.format, ()))
    return [describe(observation, scale, words) if observation else "" for observation in seen]
