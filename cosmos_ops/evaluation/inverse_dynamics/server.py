"""The trained reader as what measures `action_consistency`."""

import json

import numpy as np
import torch
from safetensors.torch import load_file

from cosmos_ops.errors import WorkFailed
from cosmos_ops.evaluation.inverse_dynamics.clips import pairs_of
from cosmos_ops.evaluation.inverse_dynamics.fit import Fitted
from cosmos_ops.evaluation.inverse_dynamics.reader import ActionReader, span_frames
from cosmos_ops.evaluation.inverse_dynamics.train import SETTINGS, WEIGHTS
from cosmos_ops.evaluation.served import Served, Task, Values
from cosmos_ops.lake import Manifest
from cosmos_ops.progress import Progress
from cosmos_ops.shards.read import read_clip

COLUMN = "action_consistency"
REAL, CONSTANT = "real", "constant"


class InverseDynamics:
    """Reads generated videos; see `served.Server`.

    A sample's value is the root mean square over its pairs of frames and the channels that are read, in standard deviations of the recorded
    actions of training. `real` is the same on the real continuation, `constant` that of always saying the training mean. A sample has no value
    where its clip has no such actions or too few generated frames, or its camera was never trained on.
    """

    def __init__(self, manifest: Manifest):
        self.version = manifest.data_version
        self.absence: str | None = manifest.meta["absence"]
        if self.absence is not None:
            return
        try:
            settings = json.loads(manifest.file(SETTINGS).read_text())
            tensors = load_file(manifest.file(WEIGHTS))
        except (OSError, ValueError) as error:
            raise WorkFailed(f"{manifest.path} cannot be read ({error}); remove it and materialize `inverse_dynamics` again") from None
        self.cameras: list[str] = settings["cameras"]
        self.read: list[int] = settings["read"]
        mean, std = (torch.tensor(settings[name]) for name in ("mean", "std"))
        reader = ActionReader(len(self.cameras), len(mean))
        reader.load_state_dict(tensors)
        self.fitted = Fitted(reader, mean, std)

    def measure(self, task: Task, progress: Progress) -> Served:
        values: Values = {}
        beside: dict[str, Values] = {REAL: {}, CONSTANT: {}}
        known: dict[str, tuple[float | None, float | None]] = {}
        for done, sample in enumerate(task.samples):
            progress(done, len(task.samples), "reading actions")
            clip = read_clip(task.lake, sample.shard_path, sample.key)
            width = len(self.fitted.mean)
            start, error = task.first - 1, None  # from the last conditioning frame on: the step into the first generated frame is the model's too
            recorded = clip.actions.shape == (len(clip.frames), width) and np.isfinite(clip.actions).all()
            if recorded and sample.camera in self.cameras and start + span_frames(clip.fps) < len(clip.frames):
                camera = self.cameras.index(sample.camera)
                error = self.fitted.error(pairs_of(task.read(sample), clip.actions, clip.fps, camera, start), self.read)
                if sample.clip_id not in known:
                    real = pairs_of(clip.frames, clip.actions, clip.fps, camera, start)
                    known[sample.clip_id] = tuple(self.fitted.error(real, self.read, guess) for guess in (False, True))
            values[sample.sample_key] = {COLUMN: error}
            for kind, value in zip((REAL, CONSTANT), known.get(sample.clip_id, (None, None)), strict=True):
                beside[kind][sample.sample_key] = {COLUMN: value}
        return Served(values, beside)
