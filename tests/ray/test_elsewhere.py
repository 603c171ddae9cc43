"""Model work by workers elsewhere: what comes back is what this machine would have made."""

import shutil

from cosmos_ops.base_models.latents import encode_latents
from cosmos_ops.evaluation.generate import generate
from cosmos_ops.lake import Lake
from tests.evaluation.conftest import _one_thread, world  # noqa: F401  fixtures
from tests.evaluation.toy_lake import DATASET, EVALUATION
from tests.ray.pickled import PickledWorkers


def test_latents_and_text(world, tmp_path):  # noqa: F811
    shutil.copytree(world.lake.root, tmp_path / "lake")
    there = Lake(tmp_path / "lake")
    shutil.rmtree(there.root / "latents")
    told = []
    made = encode_latents(there, DATASET, world.profile, "cpu", lambda done, total, note: told.append((done, total)), PickledWorkers())
    assert made.data_version == world.latents.data_version
    assert made.meta["encoded"] == 8 and (8, 8) in told
    stored = {path.name: path.read_bytes() for path in made.path.parent.rglob("*.safetensors")}
    assert stored == {path.name: path.read_bytes() for path in world.latents.path.parent.rglob("*.safetensors")}


def test_videos_of_an_adapter(world, tmp_path):  # noqa: F811
    here = world.generate(world.adapter)
    shutil.copytree(world.lake.root, tmp_path / "lake", ignore=shutil.ignore_patterns("generations"))
    there = Lake(tmp_path / "lake")
    made = generate(there, world.profile, EVALUATION, world.latents, "adapter", world.adapter, "cpu", workers=PickledWorkers())
    assert made.data_version == here.data_version
    assert made.meta["generated_now"] == here.rows and made.meta["stage_seconds"]["sample_s"] > 0 and made.meta["devices"] == 1
    samples = [name for name in here.files if name.endswith((".mp4", ".safetensors"))]
    assert samples and all(made.files[name] == here.files[name] for name in samples)
