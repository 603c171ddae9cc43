"""`leaderboard`, `lineage`, `forget`, `reproduce`, `promote` and `rollback`."""

from typing import Any

from cosmos_ops.errors import UserError
from pipelines.cli import model
from pipelines.cli.output import Output
from pipelines.environments import Environment, environment, notices, prepare


def leaderboard(arguments, output: Output) -> dict[str, Any]:
    """The current scoreboard."""
    env = environment()
    prepare(env)
    return model.board(env, output)


def lineage(arguments, output: Output) -> dict[str, Any]:
    """Backwards from an adapter, or forwards from an episode or a drop."""
    env = environment()
    prepare(env)
    from cosmos_ops.recipes import recipe_names
    from cosmos_ops.registry.lineage import lineage_of
    from cosmos_ops.registry.lineage_text import lineage_mermaid, lineage_tree
    from cosmos_ops.registry.usage import lineage_of_drop, lineage_of_episode

    client = _tracking(env)
    if arguments.episode:
        found = lineage_of_episode(env.lake, client, arguments.episode)
    elif arguments.drop:
        found = lineage_of_drop(env.lake, client, arguments.drop)
    else:
        found = lineage_of(env.lake, client, env.profile, arguments.ref, recipe_names(env.recipes_folder))
    output.say(lineage_mermaid(found) if arguments.mermaid else lineage_tree(found))
    return found


def forget(arguments, output: Output) -> dict[str, Any]:
    """Later dataset versions leave the episode out; what used it is marked."""
    env = environment()
    prepare(env)
    from cosmos_ops.registry.forget import forget_episode
    from cosmos_ops.registry.lineage_text import lineage_tree

    told = forget_episode(env.lake, _tracking(env), arguments.episode, arguments.reason)
    output.say(lineage_tree(told))
    output.say(
        f"{'was forgotten before' if told['unchanged'] else 'forgotten'}: the next dataset version leaves it out; `cosmos-ops run` makes it and trains on it"
    )
    return told


def reproduce(arguments, output: Output) -> dict[str, Any]:
    """Train an adapter again from what is written down, and compare."""
    env = environment()
    prepare(env)
    from cosmos_ops.registry.reproduce import reproduce as make_again

    told = make_again(env.lake, _tracking(env), env.profile, arguments.run, output.progress)
    output.say(f"{told['recipe']} on dataset {told['dataset_version']}: {told['shards']} shards as recorded, trained again in {told['path']}")
    for line in told["differences"]:
        output.say(f"note: {line}")
    if told["equal"]:
        output.say(f"the weights are equal: {told['made']}")
        return told
    output.say(f"the weights differ: {told['made']}, recorded are {told['expected']}")
    scores = told["scores"] or {}
    output.table(
        ["metric", "recorded", "low", "high", "made again", "within"],
        [[name, *(f"{entry[key]:.4g}" for key in ("mean", "low", "high", "made")), "yes" if entry["within"] else "no"] for name, entry in scores.items()],
    )
    # On a CPU with the same libraries equal weights are promised; elsewhere the scores decide.
    output.code = 0 if scores and told["differences"] and all(entry["within"] for entry in scores.values()) else 1
    return told


def promote(arguments, output: Output) -> dict[str, Any]:
    """Make a registered version the champion."""
    if arguments.force and not arguments.reason.strip():
        raise UserError("--force goes against the gate and is recorded: say why with --reason TEXT")
    env = environment()
    prepare(env)
    from cosmos_ops.registry.promote import promote as promote_version

    return _moved(env, promote_version(env.lake, _tracking(env), env.profile, arguments.version, arguments.force, arguments.reason), output)


def rollback(arguments, output: Output) -> dict[str, Any]:
    """The champion before the present one."""
    env = environment()
    prepare(env)
    from cosmos_ops.registry.promote import rollback as roll_back

    return _moved(env, roll_back(env.lake, _tracking(env), env.profile), output)


def history(arguments, output: Output) -> dict[str, Any]:
    """Who was champion when, and why."""
    env = environment()
    prepare(env)
    from cosmos_ops.registry.connection import talking_to
    from cosmos_ops.registry.history import history_of
    from cosmos_ops.registry.names import model_name

    client, model = _tracking(env), model_name(env.profile, env.lake)
    with talking_to(client.tracking_uri):
        told = history_of(client.client, model)
    if not told["history"]:
        output.say(f"{model} had no champion yet")
    rows = [[entry["time"][:19], entry["version"] or "none", entry["recipe"] or "-", entry["action"], entry["reason"]] for entry in told["history"]]
    output.table(["time (UTC)", "version", "recipe", "how", "why"], rows)
    for note in told["notes"]:
        output.say(f"note: {note}")
    return told


def _tracking(env):
    from cosmos_ops.registry.tracking import Tracking

    return Tracking(env.tracking_uri, env.artifact_root)


def _moved(env: Environment, champion: dict[str, Any], output: Output) -> dict[str, Any]:
    output.say(f"champion is now {champion['name']} version {champion['version']} ({champion['recipe']})")
    if env.promotion_webhook:
        output.note(notices().tell_moves(_tracking(env), champion["name"]))
    return {"champion": champion}
