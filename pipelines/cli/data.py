"""`inspect` and `ingest`."""

from pathlib import Path
from typing import Any

import dagster as dg

from assets.partitions import drops
from cosmos_ops.errors import WorkFailed
from cosmos_ops.lake import Lake, read_manifest, require_manifest
from cosmos_ops.profiles import Profile
from cosmos_ops.shards.validated import is_validated
from pipelines.cli.output import Output
from pipelines.cli.running import execute, ingest_run
from pipelines.environments import Environment, environment, prepare
from pipelines.instance import open_instance


def inspect(arguments, output: Output) -> dict[str, Any]:
    """What a log is and what would become of it."""
    from cosmos_ops.logs.inspect import inspect_log
    from cosmos_ops.logs.mapping import NAME, mapping_path, mapping_yaml
    from cosmos_ops.logs.remote_files import is_remote

    found = inspect_log(arguments.path, environment().profile, output.progress)
    output.say(f"{arguments.path}: {found['format']} {found['format_version']}, robot {found['robot'] or 'unknown'}, licence {found['licence'] or 'unknown'}")
    accepted = [episode for episode in found["episodes"] if episode["accepted"]]
    output.say(f"{found['found_episodes']} episodes found of {found['declared_episodes']} declared, {len(accepted)} would be used")
    rows = [
        [e["index"], e["id"], e["frames"], f"{e['fps']:g}", f"{e['duration_s']:.1f}", ",".join(e["cameras"]), f"{e['state_dim']}/{e['action_dim']}",
         "yes" if e["accepted"] else "no", "; ".join(f"{p['camera']}: {p['message']}" if p["camera"] else p["message"] for p in e["problems"])]
        for e in found["episodes"]
    ]  # fmt: skip
    output.table(["#", "id", "frames", "fps", "s", "cameras", "state/action", "used", "problems"], rows)
    for problem in found.get("problems", []):
        output.say(f"note: {problem['message']}")
    if found.get("crop"):
        output.say(f"picture: {found['crop']}")
    if found["mapping"]:
        place = f"{NAME} in the log's folder, or <file>.{NAME} beside one file" if is_remote(arguments.path) else mapping_path(Path(arguments.path))
        output.say(f"read as follows; correct what is wrong and save it as {place}:")
        output.say("".join(f"  {line}" for line in mapping_yaml(found["mapping"]).splitlines(keepends=True)).rstrip())
    return found


def ingest(arguments, output: Output) -> dict[str, Any]:
    """Register a drop and run the data half."""
    env = environment()
    prepare(env)
    return ingest_drop(env, arguments.path, arguments.drop, output, copy=arguments.copy, allow_mixed=arguments.allow_mixed)


def ingest_drop(env: Environment, path: Path | str, name: str | None, output: Output, copy: bool = False, allow_mixed: bool = False) -> dict[str, Any]:
    """Ingest one drop; nothing is done when the lake says it is in and unchanged. What is at a URL is always copied."""
    from cosmos_ops.logs.drops import register_drop
    from cosmos_ops.logs.remote import register_remote
    from cosmos_ops.logs.remote_files import is_remote

    lake, profile = env.lake, env.profile
    if is_remote(path):
        drop, new = register_remote(lake, path, name, allow_mixed, output.progress)
    else:
        drop, new = register_drop(lake, path, name, copy=copy, allow_mixed=allow_mixed)
    instance = open_instance(env)
    _add_partition(instance, drop.name)
    unchanged = not new and is_validated(lake, drop.name, profile.data_fingerprint)
    if unchanged:
        output.say(f"drop {drop.name} is in and unchanged: nothing to do")
    else:
        output.note(f"ingesting drop {drop.name} ({drop.format} {drop.format_version}, {len(drop.files)} files)")
        try:
            execute(instance, ingest_run, output, {"dagster/partition": drop.name, "cosmos/drop": drop.name})
        except WorkFailed:
            output.known = {"drop": drop.name, **_looked_at(lake, profile, drop.name)}
            _tell_quarantined(output, output.known.get("quarantined", []))
            raise
    summary = {"drop": drop.name, "unchanged": unchanged, **drop_summary(lake, profile, drop.name)}
    if not unchanged:
        counts = f"{summary['episodes']} episodes, {summary['clips']} clips in {summary['shards']} shards"
        output.say(f"drop {drop.name}: {counts}, {len(summary['quarantined'])} quarantined")
        for camera, clock in summary["clocks"].items():
            told = ", ".join(f"{count} {correction}" for correction, count in clock["corrections"].items())
            measured = f"offset {clock['offset_s']:.3f} s, drift {clock['drift_s']:.3f} s, longest gap {clock['gap_s']:.2f} s"
            output.say(f"  clock of {camera} against telemetry, worst of {clock['episodes']} episodes: {measured}; corrected: {told}")
        _tell_quarantined(output, summary["quarantined"])
    return summary


