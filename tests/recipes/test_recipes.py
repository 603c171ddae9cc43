"""Recipes: the built-in ones say what was published, wrong ones are refused with the way out, and the hash covers what matters."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cosmos_ops.errors import UserError
from cosmos_ops.profiles import load_profile, profile_names
from cosmos_ops.recipes import Recipe, recipe_hash, recipe_names, recipe_to_json, resolve_recipe
from cosmos_ops.settings import build

REAL = load_profile("cosmos-predict2.5-2b")
NANO = load_profile("nano")


def recipe_file(folder: Path, stem: str = "mine", **settings) -> Path:
    path = folder / f"{stem}.yaml"
    path.write_text(yaml.safe_dump({"method": "lora", "rank": 8, "steps": 10, "warmup_steps": 2, "decay_steps": 20, **settings}))
    return path


@pytest.mark.parametrize(("name", "method", "rank"), [("lora-r8", "lora", 8), ("lora-r32", "lora", 32), ("dora-r8", "dora", 8), ("dora-r32", "dora", 32)])
def test_built_in_recipes_are_the_published_one(name, method, rank):
    recipe = resolve_recipe(name, REAL)
    assert (recipe.name, recipe.method, recipe.rank, recipe.alpha) == (name, method, rank, rank)
    assert recipe.learning_rate == 2**-14.5
    assert (recipe.warmup_steps, recipe.decay_steps, recipe.f_max, recipe.f_min) == (1000, 100_000, 0.5, 0.2)
    assert (recipe.weight_decay, recipe.clip_norm, recipe.text_dropout, recipe.shift) == (0.001, 1.0, 0.2, 5.0)
    assert recipe.conditioning_probabilities == {1: 0.5, 2: 0.5}
    assert recipe.targets is None


@pytest.mark.parametrize("name", profile_names())
def test_a_built_in_profile_is_whole(name):
    profile = load_profile(name)
    assert profile.name == name
    assert [resolve_recipe(recipe, profile).name for recipe in profile.recipes] == list(profile.recipes)


def test_a_profile_overrides_every_recipe():
    recipe = resolve_recipe("dora-r8", NANO)
    for name, value in NANO.training.overrides.items():
        assert getattr(recipe, name) == value
    assert recipe_hash(recipe) != recipe_hash(resolve_recipe("dora-r8", REAL))


@pytest.mark.parametrize("overrides", [{"method": "lora"}, {"name": "same"}, {"rank": 4}, {"learning_rte": 1.0}, {"steps": "many"}])
def test_overrides_that_cannot_be_meant_are_refused(overrides):
    profile = dataclasses.replace(NANO, training=dataclasses.replace(NANO.training, overrides=overrides))
    with pytest.raises(UserError, match="profile nano") as refused:
        resolve_recipe("dora-r8", profile)
    assert next(iter(overrides)) in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        ({"method": "dora", "dropout": 0.1}, "use dropout: 0 or method: lora"),
        ({"alpha": 0}, "use alpha: 8"),
        ({"rank": 0}, "use 1 or more"),
        ({"method": "qlora"}, "use lora or dora"),
        ({"warmup_steps": 20}, "decay_steps 20 is not after warmup_steps 20"),
        ({"conditioning_probabilities": {1: 0.5, 2: 0.4}}, "add up to 0.9; make it 1"),
        ({"conditioning_probabilities": {0: 1.0}}, "like {1: 0.5, 2: 0.5}"),
        ({"f_min": 0.7}, "at most f_max"),
        ({"targets": []}, "name layers or leave it out"),
        ({"text_dropout": 1.0}, "not including, 1"),
        ({"learning_rate": float("inf")}, "no finite number"),
        ({"rnak": 8}, "known are"),
        ({"rank": "8"}, "int is needed"),
        ({"name": "other"}, "remove it"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_way_out(tmp_path, settings, fix):
    path = recipe_file(tmp_path, **settings)
    with pytest.raises(UserError) as refused:
        resolve_recipe(path, REAL)
    assert fix in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_exponent_without_a_point_is_a_number(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("{method: lora, rank: 8, steps: 10, learning_rate: 1e-4}")
    assert resolve_recipe(path, REAL).learning_rate == 1e-4


def test_a_file_in_the_users_folder_is_a_recipe(tmp_path):
    recipe_file(tmp_path, "mine-r8")
    assert set(recipe_names(tmp_path)) == {*recipe_names(), "mine-r8"}
    assert resolve_recipe("mine-r8", REAL, tmp_path).steps == 10
    with pytest.raises(UserError, match=r"does not exist; there are .*lora-r8"):
        resolve_recipe("mine-r8", REAL)


@pytest.mark.parametrize("name", ["lora-r8", "My_Recipe", "a--b"])
def test_names_are_unique_and_plain(tmp_path, name):
    recipe_file(tmp_path, name)
    with pytest.raises(UserError, match="rename the file|is no recipe name"):
        recipe_names(tmp_path)


def test_alpha_is_the_rank_unless_said(tmp_path):
    assert resolve_recipe(recipe_file(tmp_path), REAL).alpha == 8
    assert resolve_recipe(recipe_file(tmp_path, alpha=16), REAL).alpha == 16


def test_the_hash_covers_what_changes_weights_and_nothing_else():
    recipe = resolve_recipe("lora-r8", REAL)
    changes = {"rank": 9, "seed": 1, "steps": 1, "conditioning_probabilities": {1: 1.0}, "learning_rate": 1e-3}
    hashes = {recipe_hash(dataclasses.replace(recipe, **{name: value})) for name, value in changes.items()}
    assert len(hashes | {recipe_hash(recipe)}) == len(changes) + 1
    assert recipe_hash(dataclasses.replace(recipe, checkpoint_minutes=1.0)) == recipe_hash(recipe)


def test_json_keeps_a_recipe_whole():
    recipe = dataclasses.replace(resolve_recipe("lora-r8", REAL), targets=("to_q", "to_k"), patience=3)
    assert build(Recipe, json.loads(json.dumps(recipe_to_json(recipe))), "json") == recipe


def test_recipes_load_without_a_heavy_library():
    code = "import sys, cosmos_ops.recipes; print(sorted({'torch', 'numpy', 'pyarrow', 'peft'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"
