"""One untrained nano a session; tests that change a model load their own."""

from dataclasses import replace

import pytest
import torch

from cosmos_ops.base_models import load_world_model
from cosmos_ops.base_models.nano.build import build_nano, synthetic_clips
from cosmos_ops.profiles import load_profile


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread):
    """For all of these tests."""


@pytest.fixture(scope="session")
def nano_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nano") / "model"
    build_nano(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def spec(nano_folder):
    return replace(load_profile("nano").base_model, source=str(nano_folder))


@pytest.fixture(scope="session")
def model(spec, cache):
    return load_world_model(spec, cache, "cpu")


@pytest.fixture(scope="session")
def clips():
    """uint8 [2, 9, 48, 64, 3]: three latent frames."""
    video = synthetic_clips(2, seed=7, frames=9, height=48, width=64)
    return ((video + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)


@pytest.fixture(scope="session")
def latents(model, clips):
    return model.encode_video(clips)
