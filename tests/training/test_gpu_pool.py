"""One training a GPU: what needs the device takes the pool's one slot, whatever run it is in."""

import shutil

import pytest
from dagster import DagsterInstance

from assets.latents import latents
from assets.recipes import build_recipe
from assets.resources.gpu import POOL, GpuResource
from tests.training.conftest import ROOT


def test_training_and_encoding_take_the_pool():
    adapter, generations, _ = build_recipe("lora-r8")
    assert {asset.op.pool for asset in (adapter, generations, latents)} == {POOL}


def test_the_projects_own_settings_give_the_pool_one_slot(tmp_path):
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default(POOL)
        assert storage.get_concurrency_info(POOL).slot_count == 1
        assert storage.claim_concurrency_slot(POOL, "run one", "lora_r8__adapter").is_claimed
        assert not storage.claim_concurrency_slot(POOL, "run two", "dora_r8__adapter").is_claimed
        storage.free_concurrency_slots_for_run("run one")
        assert storage.claim_concurrency_slot(POOL, "run two", "dora_r8__adapter").is_claimed


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_without_a_gpu_nothing_is_planned(name):
    gpu = GpuResource(device_name=name)
    assert (gpu.device(), gpu.memory_gb()) == ("cpu", None)
