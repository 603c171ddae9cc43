"""What things are called in MLflow: one experiment and one registered model for each profile and robot."""

import json
import re

from cosmos_ops.errors import UserError
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import Profile
from cosmos_ops.store.notes import read_note

CHAMPION = "champion"
CHALLENGER = "challenger"

# Tags, on runs and on registered versions alike.
KIND = "cosmos.kind"
ADAPTER_KEY = "cosmos.adapter_key"
ADAPTER_VERSION = "cosmos.adapter_version"
BASE_MODEL = "cosmos.base_model"
BASE_REVISION = "cosmos.base_revision"
BASE_LICENCE = "cosmos.base_licence"
RECIPE = "cosmos.recipe"
RECIPE_HASH = "cosmos.recipe_hash"
DATASET_VERSION = "cosmos.dataset_version"
EVALUATION_SET = "cosmos.evaluation_set"
DROPS = "cosmos.drops"
DATA_LICENCES = "cosmos.data_licences"
CAPTIONER = "cosmos.captioner"
CODE_VERSION = "cosmos.code_version"
GIT_COMMIT = "cosmos.git_commit"
DAGSTER_RUN = "dagster.run_id"
RECORDED = "cosmos.recorded"
"""Set last on a run: everything that belongs to it was logged."""

MODEL_ID = "cosmos.model_id"
"""The LoggedModel that holds an adapter's files; set on its run when it is whole."""
FORGOTTEN = "cosmos.forgotten"
"""Ids of episodes that were seen in training and are to be forgotten since, as a JSON list."""

# Tags of registered versions.
EXPERIMENT = "cosmos.experiment_id"
SCORES = "cosmos.scores"
GATE = "cosmos.gate"
"""`passed` or `failed`; absent where no decision was made."""
GATE_REASON = "cosmos.gate_reason"
DECISION = "cosmos.decision"


def model_name(profile: Profile, lake: Lake) -> str:
    """Name of the registered model and of the experiment: `cosmos-<profile>-<robot>`."""
    return f"cosmos-{_slug(profile.name)}-{_slug(lake_robot(lake))}"


def lake_robot(lake: Lake) -> str:
    """The robot a lake is about: that of the drops that needed no `--allow-mixed`, so that adding a foreign drop renames nothing."""
    foreign = None
    for name in lake.drop_names():
        drop = drop_facts(lake, name)
        if drop.get("robot") and not drop.get("allow_mixed"):
            return drop["robot"]
        foreign = foreign or drop.get("robot")
    return foreign or "unknown-robot"


def drop_facts(lake: Lake, name: str) -> dict:
    """What was registered of a drop: `robot`, `licence`, `uri` and more. Raises `UserError` where it is not registered."""
    path = lake.drop(name) / "drop.json"
    try:
        return json.loads(read_note(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: registration of drop {name!r} is not readable ({error}); ingest the drop again") from None


def _slug(text: str) -> str:
    # MLflow refuses `/`, `:` and more in a registered model's name.
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"
