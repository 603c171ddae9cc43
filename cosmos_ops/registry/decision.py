"""The gate's decision, carried out in the model registry and kept in the lake."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cosmos_ops.errors import WorkFailed
from cosmos_ops.hashing import canonical_json, digest
from cosmos_ops.lake import Lake, Manifest, Output, build_folder, require_manifest, write_json
from cosmos_ops.profiles import Profile
from cosmos_ops.registry import names
from cosmos_ops.registry.check_gate import failing_checks
from cosmos_ops.registry.gates import Decision, Gates, decide, load_gates
from cosmos_ops.registry.history import move_champion, new_entry, read_history, settle
from cosmos_ops.registry.promote import announce
from cosmos_ops.registry.provenance import Provenance
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.versions import register_adapter

CODE_VERSION = "2"


def decide_and_apply(
    lake: Lake,
    tracking: Tracking,
    profile: Profile,
    leaderboard_folder: Path,
    adapters: dict[str, Manifest],
    incumbent: bool,
    made_by: Provenance,
    gates: Gates | None = None,
) -> tuple[Manifest, dict[str, Any], dict[str, Any] | None]:
    """Decide on a leaderboard, register its adapters, move the aliases, write `decisions/<key>/decision.json`.

    adapters: recipe -> adapter, without base and incumbent. Returns (manifest, decision as JSON, champion now or None). A decision is
    carried out once: deciding the same again does not undo what was promoted or rolled back by hand since.
    """
    gates = gates or load_gates()
    leaderboard = require_manifest(leaderboard_folder, "the leaderboard", "materialize `leaderboard` again")
    scoreboard = _read_scoreboard(leaderboard)
    failing = failing_checks_of(lake, profile, adapters, gates)
    decision = decide(scoreboard, gates, list(adapters), incumbent, failing)
    entered = {name: [made.key, made.data_version] for name, made in adapters.items()}
    key = digest([CODE_VERSION, leaderboard.data_version, gates, entered, incumbent, failing])
    for made in adapters.values():
        tracking.record_adapter(lake, profile, made, made_by)
    holder = apply_decision(lake, tracking, profile, decision, adapters, scoreboard, leaderboard.meta["evaluation_set"], key)
    told = {"winner": decision.winner, "promoted": decision.promoted, "reason": decision.reason, "best": decision.best}

    def write(folder: Path) -> Output:
        whole = told | {"leaderboard": leaderboard.key, "gates": asdict(gates), "checks": [asdict(check) for check in decision.checks]}
        write_json(folder / "decision.json", whole)
        return Output(digest([decision, leaderboard.data_version]), len(decision.checks), told | {"champion": holder, "leaderboard": leaderboard.key})

    manifest = build_folder(lake.decision(key), "decision", key, write)
    tracking.record_decision(lake, profile, list(adapters.values()), manifest)
    return manifest, told, holder


def failing_checks_of(lake: Lake, profile: Profile, adapters: dict[str, Manifest], gates: Gates) -> tuple[str, ...]:
    """Failed data checks that the gates ask for, of the dataset versions these adapters were trained on."""
    versions = sorted({made.meta["dataset_version"] for made in adapters.values()})
    return tuple(line for version in versions for line in failing_checks(lake, profile, version, gates.no_failing_checks))


def apply_decision(
    lake: Lake,
    tracking: Tracking,
    profile: Profile,
    decision: Decision,
    adapters: dict[str, Manifest],
    scoreboard: dict[str, Any],
    evaluation_set: str,
    key: str,
) -> dict[str, Any] | None:
    """Register every adapter with its verdict; the best becomes challenger, the winner champion. Returns the champion now, or None."""
    model = names.model_name(profile, lake)
    versions = {name: register_adapter(lake, tracking, profile, made) for name, made in adapters.items()}
    if not versions:
        return None
    with tracking.exclusive(model) as client:
        for name, version in versions.items():
            for tag, value in _verdict(decision, name, scoreboard, evaluation_set, key).items():
                client.set_model_version_tag(model, str(version), tag, value)
        settle(client, model)
        carried_out = any(entry.get("decision") == key for entry in read_history(client, model))
        if decision.winner is not None and not carried_out:
            move_champion(client, model, new_entry(versions[decision.winner], "promote", decision.reason, key))
        if decision.best is not None:
            # Where the best became champion the alias is taken away again below; an older challenger has lost to it either way.
            client.set_registered_model_alias(model, names.CHALLENGER, str(versions[decision.best]))
        return announce(lake, profile, client, model)


def _read_scoreboard(leaderboard: Manifest) -> dict[str, Any]:
    try:
        return json.loads(leaderboard.file("scoreboard.json").read_text())
    except (OSError, ValueError) as error:
        raise WorkFailed(f"{leaderboard.file('scoreboard.json')} is not readable ({error}); remove {leaderboard.path}, it is made again") from None


def _verdict(decision: Decision, contender: str, scoreboard: dict[str, Any], evaluation_set: str, key: str) -> dict[str, str]:
    own = [check for check in decision.checks if check.contender == contender]
    if not own:
        return {}  # The incumbent under its recipe's name keeps the verdict that made it champion.
    failed = [check.detail + (f" against {check.against}" if check.against else "") for check in own if not check.passed]
    return {
        names.EVALUATION_SET: evaluation_set,
        names.SCORES: canonical_json(scoreboard["scores"].get(contender)),
        names.GATE: "failed" if failed else "passed",
        names.GATE_REASON: "; ".join(failed) or "every check passed",
        names.DECISION: key,
    }
