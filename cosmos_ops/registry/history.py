"""Who was champion when, and why: kept in a tag of the registered model, next to the alias it explains.

Moving the alias takes several calls to MLflow. The move is written down before the first and crossed out after the last, so that the
next command finishes one that was killed in between.
"""

import json
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from cosmos_ops.registry.names import CHAMPION, RECIPE

HISTORY = "cosmos.history"
INTENT = "cosmos.intent"
_TAG_CHARACTERS = 5000
"""MLflow's databases hold no more in a registered model's tag: the oldest entries go first."""
_REASON_CHARACTERS = 300

Entry = dict[str, Any]
"""`time` (ISO, UTC), `version` (None: no champion), `action` (promote, force, rollback, found), `reason`, and `decision` where one asked for it."""


def new_entry(version: int | None, action: str, reason: str, decision: str | None = None) -> Entry:
    """An entry made now."""
    short = reason if len(reason) <= _REASON_CHARACTERS else f"{reason[: _REASON_CHARACTERS - 1]}…"
    entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "version": version, "action": action, "reason": short}
    return entry | ({"decision": decision} if decision else {})


def read_history(client: MlflowClient, model: str) -> list[Entry]:
    """Entries of a registered model, oldest first."""
    return json.loads(client.get_registered_model(model).tags.get(HISTORY, "[]"))


def history_of(client: MlflowClient, model: str) -> dict[str, Any]:
    """`name`, `champion` (version now, or None), `history` (entries with `recipe` and `run_id`, None of versions deleted since), `notes`."""
    if not client.search_registered_models(f"name = '{model}'"):
        return {"name": model, "champion": None, "history": [], "notes": []}
    made = {int(version.version): version for version in client.search_model_versions(f"name = '{model}'")}
    holder = client.get_registered_model(model).aliases.get(CHAMPION)

    def about(entry: Entry) -> Entry:
        version = made.get(entry["version"])
        return entry | {"recipe": version.tags.get(RECIPE) if version else None, "run_id": version.run_id if version else None}

    moved = moved_outside(client, model)
    entries = [about(entry) for entry in read_history(client, model)]
    return {"name": model, "champion": int(holder) if holder else None, "history": entries, "notes": [moved] if moved else []}


def move_champion(client: MlflowClient, model: str, entry: Entry) -> None:
    """Give the champion alias to the entry's version and remember it. Call `settle` before."""
    client.set_registered_model_tag(model, INTENT, json.dumps(entry))
    finish_move(client, model, entry)


def finish_move(client: MlflowClient, model: str, entry: Entry) -> None:
    """The part of a move that comes after its intent was written; any number of times gives the same end."""
    client.set_registered_model_alias(model, CHAMPION, str(entry["version"]))
    append(client, model, entry)
    client.delete_registered_model_tag(model, INTENT)


def settle(client: MlflowClient, model: str) -> Entry | None:
    """Finish a move that was interrupted, and return it; note a champion that something else made.

    Returns None when no move of ours was left open.
    """
    registered = client.get_registered_model(model)
    if INTENT in registered.tags:
        entry = json.loads(registered.tags[INTENT])
        if version_exists(client, model, entry["version"]):
            finish_move(client, model, entry)
            return entry
        client.delete_registered_model_tag(model, INTENT)
    holder = registered.aliases.get(CHAMPION)
    holder = None if holder is None else int(holder)
    stack = reigns(json.loads(registered.tags.get(HISTORY, "[]")))
    if holder != (stack[-1] if stack else None):
        append(client, model, new_entry(holder, "found", f"the alias was {'moved' if holder else 'removed'} outside of this project"))
    return None


def reigns(entries: list[Entry]) -> list[int | None]:
    """Champions on top of each other, the present one last: a promotion adds one, a rollback takes one or more away."""
    stack: list[int | None] = []
    for entry in entries:
        if entry["action"] == "rollback":
            del stack[-1:]
            while stack and stack[-1] != entry["version"]:
                del stack[-1]
        if not stack or stack[-1] != entry["version"]:
            stack.append(entry["version"])
    return stack


def champion_times(client: MlflowClient, model: str) -> dict[int, list[dict[str, str | None]]]:
    """Version -> when it was champion, [{`from`, `until`}] in ISO UTC; `until` None for the present. As far back as the history reaches."""
    times: dict[int, list[dict[str, str | None]]] = {}
    entries = read_history(client, model)
    for entry, following in zip(entries, [*entries[1:], None], strict=True):
        if entry["version"] is not None:
            times.setdefault(entry["version"], []).append({"from": entry["time"], "until": following["time"] if following else None})
    return times


def moved_outside(client: MlflowClient, model: str) -> str | None:
    """One line where the champion alias is not where this project left it, or was found so by the last command; None where all is well."""
    registered = client.get_registered_model(model)
    holder = int(registered.aliases[CHAMPION]) if CHAMPION in registered.aliases else None
    entries = json.loads(registered.tags.get(HISTORY, "[]"))
    left = entries[-1]["version"] if entries else None
    if INTENT in registered.tags or (holder == left and not (entries and entries[-1]["action"] == "found")):
        return None
    before = next((entry["version"] for entry in reversed(entries) if entry["action"] != "found"), None)
    now = f"version {holder}" if holder else "no version"
    return f"the champion alias was moved outside of this project, to {now} (this project's last decision: {f'version {before}' if before else 'none'})"


def append(client: MlflowClient, model: str, entry: Entry) -> None:
    """Add an entry unless it is there."""
    entries = read_history(client, model)
    if entry in entries:
        return
    entries.append(entry)
    while len(text := json.dumps(entries, ensure_ascii=False)) > _TAG_CHARACTERS:
        del entries[0]
    client.set_registered_model_tag(model, HISTORY, text)


def version_exists(client: MlflowClient, model: str, version: int) -> bool:
    """False for a version that was deleted."""
    try:
        client.get_model_version(model, str(version))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True
