"""Metadata mutated at random from a fixed seed: a drop is described, or refused in one line, and nothing else happens."""

import json
import random
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fixtures.lerobot_factory import write_lerobot
from tests.logs.reading import described, mutate

ODD = [
    None,
    True,
    -1,
    0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../..",
    [],
    {},
    [1, "a", None],
    {"a": 1},
    10**30,
    10**15,
    "\0",
    "{x}",
    [[]],
    3.5,
    "é" * 300,
]
ROUNDS = 30


def odd_column(rng: random.Random, rows: int) -> pa.Array | None:
    values = rng.choice([None, None, float("nan"), -1, "x", [1.0], True, 10**15, b"\xff", {"a": 1}, [[1.0, 2.0]], [None, 1.0]])
    return None if values is None and rng.random() < 0.5 else pa.array([values] * rows)


def usable(fatal: list[list[str]] | None) -> bool:
    """Whether an episode without a fatal problem is left."""
    return fatal is not None and [] in fatal


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_mutated_metadata(tmp_path, version):
    whole, rng, outcomes = write_lerobot(tmp_path / "whole", version, episodes=2, frames=24, height=32, width=32), random.Random(0), set()
    for _ in range(ROUNDS):
        root = shutil.copytree(whole, tmp_path / "mutated", dirs_exist_ok=True)
        info = json.loads((root / "meta/info.json").read_text())
        mutate(rng, info, ODD)
        (root / "meta/info.json").write_text(json.dumps(info))
        outcomes.add(usable(described(root)))
    assert outcomes == {True, False}


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_mutated_columns(tmp_path, version):
    whole, rng, outcomes = write_lerobot(tmp_path / "whole", version, episodes=2, frames=24, height=32, width=32), random.Random(0), set()
    for _ in range(ROUNDS):
        root = shutil.copytree(whole, tmp_path / "mutated", dirs_exist_ok=True)
        path = rng.choice(sorted(root.rglob("*.parquet")))
        table = pq.read_table(path)
        name = rng.choice(table.column_names)
        column = odd_column(rng, table.num_rows)
        table = table.drop_columns([name])
        pq.write_table(table if column is None else table.append_column(name, column), path)
        outcomes.add(usable(described(root)))
    assert True in outcomes
