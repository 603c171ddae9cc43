"""A small real lake (manifests, Parquet tables, adapter folders) and a real SQLite MLflow for each test.

MLflow's first start in a database takes seconds, so it is done once and the file copied.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from cosmos_ops.hashing import canonical_json, digest, file_sha256
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, write_json
from cosmos_ops.profiles import Profile, load_profile
from cosmos_ops.registry.adapter_model import adapter_model
from cosmos_ops.registry.connection import connect, local_folder
from cosmos_ops.registry.provenance import Provenance
from cosmos_ops.registry.tracking import Tracking

EVALUATION_SET = "e0e0e0e0e0e0e0e0"
METRICS = ("psnr", "ssim", "latent_frechet", "motion_ratio")


@dataclass(frozen=True)
class Split:
    """Episodes of one drop by split, and its clips: one camera, two windows each."""

    drop: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def rows(self) -> list[dict]:
        rows = []
        for split in ("train", "validation", "test"):
            for episode in getattr(self, split):
                rows += [{"clip_id": f"{episode}-top-{window}", "drop": self.drop, "episode_id": episode, "split": split} for window in range(2)]
        return rows


FIRST = Split("monday", train=("ep-a", "ep-b"), validation=("ep-c",), test=("ep-d", "ep-e"))
SECOND = Split("tuesday", train=("ep-f",), validation=(), test=("ep-g",))


@dataclass(frozen=True)
class House:
    """A lake with its MLflow, and the ways tests fill it."""

    lake: Lake
    tracking: Tracking
    profile: Profile

    def drop(self, split: Split, licence: str | None = "CC-BY-4.0", robot: str = "SO-101 Follower", allow_mixed: bool = False) -> None:
        """Register a drop and write its episodes, clips and shards."""
        lake, fingerprint = self.lake, self.profile.data_fingerprint
        write_json(lake.drop(split.drop) / "drop.json", {"name": split.drop, "robot": robot, "licence": licence, "allow_mixed": allow_mixed})
        episodes = [{"drop": split.drop, "episode_id": episode} for episode in (*split.train, *split.validation, *split.test)]
        table(lake.drop_stage(split.drop, "episodes"), "episodes.parquet", episodes)
        table(lake.drop_stage(split.drop, "clips", fingerprint), "clips.parquet", split.rows())
        rows = [row | {"shard": "shard-00000.tar", "captioner": "task"} for row in split.rows()]
        table(lake.drop_stage(split.drop, "shards", fingerprint), "index.parquet", rows)

    def dataset(self, *splits: Split) -> str:
        """A dataset version of these drops."""
        rows = [
            row | {"shard": "shard-00000.tar", "captioner": "task", "shard_path": f"drops/{row['drop']}/shards/x"} for split in splits for row in split.rows()
        ]
        version = digest(rows)
        table(self.lake.dataset(version), "samples.parquet", rows, version)
        return version

    def adapter(self, recipe: str, dataset: str, seed: int = 0) -> Manifest:
        """A trained adapter's folder: real safetensors, PEFT config, recipe, log, picture."""
        key = digest([recipe, dataset])
        settings = {
            "name": recipe,
            "method": recipe[:4],
            "rank": 8,
            "learning_rate": 0.001,
            "conditioning_probabilities": {"1": 0.5, "2": 0.5},
            "targets": None,
        }

        def write(folder: Path) -> Output:
            weights = np.random.default_rng([seed, *recipe.encode()]).normal(size=(8, 4)).astype(np.float32)
            save_file({"block.to_q.lora_A.weight": weights}, folder / "adapter_model.safetensors")
            write_json(folder / "adapter_config.json", {"peft_type": "LORA", "r": 8, "lora_alpha": 8})
            write_json(folder / "recipe.json", settings)
            lines = [canonical_json({"step": step, "loss": 1 / (step + 1), "seconds": 0.1}) for step in range(30)]
            lines += ['{"step": 0, "validation_loss": 0.9, "by_sigma": {"0.1": 2}}', '{"step": 30, "validation_loss": 0.4}', '{"step": 7, "warning": "slow"}']
            (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
            (folder / "loss.png").write_bytes(b"\x89PNG picture")
            (folder / ".checkpoints").mkdir()
            (folder / ".checkpoints" / "optimizer.safetensors").write_bytes(b"large")
            meta = {
                "dataset_version": dataset,
                "recipe": settings,
                "recipe_hash": digest(settings),
                "base": {"source": "builtin:nano", "revision": "b" * 40, "licence": "Apache-2.0"},
                "train_loss": 0.05,
                "validation_loss": {"start": 0.9, "best": 0.4, "final": None},
                "device": "cpu (2 threads)",
                "libraries": {"torch": "2.15.0"},
            }
            return Output(file_sha256(folder / "adapter_model.safetensors")[:16], 2, meta)

        return build_folder(self.lake.adapter(key), "adapter", key, write)

    def record(self, adapter: Manifest, dagster_run_id: str = "dagster-run-1") -> tuple[str, str]:
        return self.tracking.record_adapter(self.lake, self.profile, adapter, made_by(dagster_run_id))

    def leaderboard(self, scoreboard: dict, evaluation_set: str = EVALUATION_SET) -> Manifest:
        """A leaderboard folder with this scoreboard and a report."""
        key = digest([scoreboard, evaluation_set])

        def write(folder: Path) -> Output:
            write_json(folder / "scoreboard.json", scoreboard)
            (folder / "report.html").write_text("<h1>report</h1>")
            return Output(key, len(scoreboard["scores"]), {"evaluation_set": evaluation_set})

        return build_folder(self.lake.leaderboard(key), "leaderboard", key, write)


def model_folder(house: House, run_id: str) -> Path:
    """Where MLflow keeps the files of an adapter's model on this machine."""
    return local_folder(adapter_model(house.tracking.client, run_id).artifact_location)


def made_by(dagster_run_id: str = "dagster-run-1") -> Provenance:
    return Provenance(dagster_run_id, "0.1.0", "c" * 40)


def table(folder: Path, name: str, rows: list[dict], key: str | None = None) -> Manifest:
    """A stage's folder with one Parquet table."""

    def write(work: Path) -> Output:
        columns = list(rows[0])
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([(column, pa.string()) for column in columns])), work / name)
        return Output(digest(rows), len(rows))

    return build_folder(folder, folder.parent.name, key or digest(rows), write)


