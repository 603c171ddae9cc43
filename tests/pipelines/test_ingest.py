"""`ingest` on the real Dagster instance: once, again, changed, killed."""

import hashlib
import json
import os
import signal
import time

import dagster as dg
import numpy as np
import pytest

from tests.fixtures.lerobot_factory import write_lerobot, write_video

pytestmark = pytest.mark.slow


def shards(home) -> dict[str, str]:
    return {str(path.relative_to(home.lake)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(home.lake.rglob("*.tar"))}


def state(home) -> list:
    return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_ino) for path in (home.lake / "drops").rglob("*") if path.is_file())


def test_a_drop_goes_in_once(home, log):
    first = home.json("ingest", str(log))
    clock = {"episodes": 6, "offset_s": 0.0, "drift_s": 0.0, "gap_s": 0.1, "corrections": {"none": 6}}
    found = {"episodes": 6, "clips": 12, "shards": 1, "quarantined": [], "bad_stretches": [], "clocks": {"front": clock}}
    assert first == {"drop": "monday", "unchanged": False, **found}
    before = state(home)
    second = home.json("ingest", str(log))
    assert second == {**first, "unchanged": True}
    assert state(home) == before
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        assert instance.get_dynamic_partitions("drops") == ["monday"]
        runs = instance.get_runs()
        assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] and runs[0].job_name == "ingest"
        materialized = instance.get_materialized_partitions(dg.AssetKey("shards"))
        assert materialized == {"monday"}


def test_a_changed_drop_is_refused_and_a_new_name_suggested(home, log):
    home.run("ingest", str(log))
    table = log / "data/chunk-000/episode_000000.parquet"
    table.write_bytes(table.read_bytes() + b"\0")
    done = home.run("ingest", str(log), code=2)
    assert "monday-2" in done.stderr and "episode_000000.parquet" in done.stderr


def test_a_missing_video_is_quarantined_with_the_reason(home, log):
    (log / "videos/chunk-000/observation.images.front/episode_000003.mp4").unlink()
    done = home.json("ingest", str(log))
    assert done["episodes"] == 6 and done["clips"] == 10
    assert {entry["index"] for entry in done["quarantined"]} == {3}
    assert all("missing_video" in reason for entry in done["quarantined"] if entry["camera"] for reason in entry["reasons"])


def test_killed_at_any_moment_it_completes_with_the_same_bytes(home, log, tmp_path, tiny_profile):
    undisturbed = type(home)(tmp_path / "undisturbed", tiny_profile)
    undisturbed.run("ingest", str(log))
    for stage in ("episodes", "quality", "shards"):
        process = home.start("ingest", str(log))
        deadline = time.monotonic() + 120
        while not (home.lake / "drops/monday" / stage).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    home.run("ingest", str(log))
    assert shards(home) == shards(undisturbed)
    assert not [path for path in (home.lake / "drops/monday").rglob("*") if ".tmp-" in path.name or ".part-" in path.name]
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        assert not instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))


def test_a_drop_without_a_usable_camera_fails_and_tells_what_was_found(home, tmp_path):
    root = write_lerobot(tmp_path / "covered", episodes=5, frames=24)
    for path in sorted(root.rglob("*.mp4")):
        path.unlink()
        write_video(path, np.zeros((24, 96, 128, 3), np.uint8), 10)
    told = json.loads(home.run("ingest", str(root), "--json", code=1).stdout.splitlines()[-1])
    assert "every camera is in quarantine" in told["error"] and (told["drop"], told["episodes"]) == ("covered", 5)
    found = {(row["index"], row["camera"], *row["reasons"]) for row in told["quarantined"]}
    assert found == {(index, camera, reason) for index in range(5) for camera, reason in (("front", "black"), (None, "no_usable_camera"))}
