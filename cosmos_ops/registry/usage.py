"""Lineage forwards: everything that was ever made from an episode or a drop, down to the adapters and the aliases they hold."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.store.entities import PagedList

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake, Manifest, brought_file, read_manifest
from cosmos_ops.registry import names
from cosmos_ops.registry.connection import talking_to
from cosmos_ops.registry.history import champion_times
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.versions import aliases_of
from cosmos_ops.shards.exclusions import read_forgotten
from cosmos_ops.store.notes import subfolders

SEEN_IN_TRAINING = ("train", "validation")
_PAGE = 1000


def lineage_of_episode(lake: Lake, tracking: Tracking, episode_id: str) -> dict[str, Any]:
    """Everything made from an episode: clip ids, shards, latents (paths in the lake), dataset versions, evaluation sets, adapters that saw it.

    Only adapters whose dataset version holds the episode in its train or validation split count: a test episode leads to none.
    `forgotten` is the reason where it is to be forgotten. Raises `UserError` for an id no drop of the lake holds.
    """
    where = ("episode_id", episode_id)
    drops = [drop for drop in lake.drop_names() if _rows(read_manifest(lake.drop_stage(drop, "episodes")), "episodes.parquet", where, ["episode_id"])]
    if not drops:
        raise UserError(f"no drop in {lake.root} holds episode {episode_id!r}; `cosmos-ops inspect PATH` lists the ids of a log")
    splits = {version: sorted({row["split"] for row in rows})[0] for version, rows in _dataset_rows(lake, where).items()}
    seen = [version for version, split in splits.items() if split in SEEN_IN_TRAINING]
    return {
        "episode": episode_id,
        "drop": drops[0],
        "drops": drops,
        **_made_of(lake, drops, where),
        "dataset_versions": sorted(splits),
        "splits": splits,
        "evaluation_sets": _evaluation_sets(lake, where),
        "adapters": adapters_on(lake, tracking, seen),
        "forgotten": read_forgotten(lake).get(episode_id),
    }


def lineage_of_drop(lake: Lake, tracking: Tracking, drop: str) -> dict[str, Any]:
    """The same for a whole drop, with its `episodes` and how many of them each dataset version holds by split.

    Raises `UserError` for a drop that is not registered.
    """
    if drop not in lake.drop_names():
        raise UserError(f"drop {drop!r} is not in the lake; there are {', '.join(lake.drop_names()) or 'none'}")
    where, facts = ("drop", drop), names.drop_facts(lake, drop)
    index = read_manifest(lake.drop_stage(drop, "episodes"))
    episodes = sorted(set(pq.read_table(index.file("episodes.parquet"), columns=["episode_id"])["episode_id"].to_pylist())) if index else []
    held = {version: _episodes_by_split(rows) for version, rows in _dataset_rows(lake, where).items()}
    seen = [version for version, splits in held.items() if set(splits) & set(SEEN_IN_TRAINING)]
    forgotten = read_forgotten(lake)
    return {
        "drop": drop,
        "uri": facts.get("uri"),
        "robot": facts.get("robot"),
        "licence": facts.get("licence") or "unknown",
        "episodes": episodes,
        **_made_of(lake, [drop], None),
        "dataset_versions": sorted(held),
        "episodes_by_split": held,
        "evaluation_sets": _evaluation_sets(lake, where),
        "adapters": adapters_on(lake, tracking, seen),
        "forgotten": {episode: forgotten[episode] for episode in episodes if episode in forgotten},
    }


def adapters_on(lake: Lake, tracking: Tracking, dataset_versions: Iterable[str]) -> list[dict[str, Any]]:
    """Adapters trained on these dataset versions: registered ones, MLflow runs never registered, and folders of the lake never recorded.

    `name` and `version` are None for one that is not registered, `run_id` for one that MLflow does not know. `champion` lists when it
    was champion: [{`from`, `until`}], the present with `until` None.
    """
    wanted = sorted(dataset_versions)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    with talking_to(tracking.tracking_uri):
        client = tracking.client
        experiments = [experiment.experiment_id for experiment in _all(client.search_experiments)]
        for dataset in wanted:
            for version in _all(client.search_model_versions, f"tags.`{names.DATASET_VERSION}` = '{dataset}'"):
                found[_identity(version.tags)] = _entry(version.tags, version.run_id, version.name, int(version.version))
            text = f"tags.`{names.KIND}` = 'adapter' and tags.`{names.DATASET_VERSION}` = '{dataset}'"
            for run in _all(client.search_runs, experiments, text):
                found.setdefault(_identity(run.data.tags), _entry(run.data.tags, run.info.run_id))
        held = {name: (aliases_of(client, name), champion_times(client, name)) for name in {entry["name"] for entry in found.values()} - {None}}
    for key in subfolders(lake.adapter("_").parent):
        made = read_manifest(lake.adapter(key))
        if made is not None and made.meta.get("dataset_version") in wanted:
            tags = {names.ADAPTER_KEY: made.key, names.DATASET_VERSION: made.meta["dataset_version"], names.RECIPE: made.meta["recipe"]["name"]}
            found.setdefault((made.key, made.data_version), _entry(tags, None))
    for entry in found.values():
        aliases, times = held.get(entry["name"], ({}, {}))
        entry["aliases"] = sorted(alias for alias, number in aliases.items() if number == entry["version"])
        entry["champion"] = times.get(entry["version"], [])
    return sorted(found.values(), key=lambda entry: (entry["name"] is None, entry["name"] or "", entry["version"] or 0, entry["adapter_key"]))


def _all(search: Callable[..., PagedList], *arguments: Any) -> list[Any]:
    """Everything a search of MLflow finds: it gives a page at a time, and says nothing where more follow."""
    found: list[Any] = []
    token = None
    while True:
        page = search(*arguments, max_results=_PAGE, page_token=token)
        found += page
        if not (token := page.token):
            return found


def _identity(tags: dict[str, str]) -> tuple[str, str]:
    return tags[names.ADAPTER_KEY], tags[names.ADAPTER_VERSION]


def _entry(tags: dict[str, str], run_id: str | None, name: str | None = None, version: int | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "run_id": run_id,
        "recipe": tags.get(names.RECIPE),
        "adapter_key": tags[names.ADAPTER_KEY],
        "dataset_version": tags[names.DATASET_VERSION],
    }


def _made_of(lake: Lake, drops: list[str], where: tuple[str, str] | None) -> dict[str, list[str]]:
    """Clip ids, shards and latent files that drops gave, those of one episode alone where `where` names it."""
    clips, shards = set(), set()
    for drop in drops:
        for folder in _profile_folders(lake, drop, "clips"):
            clips |= {row["clip_id"] for row in _rows(read_manifest(folder), "clips.parquet", where, ["clip_id"])}
        for folder in _profile_folders(lake, drop, "shards"):
            rows = _rows(read_manifest(folder), "index.parquet", where, ["clip_id", "shard"])
            clips |= {row["clip_id"] for row in rows}
            shards |= {str((folder / row["shard"]).relative_to(lake.root)) for row in rows}
    latents = set()
    for table in _latent_tables(lake):
        rows = pq.read_table(table, columns=["clip_id", "file"]).to_pylist()
        latents |= {str((table.parents[1] / row["file"]).relative_to(lake.root)) for row in rows if row["clip_id"] in clips}
    return {"clips": sorted(clips), "shards": sorted(shards), "latents": sorted(latents)}


def _rows(manifest: Manifest | None, table: str, where: tuple[str, str] | None, columns: list[str]) -> list[dict[str, Any]]:
    if manifest is None:
        return []
    filters = [(where[0], "=", where[1])] if where else None
    found: pa.Table = pq.read_table(manifest.file(table), columns=columns, filters=filters)
    return found.to_pylist()


def _latent_tables(lake: Lake) -> list[Path]:
    """Tables of the latents of every dataset version. They are asked for by name: their folders lie among the tensor files, which are many."""
    found = []
    for name in subfolders(lake.root / "latents"):
        store = lake.latents(name)
        here = {path.name for path in store.iterdir() if path.is_dir()} if store.is_dir() else set()
        found += [brought_file(store / version / "latents.parquet") for version in sorted(here | set(subfolders(lake.dataset("_").parent)))]
    return [table for table in found if table.is_file()]


def _profile_folders(lake: Lake, drop: str, stage: str) -> list[Path]:
    folder = lake.drop_stage(drop, stage)
    return [folder / name for name in subfolders(folder)]


def _dataset_rows(lake: Lake, where: tuple[str, str]) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for version in subfolders(lake.dataset("_").parent):
        rows = _rows(read_manifest(lake.dataset(version)), "samples.parquet", where, ["episode_id", "split"])
        if rows:
            found[version] = rows
    return found


def _episodes_by_split(rows: list[dict[str, Any]]) -> dict[str, int]:
    pairs = {(row["split"], row["episode_id"]) for row in rows}
    return {split: sum(name == split for name, _ in pairs) for split in sorted({name for name, _ in pairs})}


def _evaluation_sets(lake: Lake, where: tuple[str, str]) -> list[str]:
    versions = subfolders(lake.evaluation_set("_").parent)
    return [version for version in versions if _rows(read_manifest(lake.evaluation_set(version)), "samples.parquet", where, ["episode_id"])]
