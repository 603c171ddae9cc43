"""Is a dataset version still what it says? Its tables give its version again, and every shard lies there with its content."""

import pyarrow.parquet as pq

from cosmos_ops.errors import WorkFailed
from cosmos_ops.hashing import file_sha256
from cosmos_ops.lake import Lake, brought_file, read_manifest
from cosmos_ops.progress import Progress, silent
from cosmos_ops.registry.dataset_facts import dataset_manifest
from cosmos_ops.shards.dataset import EXCLUSIONS, SAMPLES, dataset_version
from cosmos_ops.shards.write import INDEX
from cosmos_ops.store.notes import subfolders

_NAMED = 5


def check_dataset(lake: Lake, version: str, progress: Progress = silent) -> int:
    """Compute the version again from its tables and hash every shard it holds; returns how many shards.

    Raises `UserError` where the lake lacks the version, `WorkFailed` that names tables and shards that are missing, moved or damaged.
    """
    manifest = dataset_manifest(lake, version)
    for name in (SAMPLES, EXCLUSIONS):
        path = manifest.file(name)
        if not path.is_file() or file_sha256(path) != manifest.files[name]:
            raise WorkFailed(
                f"{path} is {'damaged' if path.is_file() else 'missing'}: dataset version {version} cannot be made again from it; restore the file"
            )
    kept = pq.read_table(manifest.file(SAMPLES), columns=["clip_id", "split", "shard_sha256", "shard_path"]).to_pylist()
    excluded = pq.read_table(manifest.file(EXCLUSIONS), columns=["clip_id", "reason", "shard_sha256"]).to_pylist()
    made = dataset_version(kept + excluded, kept, excluded)
    if made != version:
        raise WorkFailed(f"the tables of dataset version {version} give version {made}; restore {manifest.path} from a backup")
    shards = sorted({(row["shard_path"], row["shard_sha256"]) for row in kept})
    broken = []
    for done, (where, sha256) in enumerate(shards):
        progress(done, len(shards), f"checking {where}")
        try:
            path = brought_file(lake.root / where)
        except WorkFailed as error:
            broken.append(str(error))
            continue
        if not path.is_file():
            elsewhere = _found(lake, sha256)
            broken.append(f"{where} is missing" + (f" (it lies at {elsewhere} now: put it back)" if elsewhere else ""))
        elif file_sha256(path) != sha256:
            broken.append(f"{where} is damaged")
    progress(len(shards), len(shards), "shards checked")
    if broken:
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        told = "; ".join(broken[:_NAMED])
        raise WorkFailed(f"dataset version {version} is not whole: {told}{more}; remove that shards folder and ingest its drop again, equal bytes come back")
    return len(shards)


def _found(lake: Lake, sha256: str) -> str | None:
    """Where a shard of that content lies now: by the drops' indexes, then among files that no index is beside."""
    for drop in lake.drop_names():
        for name in subfolders(lake.drop_stage(drop, "shards")):
            folder = lake.drop_stage(drop, "shards", name)
            manifest = read_manifest(folder)
            rows = pq.read_table(manifest.file(INDEX), columns=["shard", "shard_sha256"]).to_pylist() if manifest else []
            for shard in (row["shard"] for row in rows if row["shard_sha256"] == sha256):
                if (folder / shard).is_file():
                    return str((folder / shard).relative_to(lake.root))
    loose = (path for path in sorted(lake.root.rglob("*.tar")) if path.is_file())
    return next((str(path.relative_to(lake.root)) for path in loose if file_sha256(path) == sha256), None)
