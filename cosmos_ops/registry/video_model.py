"""A registered adapter as an MLflow model: {image, prompt, seed} in, a video out.

`mlflow.pyfunc.load_model("models:/NAME@champion")` and `mlflow models serve` import `_load_pyfunc` from here. Nothing is pickled: the model
is the adapter's own files, and a JSON file that says which base model they go on and how videos are made.
"""

import io
import json
import tempfile
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import add_to_model
from mlflow.types import ColSpec, DataType, Schema

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import write_json
from cosmos_ops.profiles import BaseModelSpec, ClipGeometry, GenerationSettings, Profile
from cosmos_ops.settings import build

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = "video_model.json"
MODEL = "MLmodel"

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image"), ColSpec(DataType.string, "prompt"), ColSpec(DataType.long, "seed", required=False)]),
    outputs=Schema([ColSpec(DataType.binary, "video"), ColSpec(DataType.double, "fps"), ColSpec(DataType.long, "frames")]),
)
"""`image` is the bytes of a PNG or JPEG file, `video` those of an MP4 file; in JSON both are base64 texts. `seed` is 0 where it is left out."""


@dataclass(frozen=True)
class VideoSettings:
    """What turns an adapter's weights into a generator."""

    profile: str
    base_model: BaseModelSpec
    base_revision: str
    """Commit or content hash that the adapter was made for."""
    clip: ClipGeometry
    generation: GenerationSettings


def write_video_model(folder: Path, profile: Profile, base_revision: str, run_id: str, model_id: str) -> list[Path]:
    """Write what makes a folder with an adapter's files an MLflow model; returns the two files."""
    spec = profile.base_model
    if not spec.source.startswith("builtin:") and not Path(spec.source).is_dir():
        spec = replace(spec, revision=base_revision)  # a branch may move on, the adapter stays
    settings = VideoSettings(profile.name, spec, base_revision, profile.clip, profile.generation)
    write_json(folder / SETTINGS, asdict(settings))
    model = Model(run_id=run_id, model_id=model_id, signature=SIGNATURE)
    add_to_model(model, loader_module=__name__, data=".")
    model.save(str(folder / MODEL))
    return [folder / SETTINGS, folder / MODEL]


def _load_pyfunc(path: str) -> "VideoModel":
    """MLflow's entry: the model in a folder that `write_video_model` made."""
    return VideoModel(Path(path))


class VideoModel:
    """Base model and adapter, loaded once; one video at a time."""

    def __init__(self, folder: Path):
        import torch

        from cosmos_ops.base_models import load_world_model
        from cosmos_ops.training.adapters import load_adapter

        stored = json.loads((folder / SETTINGS).read_text())
        self.settings = build(VideoSettings, stored, str(folder / SETTINGS))
        # Built-in base models are put together there from the package; nothing is written into MLflow's folder.
        self._cache = tempfile.TemporaryDirectory(prefix="cosmos-ops-")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = load_world_model(self.settings.base_model, Path(self._cache.name), device)
        if self.model.revision != self.settings.base_revision:
            told = f"the base model is at revision {self.model.revision}, the adapter was made for {self.settings.base_revision}"
            raise UserError(f"{told}; serve it with the base model that it was made for")
        load_adapter(self.model.denoiser, folder)
        self._lock = threading.Lock()

    def predict(self, model_input: "pd.DataFrame", params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """One row {`video`, `fps`, `frames`} for each row {`image`, `prompt`, `seed`}. What is wrong with a row is an MlflowException (HTTP 400)."""
        import pandas as pd

        rows = []
        for place, row in enumerate(model_input.to_dict("records")):
            seed = row.get("seed")
            try:
                rows.append(self._video(row["image"], row["prompt"], 0 if seed is None or pd.isna(seed) else int(seed)))
            except (UserError, WorkFailed) as error:
                raise MlflowException(f"row {place}: {error}", error_code=INVALID_PARAMETER_VALUE) from None
        return pd.DataFrame(rows, columns=["video", "fps", "frames"])

    def _video(self, image: bytes, prompt: str, seed: int) -> dict[str, Any]:
        from cosmos_ops.evaluation.sampling import VIDEO_CRF, VIDEO_GOP, VIDEO_PRESET
        from cosmos_ops.evaluation.single import make_frames
        from cosmos_ops.video.encode import encode_mp4

        with self._lock:
            frames = make_frames(self.model, self.settings.clip, self.settings.generation, self.settings.base_model.guardrail, image, prompt, seed)
        video = io.BytesIO()
        encode_mp4(frames, self.settings.clip.max_fps, video, crf=VIDEO_CRF, preset=VIDEO_PRESET, gop=VIDEO_GOP)
        return {"video": video.getvalue(), "fps": self.settings.clip.max_fps, "frames": len(frames)}