def _tell_quarantined(output: Output, quarantined: list[dict[str, Any]]) -> None:
    for entry in quarantined:
        output.say(f"  quarantined: episode {entry['index']} ({entry['episode']}), camera {entry['camera'] or 'all'}: {', '.join(entry['reasons'])}")


def _add_partition(instance: dg.DagsterInstance, name: str) -> None:
    from sqlalchemy.exc import IntegrityError

    if not instance.has_dynamic_partition(drops.name, name):
        try:
            instance.add_dynamic_partitions(drops.name, [name])
        except IntegrityError:
            # Another process, or the daemon's sensor, added it between the two lines.
            if not instance.has_dynamic_partition(drops.name, name):
                raise


def drop_summary(lake: Lake, profile: Profile, drop: str) -> dict[str, Any]:
    """Counts of an ingested drop, and what was quarantined."""
    index = require_manifest(lake.drop_stage(drop, "shards", profile.data_fingerprint), f"stage shards of drop {drop}", "ingest it again")
    looked_at = _looked_at(lake, profile, drop)
    return {
        "episodes": looked_at.pop("episodes"),
        "clips": index.rows,
        "shards": sum(name.endswith(".tar") for name in index.files),
        **looked_at,
    }


def _looked_at(lake: Lake, profile: Profile, drop: str) -> dict[str, Any]:
    """What the quality stage found; nothing where a drop did not come so far."""
    import pyarrow.parquet as pq

    episodes, quality = read_manifest(lake.drop_stage(drop, "episodes")), read_manifest(lake.drop_stage(drop, "quality", profile.data_fingerprint))
    if episodes is None or quality is None:
        return {}
    quarantine, stretches, seen = (pq.read_table(quality.file(f"{name}.parquet")).to_pylist() for name in ("quarantine", "stretches", "cameras"))
    return {
        "episodes": episodes.rows,
        "quarantined": [{"episode": row["episode_id"], "index": row["index"], "camera": row["camera"], "reasons": row["reasons"]} for row in quarantine],
        "clocks": _clocks(seen),
        "bad_stretches": [
            {"episode": row["episode_id"], **{name: row[name] for name in ("index", "camera", "start_s", "stop_s", "reasons")}} for row in stretches
        ],
    }


def _clocks(cameras: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each camera whose log records a clock: its worst offset, drift and gap against the telemetry, and in how many episodes what was corrected."""
    found: dict[str, dict[str, Any]] = {}
    for row in cameras:
        if row["clock_offset_s"] is None:
            continue
        clock = found.setdefault(row["camera"], {"episodes": 0, "offset_s": 0.0, "drift_s": 0.0, "gap_s": 0.0, "corrections": {}})
        clock["episodes"] += 1
        for name in ("offset_s", "drift_s", "gap_s"):
            clock[name] = max(clock[name], row[f"clock_{name}"] or 0.0, key=abs)
        clock["corrections"][row["clock_correction"]] = clock["corrections"].get(row["clock_correction"], 0) + 1
    return found
