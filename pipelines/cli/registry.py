"""`leaderboard`, `lineage`, `promote` and `rollback`."""

from typing import Any

from cosmos_ops.errors import UserError
from pipelines.cli import model
from pipelines.cli.output import Output
from pipelines.environments import environment, prepare


def leaderboard(arguments, output: Output) -> dict[str, Any]:
    """The current scoreboard."""
    env = environment()
    prepare(env)
    return model.board(env, output)


def lineage(arguments, output: Output) -> dict[str, Any]:
    """Backwards from an adapter, or forwards from an episode."""
    env = environment()
    prepare(env)
    from cosmos_ops.registry.lineage import lineage_of, lineage_of_episode, lineage_tree

    client = _tracking(env)
    found = lineage_of_episode(env.lake, client, arguments.episode) if arguments.episode else lineage_of(env.lake, client, env.profile, arguments.ref)
    output.say(lineage_tree(found))
    return found


def promote(arguments, output: Output) -> dict[str, Any]:
    """Make a registered version the champion."""
    if arguments.force and not arguments.reason.strip():
        raise UserError("--force goes against the gate and is recorded: say why with --reason TEXT")
    env = environment()
    prepare(env)
    from cosmos_ops.registry.promote import promote as promote_version

    return _moved(promote_version(env.lake, _tracking(env), env.profile, arguments.version, arguments.force, arguments.reason), output)


def rollback(arguments, output: Output) -> dict[str, Any]:
    """The champion before the present one."""
    env = environment()
    prepare(env)
    from cosmos_ops.registry.promote import rollback as roll_back

    return _moved(roll_back(env.lake, _tracking(env), env.profile), output)


def _tracking(env):
    from cosmos_ops.registry.tracking import Tracking

    return Tracking(env.tracking_uri, env.artifact_root)


def _moved(champion: dict[str, Any], output: Output) -> dict[str, Any]:
    output.say(f"champion is now {champion['name']} version {champion['version']} ({champion['recipe']})")
    return {"champion": champion}
