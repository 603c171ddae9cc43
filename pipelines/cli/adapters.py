"""`train --plan`, `merge` and `export`: what needs no Dagster run."""

from pathlib import Path
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.recipes import recipe_names, resolve_recipe
from pipelines.cli.output import Output
from pipelines.environments import Environment, environment, prepare

_DEFAULT_GB = 24


def plan(arguments, output: Output) -> dict[str, Any]:
    """What training would do on a GPU of a size, and the peak to expect; neither a GPU nor weights nor data are needed."""
    env = environment()
    recipes = chosen_recipes(env, arguments)
    from cosmos_ops.training.memory import plan_memory

    profile, size = env.profile, arguments.gpu_memory or _DEFAULT_GB
    plans = {name: plan_memory(profile.base_model, profile.clip, resolve_recipe(name, profile, env.recipes_folder), size).to_json() for name in recipes}
    parts = ("weights", "adapter", "optimizer", "activations", "overhead")
    output.say(f"{profile.name} on a GPU of {size:g} GB; peaks are predictions, in GB (10^9 bytes)")
    output.table(
        ["recipe", "recompute", "offload", "batch", "accumulate", *parts, "peak", "fits"],
        [
            [
                name,
                made["activation_checkpointing"],
                made["offload"],
                made["batch_size"],
                made["gradient_accumulation"],
                *(f"{made['breakdown_bytes'][part] / 1e9:.2f}" for part in parts),
                f"{made['predicted_peak_bytes'] / 1e9:.2f}",
                "yes" if made["fits"] else f"no, {made['usable_bytes'] / 1e9:.2f} can be used",
            ]
            for name, made in plans.items()
        ],
    )
    return {"profile": profile.name, "gpu_memory_gb": size, "plans": plans, "basis": "prediction"}


def chosen_recipes(env: Environment, arguments) -> list[str]:
    """The recipes that a command names, the profile's where it names none. Raises `UserError` for one that does not exist."""
    known = recipe_names(env.recipes_folder)
    recipes = arguments.recipe or list(env.profile.recipes)
    for recipe in recipes:
        if recipe not in known:
            raise UserError(f"recipe {recipe!r} does not exist; there are {', '.join(known)}")
    return recipes


def merge(arguments, output: Output) -> dict[str, Any]:
    """Base model and adapter as one folder of plain weights."""
    env = environment()
    folder = _adapter(env, arguments.adapter)
    from cosmos_ops.training.merge import merge_model

    manifest = merge_model(env.profile.base_model, env.lake.models(), folder, Path(arguments.output).absolute())
    output.say(f"{'already there' if manifest.unchanged else 'wrote'}: {manifest.path}, {manifest.rows} layers merged; set base_model.source to it")
    return {
        "output": str(manifest.path),
        "adapter": str(folder),
        "layers": manifest.rows,
        "unchanged": manifest.unchanged,
        "base_revision": manifest.meta["base_revision"],
    }


def export(arguments, output: Output) -> dict[str, Any]:
    """An adapter as one file for another program."""
    env = environment()
    folder = _adapter(env, arguments.adapter)
    from cosmos_ops.training.export import export_adapter

    path = Path(arguments.output).absolute()
    tensors = export_adapter(folder, path, arguments.format)
    output.say(f"wrote {path}: {tensors} tensors under the names of {arguments.format}")
    return {"output": str(path), "adapter": str(folder), "format": arguments.format, "tensors": tensors}


def _adapter(env: Environment, ref: str) -> Path:
    """The folder of an adapter named by path, or as the registry knows it."""
    if (Path(ref) / "adapter_config.json").is_file():
        return Path(ref).absolute()
    prepare(env)
    from cosmos_ops.registry.promote import adapter_folder
    from cosmos_ops.registry.tracking import Tracking

    return adapter_folder(env.lake, Tracking(env.tracking_uri, env.artifact_root), env.profile, ref)
