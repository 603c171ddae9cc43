"""The demo's story from the first drop to a carried-out retraining, killed on its way, on small drops and a small profile."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.fixtures.lerobot_factory import write_lerobot
from tests.pipelines.conftest import Home

ROOT = Path(__file__).parents[2]
KEYS = {
    "lake", "tracking_uri", "report", "dataset_version", "evaluation_set", "drops", "episodes", "quarantined", "clips", "unchanged",
    "scores", "paired", "paired_incumbent", "champion", "promoted", "reason", "retraining",
}  # fmt: skip
FIRST_TRAIN, SECOND_TRAIN = 5, 20
"""Of 8 and 26 episodes: the others are held out."""


class Story:
    """A home, two drops, and the demo's story on them."""

    def __init__(self, home, drops: list[Path]):
        self.home, self.drops = home, drops

    def start(self, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.pipelines.play_demo", *map(str, self.drops), *options]
        return subprocess.Popen(command, env=self.home.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def play(self, *options: str, code: int = 0) -> tuple[dict, str]:
        """The JSON object and what was told."""
        process = self.start(*options)
        out, told = process.communicate(timeout=540)
        assert process.returncode == code, told[-4000:]
        return json.loads(out.strip().splitlines()[-1]), told

    def kill_when(self, condition: Callable[[], object], *options: str) -> None:
        """Start it, kill it as soon as the condition holds."""
        process = self.start(*options)
        deadline = time.monotonic() + 300
        while not condition():
            assert process.poll() is None, f"it ended before it could be killed: {process.communicate()[1][-4000:]}"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.communicate()

    def trained_on(self, version: str) -> set[str]:
        return set(pq.read_table(self.home.lake / "datasets" / version / "samples.parquet", columns=["drop"])["drop"].to_pylist())

    def datasets(self) -> set[str]:
        return {path.parent.name for path in self.home.lake.glob("datasets/*/manifest.json")}


@pytest.fixture
def story(one_recipe_profile, built_models, tmp_path) -> Story:
    home = Home(tmp_path / "home", one_recipe_profile)
    shutil.copytree(built_models, home.lake / "models")
    drops = tmp_path / "drops"
    first = write_lerobot(drops / "day-one", episodes=8, frames=24)
    return Story(home, [first, write_lerobot(drops / "day-two", "v3.0", episodes=26, frames=24, seed=7)])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_drops_arrive_and_a_retraining_is_carried_out(story):
    home, drops = story.home, story.drops[0].parent
    before = sorted((path, path.stat().st_mtime_ns) for path in drops.rglob("*"))

    # Killed as the second drop arrives: the first is decided on, alone; the next call lets the second in and trains nothing.
    story.kill_when(lambda: (home.lake / "drops/day-two/drop.json").exists())
    assert len(story.datasets()) == 1
    one, told = story.play()
    assert set(one) == KEYS and not one["unchanged"] and len(story.datasets()) == 1
    assert one["drops"] == ["day-one", "day-two"] and one["episodes"] == 34 and one["clips"] == 16
    assert story.trained_on(one["dataset_version"]) == {"day-one"} and set(one["scores"]) == {"base", "lora-r8"}
    assert one["champion"] is None, "the gate asks for more than the four videos of this profile"
    expected = {"due": True, "new_episodes": FIRST_TRAIN + SECOND_TRAIN, "threshold": 20, "champion_dataset_version": None, "carried_out": False}
    assert one["retraining"].items() >= expected.items()
    reason = "25 new validated training episodes (there is no champion yet, so all of them are new), 20 make it due: due"
    assert f"retraining: {reason}" in told and one["retraining"]["reason"] == reason and "demo --retrain" in told

    # With a champion only the second drop is new. Again there is nothing to do, and it says so.
    home.run("promote", "1", "--force", "--reason", "to have an incumbent")
    again, told = story.play()
    assert again["unchanged"] and "nothing was left to do" in told
    assert again["retraining"].items() >= {"due": True, "new_episodes": SECOND_TRAIN, "champion_dataset_version": one["dataset_version"]}.items()
    assert f"since the champion's dataset version {one['dataset_version']}" in told
    assert {name: again[name] for name in ("dataset_version", "scores", "report")} == {name: one[name] for name in ("dataset_version", "scores", "report")}

    # Killed in the middle of retraining: what was decided stands until the retraining is carried out.
    story.kill_when(lambda: len(story.datasets()) == 2 and len(list(home.lake.glob("adapters/*/log.jsonl"))) > 1, "--retrain")
    halfway, _ = story.play()
    assert halfway == again
    two, told = story.play("--retrain")
    assert not two["unchanged"] and story.trained_on(two["dataset_version"]) == {"day-one", "day-two"}
    assert set(two["scores"]) == {"base", "incumbent", "lora-r8"} and set(two["paired_incumbent"]) == {"lora-r8"}
    assert two["retraining"]["carried_out"] and two["retraining"]["new_episodes"] == SECOND_TRAIN
    assert two["reason"] in told and "against the incumbent" in told

    # Afterwards either command reports that outcome and does nothing.
    for options in ((), ("--retrain",)):
        last, told = story.play(*options)
        assert last["unchanged"] and last["retraining"]["carried_out"] and not last["promoted"]
        assert {name: last[name] for name in ("dataset_version", "scores", "reason")} == {name: two[name] for name in ("dataset_version", "scores", "reason")}
    assert sorted((path, path.stat().st_mtime_ns) for path in drops.rglob("*")) == before, "ingesting in place wrote into the drops"


@pytest.mark.slow
def test_a_lake_in_which_the_story_cannot_be_told_is_refused(story, tmp_path):
    story.home.run("ingest", str(story.drops[1]))
    told, _ = story.play(code=2)
    assert "home of its own" in told["error"]
    story.drops[1] = write_lerobot(tmp_path / "newer" / "day-two", "v3.0", episodes=6, frames=24, seed=8)
    told, _ = story.play(code=2)
    assert "not the one that this version brings" in told["error"] and "COSMOS_HOME" in told["error"]