def interval(diff: float, half: float = 0.05, centre: str = "diff") -> dict:
    return {centre: diff, "low": diff - half, "high": diff + half, "n": 12}


def scoreboard(diffs: dict[str, float], against_incumbent: dict[str, float] | None = None) -> dict:
    """Contender -> improvement over base (and over the incumbent), the same on every metric but motion, which stays."""

    def paired(values: dict[str, float]) -> dict:
        exact = {name: 0.0 if value == 0 else 0.05 for name, value in values.items()}
        return {name: {metric: interval(value if metric != "motion_ratio" else 0.0, exact[name]) for metric in METRICS} for name, value in values.items()}

    contenders = {"base": 0.0, **diffs} | ({"incumbent": 0.0} if against_incumbent is not None else {})
    scores = {
        name: {metric: interval((20 if metric != "motion_ratio" else 1) + value, centre="mean") for metric in METRICS} for name, value in contenders.items()
    }
    board = {"scores": scores, "paired": paired(diffs)}
    return board if against_incumbent is None else board | {"paired_incumbent": paired(against_incumbent)}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def house(tmp_path, empty_database) -> House:
    """A lake with two registered drops and an empty MLflow."""
    (tmp_path / "ml flow").mkdir()
    shutil.copy(empty_database, tmp_path / "ml flow" / "mlflow.db")
    tracking = Tracking(f"sqlite:///{tmp_path}/ml flow/mlflow.db", tmp_path / "ml flow" / "artifacts")
    made = House(Lake(tmp_path / "lake"), tracking, load_profile("nano"))
    made.drop(FIRST)
    made.drop(SECOND, licence=None)
    return made


@pytest.fixture
def dataset(house) -> str:
    return house.dataset(FIRST)
