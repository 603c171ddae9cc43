"""The two jobs: the data half of one drop, and the model half."""

import dagster as dg

from assets.partitions import drops
from cosmos_ops.recipes import recipe_names
from pipelines.environments import differences, environment

# Steps are processes: a killed trainer or a crashed decoder takes nothing with it, and a cancel is not retried.
# They fork from a server that has imported the slow libraries once, so that a step starts in half a second.
EVERY_STEP = ["pipelines.definitions", "pipelines.cli", "dagster._core.storage.base_storage"]
DATA_LIBRARIES = ["pandas", "av", "cv2", "great_expectations", "cosmos_ops.shards.write"]
MODEL_LIBRARIES = ["pandas", "av", "cv2", "mlflow", "torch", "torchvision", "cosmos_ops.base_models"]


def _steps(libraries: list[str]) -> dg.ExecutorDefinition:
    elsewhere = differences(environment()).executor
    if elsewhere is not None:
        return elsewhere
    return dg.multiprocess_executor.configured({"start_method": {"forkserver": {"preload_modules": [*EVERY_STEP, *libraries]}}})


# A step whose process died (out of memory, a kill) goes on where it was. What a user has to mend is raised as a failure that allows no retry.
CRASHED = dg.RetryPolicy(max_retries=2, delay=5)

DATA_STEPS = _steps(DATA_LIBRARIES)
MODEL_STEPS = _steps(MODEL_LIBRARIES)
DATA_HALF = dg.AssetSelection.groups("data")

ingest_job = dg.define_asset_job(
    "ingest",
    selection=DATA_HALF,
    partitions_def=drops,
    executor_def=DATA_STEPS,
    op_retry_policy=CRASHED,
    tags={"cosmos/half": "data"},
    description="The data half for one drop: index, quality, clips, captions, shards",
)


def recipe_assets(recipes) -> dg.AssetSelection:
    """The three assets of each recipe."""
    return dg.AssetSelection.assets(*(dg.AssetKey([recipe, part]) for recipe in recipes for part in ("adapter", "generations", "scores")))


def model_half() -> dg.AssetSelection:
    """Everything after the data half, with the profile's default recipes."""
    shared = dg.AssetSelection.groups("dataset", "contenders", "promotion")
    env = environment()
    # A recipe that the profile names and that was removed since is left to `run` to complain about: the data half must load without it.
    known = set(recipe_names(env.recipes_folder))
    return shared | recipe_assets(name for name in env.profile.recipes if name in known)


adapt_job = dg.define_asset_job(
    "adapt",
    selection=model_half(),
    executor_def=MODEL_STEPS,
    op_retry_policy=CRASHED,
    tags={"cosmos/half": "model"},
    description="The model half: dataset, latents, adapters of the profile's recipes, scores, leaderboard, champion",
)
