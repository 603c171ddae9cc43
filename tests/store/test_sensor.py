"""The daemon of one machine and the drops of another."""

import shutil

import dagster as dg

from cosmos_ops.logs.drops import register_drop
from pipelines import sensors
from tests.fixtures.lerobot_factory import write_lerobot


def test_drops_whose_log_is_on_another_machine_are_not_asked_for(copy, tmp_path, monkeypatch):
    one, other = copy("one"), copy("other")
    names = ("in-place", "in-lake", "shared")
    logs = [write_lerobot(tmp_path / name, episodes=2 + number, frames=24, height=48, width=64) for number, name in enumerate(names)]
    for log in logs:
        register_drop(one, log, copy=log.name == "in-lake")
    shutil.rmtree(logs[0])
    shutil.rmtree(logs[1])
    monkeypatch.setattr(sensors, "environment", lambda: type("Environment", (), {"lake": other}))
    with dg.DagsterInstance.ephemeral() as instance:
        asked = sensors.new_drops(dg.build_sensor_context(instance=instance))
    assert sorted(run.partition_key for run in asked.run_requests) == ["in-lake", "shared"]
