"""What Dagster loads."""

import dagster as dg

from assets.captions import captions
from assets.champion import build_champion_asset
from assets.clips import clips
from assets.contenders import base_assets, incumbent_assets
from assets.dataset import dataset
from assets.episodes import episodes
from assets.evaluation_set import evaluation_set
from assets.inverse_dynamics import inverse_dynamics
from assets.landing import landing
from assets.latents import latents
from assets.leaderboard import build_leaderboard_asset
from assets.quality import quality
from assets.recipes import build_recipe
from assets.shards import shards
from cosmos_ops.recipes import recipe_names
from pipelines.alerts import alerts
from pipelines.environments import environment, resources
from pipelines.jobs import MODEL_STEPS, adapt_job, ingest_job
from pipelines.schedules import weekly_retraining
from pipelines.sensors import data_half, new_drops, new_episodes

_env = environment()
_recipes = recipe_names(_env.recipes_folder)
_leaderboard = build_leaderboard_asset(_recipes)

defs = dg.Definitions(
    assets=[
        landing,
        episodes,
        quality,
        clips,
        captions,
        shards,
        dataset,
        evaluation_set,
        latents,
        inverse_dynamics,
        *base_assets,
        *incumbent_assets,
        *(asset for recipe in _recipes for asset in build_recipe(recipe)),
        _leaderboard,
        build_champion_asset(_recipes, _leaderboard),
    ],
    jobs=[ingest_job, adapt_job],
    sensors=[new_drops, new_episodes, data_half, alerts],
    schedules=[weekly_retraining],
    resources=resources(_env),
    executor=MODEL_STEPS,
)
