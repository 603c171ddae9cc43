"""The learning rate against its definition."""

import dataclasses

import pytest

from cosmos_ops.profiles import load_profile
from cosmos_ops.recipes import resolve_recipe
from cosmos_ops.training.schedule import learning_rate, multiplier

RECIPE = resolve_recipe("lora-r8", load_profile("cosmos-predict2.5-2b"))


@pytest.mark.parametrize(
    ("update", "value"),
    [(0, 0.0005), (499, 0.25), (999, 0.5), (1000, 0.5), (50_500, 0.35), (100_000, 0.2), (250_000, 0.2)],
)
def test_the_multiplier_rises_then_falls_as_published(update, value):
    assert multiplier(RECIPE, update) == pytest.approx(value)
    assert learning_rate(RECIPE, update) == pytest.approx(value * 2**-14.5)


def test_without_warm_up_it_starts_at_its_highest():
    recipe = dataclasses.replace(RECIPE, warmup_steps=0, decay_steps=10)
    assert [multiplier(recipe, update) for update in (0, 5, 10)] == pytest.approx([0.5, 0.35, 0.2])
