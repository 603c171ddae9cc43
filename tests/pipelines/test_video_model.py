"""The registered champion as a model: loaded by MLflow, and served by its own server over HTTP."""

import base64
import io
import sys
import urllib.error
import urllib.request
from pathlib import Path

import av
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from tests.fixtures.servers import answering, free_port, post_json

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(adapted, tmp_path_factory):
    """A home with a champion, and the name of its model."""
    import shutil

    folder = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(adapted.path, folder, symlinks=True)
    # Artifacts are found by absolute paths in the database.
    home = type(adapted)(folder, adapted.profile)
    champion = home.json("promote", "1", "--force", "--reason", "to be served")["champion"]
    return home, champion["name"]


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def frames(video: bytes) -> np.ndarray:
    with av.open(io.BytesIO(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_pyfunc_loads_the_champion_and_the_seed_decides(served, tmp_path):
    home, name = served
    mlflow.set_tracking_uri(f"sqlite:///{home.path}/mlflow/mlflow.db")
    try:
        model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    finally:
        mlflow.set_tracking_uri(None)
    rows = pd.DataFrame({"image": [picture()] * 3, "prompt": ["push the red block"] * 3, "seed": [1, 1, 2]})
    made = model.predict(rows)
    assert list(made.columns) == ["video", "fps", "frames"] and made["frames"].tolist() == [9, 9, 9]
    first, second, other = (frames(video) for video in made["video"])
    assert first.shape == (9, 32, 48, 3) and (first == second).all() and (first != other).any()
    # The command line makes the same video of the same adapter.
    (tmp_path / "first.png").write_bytes(picture())
    home.run("generate", "--image", str(tmp_path / "first.png"), "--prompt", "push the red block", "--seed", "1", "--output", str(tmp_path / "cli.mp4"))
    assert (frames((tmp_path / "cli.mp4").read_bytes()) == first).all()
    with pytest.raises(MlflowException, match="row 0: .*not a readable image"):
        model.predict(pd.DataFrame({"image": [b"no picture"], "prompt": ["x"], "seed": [0]}))
    with pytest.raises(MlflowException, match="row 0: the prompt is empty"):
        model.predict(pd.DataFrame({"image": [picture()], "prompt": [" "], "seed": [0]}))


def test_it_is_served_over_http(served, tmp_path):
    home, name = served
    port = free_port()
    environment = home.environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{home.path}/mlflow/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # MLflow starts `uvicorn` by its name
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        f"models:/{name}@champion",
        "--env-manager",
        "local",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with answering(command, f"http://127.0.0.1:{port}/ping", environment, tmp_path):
        address = f"http://127.0.0.1:{port}/invocations"
        row = {"image": base64.b64encode(picture()).decode(), "prompt": "push the red block", "seed": 1}
        (made,) = post_json(address, {"dataframe_records": [row]})["predictions"]
        assert (made["frames"], made["fps"]) == (9, 8.0) and frames(base64.b64decode(made["video"])).shape == (9, 32, 48, 3)
        with pytest.raises(urllib.error.HTTPError) as refused:
            post_json(address, {"dataframe_records": [row | {"image": base64.b64encode(b"no picture").decode()}]})
        assert refused.value.code == 400 and b"not a readable image" in refused.value.read()
