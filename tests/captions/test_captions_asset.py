"""Captions by a template with telemetry and a vision model, through the real command line and the real Dagster; the key stays secret."""

import json

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml

from assets.captions import captions
from assets.resources import LakeResource, SecretResource
from cosmos_ops.lake import Lake
from cosmos_ops.logs.drops import register_drop
from cosmos_ops.logs.index import index_drop
from cosmos_ops.profiles import load_profile
from cosmos_ops.quality.assess import assess_drop
from cosmos_ops.shards.plan import plan_clips
from tests.captions.vision_server import completion, send, serving, well
from tests.fixtures.lerobot_factory import write_lerobot
from tests.pipelines.conftest import ROOT, Home

KEY = "sk-planted-fedcba9876543210"


def home_with(tmp_path, server, **captions) -> Home:
    settings = yaml.safe_load((ROOT / "cosmos_ops/profiles/nano.yaml").read_text())
    settings["clip"] |= {"frames": 9, "height": 32, "width": 48, "max_windows_per_episode": 1}
    vlm = {"base_url": server.base_url, "model": "toy-vision", "key_variable": "TOY_VISION_KEY", "backoff_s": 0.001, "image_px": 64, "retries": 2}
    settings["captions"] = {"captioner": "combined", "template": "{task}. {telemetry} {vlm}", "max_tokens": 90, "vlm": vlm, **captions}
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(settings))
    return Home(tmp_path / "home", path)


def holders(folder, secret: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.slow
def test_combined_captions_reach_the_shards_and_the_key_reaches_the_endpoint_alone(tmp_path, monkeypatch):
    def behave(server, number, asked, handler):
        if number == 0:  # an error that repeats what was sent
            send(handler, 500, {"error": {"message": f"upstream failed for {asked.authorization}"}})
        else:
            well(server, number, asked, handler)

    monkeypatch.setenv("TOY_VISION_KEY", KEY)
    log = write_lerobot(tmp_path / "monday", episodes=2, frames=24, tasks=("push the block", "lift the block"))
    with serving(behave) as server:
        home = home_with(tmp_path, server)
        done = home.run("ingest", str(log), "--json")
    assert len(server.asked) == 3 and {asked.authorization for asked in server.asked} == {f"Bearer {KEY}"}
    assert json.loads(done.stdout.strip().splitlines()[-1])["clips"] == 2
    (table,) = home.lake.glob("drops/monday/captions/*/captions.parquet")
    rows = pq.read_table(table).to_pylist()
    for row, task in zip(rows, ("push", "lift"), strict=True):
        assert row["caption"].startswith(f"{task} the block. The arm moves 0.") and " along " in row["caption"], row
        assert row["caption"].split(". ")[-1].startswith("A red block slides over the table, seen ") or "A red block slides" in row["caption"]
        assert (
            row["captioner"] == "combined" and row["captioner_version"] == "1, telemetry 2, vlm 1 toy-vision" and 10 < row["tokens"] <= row["max_tokens"] == 90
        )
    (index,) = home.lake.glob("drops/monday/shards/*/index.parquet")
    assert pq.read_table(index)["caption"].to_pylist() == [row["caption"] for row in rows]
    assert KEY not in done.stdout + done.stderr and not holders(tmp_path, KEY)


def test_a_refused_key_and_a_failed_check_are_one_line_each_without_the_key(tmp_path, monkeypatch):
    """The asset alone, on a real instance: the second run goes on where the first stopped, and its captions are too long for the profile."""

    def behave(server, number, asked, handler):
        known = asked.authorization == f"Bearer {KEY}"
        send(handler, *((200, completion("A red block slides.")) if known else (401, {"error": {"message": f"no such key: {asked.authorization}"}})))

    wrong, log = KEY[::-1], write_lerobot(tmp_path / "monday", episodes=2, frames=24)
    (tmp_path / "dagster").mkdir()
    with serving(behave) as server, dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        home = home_with(tmp_path, server, captioner="vlm", max_tokens=2)
        profile, lake = load_profile(str(home.profile)), Lake(home.lake)
        register_drop(lake, log)
        index_drop(lake, "monday")
        assess_drop(lake, "monday", profile)
        plan_clips(lake, "monday", profile)
        instance.add_dynamic_partitions("drops", ["monday"])
        resources = {
            "lake": LakeResource(root=str(home.lake), profile_name=str(home.profile)),
            "caption_key": SecretResource(value=dg.EnvVar("TOY_VISION_KEY")),
        }
        results = []
        for key in (wrong, KEY):
            monkeypatch.setenv("TOY_VISION_KEY", key)
            results.append(dg.materialize([captions], partition_key="monday", resources=resources, instance=instance, raise_on_error=False))
    refused, long = results
    (failure,) = refused.get_step_failure_events()
    said = failure.step_failure_data.user_failure_data.description
    assert "HTTP 401 (no such key: Bearer ***): the key is refused" in said and "(0 of 2 captions of drop monday" in said
    check = next(check for check in long.get_asset_check_evaluations() if check.check_name == "expectations")
    assert not check.passed and "more tokens than captions.max_tokens" in check.description and "raise captions.max_tokens" in check.description
    assert not long.success and not holders(tmp_path, wrong) and not holders(tmp_path, KEY)
    assert list((tmp_path / "dagster").rglob("*.db")), "Dagster kept its record where the search looked"
