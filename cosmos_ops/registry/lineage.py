"""Lineage both ways: from an adapter back to its data, from an episode forward to the adapters that saw it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake, Manifest, read_manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.registry import names
from cosmos_ops.registry.connection import talking_to
from cosmos_ops.registry.dataset_facts import read_dataset_facts
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.versions import aliases_of, resolve

SEEN_IN_TRAINING = ("train", "validation")


def lineage_of(lake: Lake, tracking: Tracking, profile: Profile, ref: str) -> dict[str, Any]:
    """Everything behind an adapter: `ref` is an alias, a version, an MLflow run id, an adapter key or an adapter's folder.

    `alias`, `name` and `version` are None for an adapter that was never registered, `evaluation_set` and `scores` for one that was
    never decided on. Raises `UserError` where `ref` names nothing or the lake lacks the adapter's dataset.
    """
    with talking_to(tracking.tracking_uri):
        found = resolve(lake, tracking, profile, ref)
    tags = found.tags
    data = read_dataset_facts(lake, tags[names.DATASET_VERSION])
    return {
        "alias": ref if ref in found.aliases else next(iter(found.aliases), None),
        "name": found.name,
        "version": found.version,
        "run_id": found.run_id,
        "dagster_run_id": tags[names.DAGSTER_RUN],
        "base_model": tags[names.BASE_MODEL],
        "base_revision": tags[names.BASE_REVISION],
        "base_licence": tags[names.BASE_LICENCE],
        "recipe": tags[names.RECIPE],
        "recipe_hash": tags[names.RECIPE_HASH],
        "adapter_key": tags[names.ADAPTER_KEY],
        "code_version": tags[names.CODE_VERSION],
        "git_commit": tags[names.GIT_COMMIT],
        "dataset_version": data.version,
        "evaluation_set": tags.get(names.EVALUATION_SET),
        "drops": list(data.drops),
        "data_licences": data.data_licences,
        "episodes": {split: list(ids) for split, ids in data.episodes.items()},
        "captioner": data.captioner,
        "scores": json.loads(tags.get(names.SCORES, "null")),
        "gate": {"verdict": tags.get(names.GATE), "reason": tags.get(names.GATE_REASON)},
    }


def lineage_of_episode(lake: Lake, tracking: Tracking, episode_id: str) -> dict[str, Any]:
    """Everything made from an episode: clip ids, shards (paths in the lake), dataset versions, adapters that saw it.

    Only adapters whose dataset version holds the episode in its train or validation split count: a test episode leads to none.
    Raises `UserError` for an id no drop of the lake holds.
    """
    drops = [drop for drop in lake.drop_names() if _rows(read_manifest(lake.drop_stage(drop, "episodes")), "episodes.parquet", episode_id, ["episode_id"])]
    if not drops:
        raise UserError(f"no drop in {lake.root} holds episode {episode_id!r}; `cosmos-ops inspect PATH` lists the ids of a log")
    clips, shards = set(), set()
    for drop in drops:
        for folder in _profile_folders(lake, drop, "clips"):
            clips |= {row["clip_id"] for row in _rows(read_manifest(folder), "clips.parquet", episode_id, ["clip_id"])}
        for folder in _profile_folders(lake, drop, "shards"):
            rows = _rows(read_manifest(folder), "index.parquet", episode_id, ["clip_id", "shard"])
            clips |= {row["clip_id"] for row in rows}
            shards |= {str((folder / row["shard"]).relative_to(lake.root)) for row in rows}
    splits = _dataset_splits(lake, episode_id)
    return {
        "episode": episode_id,
        "drop": drops[0],
        "drops": drops,
        "clips": sorted(clips),
        "shards": sorted(shards),
        "dataset_versions": sorted(splits),
        "splits": splits,
        "adapters": _adapters(tracking, sorted(version for version, split in splits.items() if split in SEEN_IN_TRAINING)),
    }


def lineage_tree(found: dict[str, Any]) -> str:
    """Either lineage as an indented text for people; long lists are counted."""
    if "adapters" in found:
        lines = [f"episode {found['episode']}", f"├─ drop {found['drop']}", f"├─ clips {_counted(found['clips'])}", f"├─ shards {_counted(found['shards'])}"]
        lines += [f"├─ dataset {version} ({found['splits'][version]})" for version in found["dataset_versions"]]
        adapters = [f"adapter {made['name']} version {made['version']} {_in_brackets(made['aliases'])}run {made['run_id']}" for made in found["adapters"]]
        *upper, last = adapters or ["no adapter saw it in training"]
        return "\n".join([*lines, *[f"├─ {text}" for text in upper], f"└─ {last}"])
    episodes = ", ".join(f"{len(ids)} {split}" for split, ids in found["episodes"].items())
    aliases = [found["alias"]] if found["alias"] else []
    title = f"{found['name']} version {found['version']} {_in_brackets(aliases)}" if found["name"] else "unregistered adapter "
    return "\n".join(
        [
            f"{title}run {found['run_id']}",
            f"├─ recipe {found['recipe']} ({found['recipe_hash']}), adapter {found['adapter_key']}",
            f"├─ base {found['base_model']} @ {found['base_revision']} ({found['base_licence']})",
            f"├─ dataset {found['dataset_version']}: {episodes} episodes, captions by {found['captioner']}",
            *[f"│  ├─ drop {drop} ({found['data_licences'][drop]})" for drop in found["drops"]],
            f"├─ evaluation set {found['evaluation_set'] or 'none yet'}",
            *[f"│  ├─ {metric} {_score(entry)}" for metric, entry in (found["scores"] or {}).items()],
            f"├─ gate {found['gate']['verdict'] or 'not decided'}{': ' + found['gate']['reason'] if found['gate']['reason'] else ''}",
            f"└─ made by Dagster run {found['dagster_run_id']}, code {found['code_version']} at {found['git_commit']}",
        ]
    )


def _rows(manifest: Manifest | None, table: str, episode_id: str, columns: list[str]) -> list[dict[str, Any]]:
    if manifest is None:
        return []
    found: pa.Table = pq.read_table(manifest.file(table), columns=columns, filters=[("episode_id", "=", episode_id)])
    return found.to_pylist()


def _profile_folders(lake: Lake, drop: str, stage: str) -> list[Path]:
    return sorted(path.parent for path in lake.drop_stage(drop, stage).glob("*/manifest.json"))


def _dataset_splits(lake: Lake, episode_id: str) -> dict[str, str]:
    splits = {}
    for path in sorted(lake.dataset("_").parent.glob("*/manifest.json")):
        rows = _rows(read_manifest(path.parent), "samples.parquet", episode_id, ["split"])
        if rows:
            splits[path.parent.name] = rows[0]["split"]
    return splits


def _adapters(tracking: Tracking, dataset_versions: list[str]) -> list[dict[str, Any]]:
    made = []
    with talking_to(tracking.tracking_uri):
        client = tracking.client
        for dataset in dataset_versions:
            made += client.search_model_versions(f"tags.`{names.DATASET_VERSION}` = '{dataset}'")
        holders = {name: aliases_of(client, name) for name in {version.name for version in made}}
    listed = [
        {
            "name": version.name,
            "version": int(version.version),
            "run_id": version.run_id,
            "aliases": sorted(alias for alias, number in holders[version.name].items() if number == int(version.version)),
        }
        for version in made
    ]
    return sorted(listed, key=lambda adapter: (adapter["name"], adapter["version"]))


def _score(entry: dict[str, Any] | None) -> str:
    if not entry or entry.get("mean") is None:
        return "not measured"
    interval = "interval withheld" if entry.get("low") is None else f"[{entry['low']:.4g}, {entry['high']:.4g}]"
    return f"{entry['mean']:.4g} {interval} n={entry.get('n')}"


def _counted(items: list[str], most: int = 3) -> str:
    shown = ", ".join(items[:most])
    return f"{len(items)}: {shown}{', …' if len(items) > most else ''}" if items else "none"


def _in_brackets(aliases: list[str]) -> str:
    return f"({', '.join(aliases)}) " if aliases else ""
