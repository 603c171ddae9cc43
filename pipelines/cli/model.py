"""`train`, `evaluate`, `run` and `generate`."""

from pathlib import Path
from typing import Any

import dagster as dg

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import digest
from cosmos_ops.heads import Heads
from cosmos_ops.lake import Manifest, read_manifest
from cosmos_ops.recipes import recipe_hash, resolve_recipe
from cosmos_ops.registry.gates import load_gates
from cosmos_ops.shards.validated import validated_drops
from cosmos_ops.store.notes import read_pointer
from pipelines.cli import adapters
from pipelines.cli.board import print_board
from pipelines.cli.output import Output
from pipelines.cli.running import adapt_run, all_assets_run, execute
from pipelines.environments import Environment, environment, prepare
from pipelines.instance import open_instance

_SHARED = ("dataset", "evaluation_set", "latents")
_READER = ["inverse_dynamics"]
_PARTS = ("adapter", "generations", "scores")


def train(arguments, output: Output) -> dict[str, Any]:
    """Dataset, latents and adapters; with `--plan` only what it would do with a GPU's memory."""
    if arguments.plan:
        return adapters.plan(arguments, output)
    if arguments.gpu_memory is not None:
        raise UserError("--gpu-memory goes with --plan; training takes the size of the GPU it finds")
    env, recipes = _ready(arguments)
    run_id = _execute(env, output, recipes, [[name] for name in _SHARED] + [[recipe, "adapter"] for recipe in recipes])
    heads = Heads(env.lake, env.profile.name)
    made = {}
    for recipe in recipes:
        manifest = read_manifest(env.lake.adapter(heads.require(f"adapters/{recipe}", "train again")))
        made[recipe] = {"path": str(manifest.path), "data_version": manifest.data_version, "validation_loss": manifest.meta["validation_loss"]}
        output.say(f"{recipe}: {manifest.path}, validation loss {manifest.meta['validation_loss']}")
    return {"dagster_run_id": run_id, "dataset_version": heads.get("dataset"), "adapters": made}


def evaluate(arguments, output: Output) -> dict[str, Any]:
    """Generations, scores and leaderboard of what was trained."""
    env, recipes = _ready(arguments)
    heads = Heads(env.lake, env.profile.name)
    for recipe in recipes:
        heads.require(f"adapters/{recipe}", f"run `cosmos-ops train --recipe {recipe}` first")
    keys = [[name, part] for name in ("base", "incumbent", *recipes) for part in ("generations", "scores")]
    run_id = _execute(env, output, recipes, [_READER, *keys, ["leaderboard"]])
    return {"dagster_run_id": run_id, **board(env, output)}


def run(arguments, output: Output) -> dict[str, Any]:
    """The whole model half."""
    env, recipes = _ready(arguments)
    return run_model_half(env, recipes, output)


def run_model_half(env: Environment, recipes: list[str], output: Output) -> dict[str, Any]:
    """Train, evaluate and decide; nothing is done when the lake holds the decision for exactly this data and these recipes."""
    heads = Heads(env.lake, env.profile.name)
    inputs = model_inputs(env, recipes)
    if _decided_by_a_killed_call(env, inputs, recipes):
        heads.set(decided_inputs=inputs)
    unchanged = heads.get("decided_inputs") == inputs and last_decision(env) is not None
    run_id = None
    if unchanged:
        output.say("this data and these recipes are decided: nothing to do")
    else:
        heads.set(deciding={"inputs": inputs, "before": heads.get("decision")})
        keys = [[name] for name in _SHARED] + [_READER] + [[name, part] for name in ("base", "incumbent") for part in ("generations", "scores")]
        keys += [[recipe, part] for recipe in recipes for part in _PARTS] + [["leaderboard"], ["champion"]]
        run_id = _execute(env, output, recipes, keys)
        # Recorded after the fact: a new drop that came in meanwhile changes the inputs, and the next call sees it.
        heads.set(decided_inputs=inputs)
    return latest_outcome(env, output, unchanged) | {"dagster_run_id": run_id}


def latest_outcome(env: Environment, output: Output, unchanged: bool = True) -> dict[str, Any]:
    """The last decision with the scoreboard it was made on, printed and as JSON. `unchanged`: it is not this call's."""
    found = last_decision(env)
    if found is None:
        raise UserError("nothing is decided yet; run `cosmos-ops run` first")
    decision, leaderboard = found[0].meta, found[1]
    shown = print_board(leaderboard, output)
    output.say(f"{'promoted' if decision['promoted'] else 'not promoted'}: {decision['reason']}")
    promoted = decision["promoted"] and not unchanged
    return {"unchanged": unchanged, **shown, "champion": _champion(env), "promoted": promoted, "reason": decision["reason"]}


