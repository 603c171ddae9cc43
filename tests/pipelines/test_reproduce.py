"""Making an adapter again from its run: equal weights on a CPU, and what stands in the way named."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow


@pytest.fixture
def run_id(adapted) -> str:
    tagged = json.loads(adapted.run("lineage", "1", "--json").stdout.strip().splitlines()[-1])
    return tagged["run_id"]


def test_a_run_gives_equal_weights_again_even_without_its_latents_and_its_adapter(adapted, copy_of, run_id):
    home = copy_of(adapted)
    shutil.rmtree(home.lake / "latents")
    for path in (home.lake / "adapters").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = (home.lake / "heads/tiny.json").read_bytes()
    told = home.json("reproduce", run_id)
    assert told["equal"] and told["made"] == told["expected"] and told["latents_equal"] and told["shards"] >= 1 and told["scores"] is None
    # Tensors, not bytes: a file's header has its metadata in any order.
    made, first = (load_file(folder / told["adapter_key"] / "adapter_model.safetensors") for folder in (home.lake / "reproductions", adapted.lake / "adapters"))
    assert made.keys() == first.keys() and all(torch.equal(made[name], first[name]) for name in made)
    assert (home.lake / "heads/tiny.json").read_bytes() == before and not list((home.lake / "adapters").glob("*/manifest.json"))
    again = home.json("reproduce", "1")
    assert again["unchanged"] and again["equal"]


def test_a_moved_and_a_damaged_shard_are_named(adapted, copy_of, run_id):
    home = copy_of(adapted)
    shard = next(home.lake.glob("drops/*/shards/*/*.tar"))
    name = str(shard.relative_to(home.lake))
    shard.rename(home.lake / "elsewhere.tar")
    assert f"{name} is missing (it lies at elsewhere.tar now: put it back)" in home.run("reproduce", run_id, code=1).stderr
    content = bytearray((home.lake / "elsewhere.tar").read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    assert f"{name} is damaged" in home.run("reproduce", run_id, code=1).stderr
    samples = next(home.lake.glob("datasets/*/samples.parquet"))
    samples.write_bytes(samples.read_bytes()[:-1])
    assert "samples.parquet is damaged" in home.run("reproduce", run_id, code=1).stderr
