"""Captions by a template with telemetry and a vision model, through the real command line and the real Dagster; the key stays secret."""

import json

import pyarrow.parquet as pq
import pytest
import yaml

from tests.captions.vision_server import completion, send, serving, well
from tests.fixtures.lerobot_factory import write_lerobot
from tests.pipelines.conftest import ROOT, Home

pytestmark = pytest.mark.slow
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
            row["captioner"] == "combined" and row["captioner_version"] == "1, telemetry 1, vlm 1 toy-vision" and 10 < row["tokens"] <= row["max_tokens"] == 90
        )
    (index,) = home.lake.glob("drops/monday/shards/*/index.parquet")
    assert pq.read_table(index)["caption"].to_pylist() == [row["caption"] for row in rows]
    assert KEY not in done.stdout + done.stderr and not holders(tmp_path, KEY)


def test_a_refused_key_and_a_failed_check_are_one_line_each_without_the_key(tmp_path, monkeypatch):
    """The second run goes on where the first stopped, and its captions are too long for the profile."""

    def behave(server, number, asked, handler):
        known = asked.authorization == f"Bearer {KEY}"
        send(handler, *((200, completion("A red block slides.")) if known else (401, {"error": {"message": f"no such key: {asked.authorization}"}})))

    wrong = KEY[::-1]
    log = write_lerobot(tmp_path / "monday", episodes=1, frames=24)
    with serving(behave) as server:
        home = home_with(tmp_path, server, captioner="vlm", max_tokens=2)
        monkeypatch.setenv("TOY_VISION_KEY", wrong)
        refused = home.run("ingest", str(log), code=1)
        monkeypatch.setenv("TOY_VISION_KEY", KEY)
        long = home.run("ingest", str(log), code=1)
    assert "HTTP 401 (no such key: Bearer ***): the key is refused" in refused.stderr and wrong not in refused.stdout + refused.stderr
    assert "more tokens than captions.max_tokens" in long.stderr and "raise captions.max_tokens" in long.stderr, long.stderr[-2000:]
    assert not list(home.lake.glob("drops/monday/shards/*/index.parquet"))
    assert not holders(tmp_path, wrong) and not holders(tmp_path, KEY)
    assert list((home.path / "dagster").rglob("*.db")), "Dagster kept its record where the search looked"