def last_decision(env: Environment) -> tuple[Manifest, Manifest] | None:
    """The last decision and the leaderboard it was made on, which need not be today's; None where the lake lacks either."""
    key = Heads(env.lake, env.profile.name).get("decision")
    decision = read_manifest(env.lake.decision(key)) if key else None
    leaderboard = read_manifest(env.lake.leaderboard(decision.meta["leaderboard"])) if decision else None
    return (decision, leaderboard) if leaderboard else None


def _decided_by_a_killed_call(env: Environment, inputs: str, recipes: list[str]) -> bool:
    """True when a call for these inputs came as far as the decision but not to its end: deciding again would hold the new champion against itself."""
    heads = Heads(env.lake, env.profile.name)
    begun, found = heads.get("deciding"), last_decision(env)
    if begun is None or begun["inputs"] != inputs or begun["before"] == heads.get("decision") or found is None:
        return False
    board = found[1].meta
    return board["dataset_version"] == heads.get("dataset") and set(recipes) <= set(board["contenders"])


def _champion(env: Environment) -> dict[str, Any] | None:
    """The alias holder now, whoever moved it."""
    from cosmos_ops.registry.promote import champion
    from cosmos_ops.registry.tracking import Tracking

    return champion(Tracking(env.tracking_uri, env.artifact_root), env.profile, env.lake)


def model_inputs(env: Environment, recipes: list[str]) -> str:
    """Hash of everything the model half's outcome depends on: validated drops, profile and resolved recipes."""
    lake, profile = env.lake, env.profile
    names = validated_drops(lake, profile.data_fingerprint)
    shards = {name: read_manifest(lake.drop_stage(name, "shards", profile.data_fingerprint)).data_version for name in names}
    resolved = {name: recipe_hash(resolve_recipe(name, profile, env.recipes_folder)) for name in recipes}
    return digest([shards, profile, resolved, read_pointer(lake.root / "forgotten.json"), *_own_gates(env)])


def _own_gates(env: Environment) -> list[Any]:
    """The gate, where it is not the package's own: another gate asks for another decision."""
    return [load_gates(env.gates_file)] if env.gates_file else []


def board(env: Environment, output: Output) -> dict[str, Any]:
    """Print the current scoreboard and return its JSON."""
    heads = Heads(env.lake, env.profile.name)
    manifest = read_manifest(env.lake.leaderboard(heads.require("leaderboard", "run `cosmos-ops run` first")))
    return print_board(manifest, output)


def generate(arguments, output: Output) -> dict[str, Any]:
    """One video."""
    env = environment()
    prepare(env)
    from assets.resources import GpuResource
    from cosmos_ops.evaluation.single import generate_one

    folder = None
    if arguments.adapter != "none":
        from cosmos_ops.registry.promote import adapter_folder
        from cosmos_ops.registry.tracking import Tracking

        folder = adapter_folder(env.lake, Tracking(env.tracking_uri, env.artifact_root), env.profile, arguments.adapter)
    device = GpuResource(device_name=env.device, precision_name=env.precision).device()
    made = generate_one(
        env.profile, env.lake.models(), Path(arguments.image), arguments.prompt, folder, arguments.seed, Path(arguments.output), device, output.progress
    )
    output.say(f"wrote {arguments.output} ({'base model' if folder is None else f'adapter {folder}'})")
    return {"output": str(Path(arguments.output).absolute()), "adapter": str(folder) if folder else None, **made}


def _ready(arguments) -> tuple[Environment, list[str]]:
    env = environment()
    recipes = adapters.chosen_recipes(env, arguments)
    prepare(env)
    if not validated_drops(env.lake, env.profile.data_fingerprint):
        raise WorkFailed("no validated drop is in the lake; run `cosmos-ops ingest PATH` first")
    return env, recipes


def _execute(env: Environment, output: Output, recipes: list[str], keys: list[list[str]]) -> str:
    job = adapt_run if set(recipes) <= set(env.profile.recipes) else all_assets_run
    return execute(open_instance(env), job, output, {"cosmos/half": "model"}, [dg.AssetKey(key) for key in keys])
